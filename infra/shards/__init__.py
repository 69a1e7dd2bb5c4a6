"""WebDataset shards with byte offsets: written, mapped, read."""
