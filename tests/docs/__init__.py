"""The documentation is kept in step with the code: `python -m tests.docs` writes what is generated in it."""
