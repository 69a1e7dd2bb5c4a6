"""The tests mirror flows/, tasks/, models/ and infra/; beside them benchmarks/, docs/, golden/, resilience/."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The repository."""
