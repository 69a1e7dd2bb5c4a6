"""What keeps a store in order: runs, references, verification, sweeping, copies."""
