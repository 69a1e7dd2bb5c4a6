"""The numbers the project promises, measured: `make bench` or `python -m tests.benchmarks [NAME ...]`."""
