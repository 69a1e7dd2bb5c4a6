"""Prefect's part: the local server, the connection to it, what it is told."""
