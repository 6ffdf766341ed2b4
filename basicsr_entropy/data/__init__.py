"""Low-light data: published datasets, LMDB databases, checks, and dataset classes for BasicSR."""
