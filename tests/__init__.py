"""The proofs. A regular package: torch-fidelity installs a `tests` that would hide a namespace package."""
