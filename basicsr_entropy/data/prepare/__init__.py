"""Published datasets to LMDB databases: cutting, encoding, writing, resuming."""
