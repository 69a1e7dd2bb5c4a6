"""Where things live: recipe schema, stores, the commit protocol, shards, upkeep."""
