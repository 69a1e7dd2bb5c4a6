"""Where things live: recipe, store, commit protocol, fingerprints, shards, checkpoints, run records."""
