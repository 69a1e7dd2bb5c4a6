"""The numbers the project promises, measured: `make bench` or `python -m tests.benchmarks [NAME ...]`."""

import tasks  # noqa: F401  # before torch is imported anywhere here
