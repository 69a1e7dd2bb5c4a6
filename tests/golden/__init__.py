"""What must not change: identities and digests as the code had them before the house was rebuilt (issue 6)."""
