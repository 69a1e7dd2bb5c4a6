"""Measuring models: cells, statistics, metrics, verdicts."""
