"""Image databases in BasicSR's LMDB format: reading them, and writing them from published datasets."""
