"""Low-light data: published sets, LMDB databases, checks, and datasets for BasicSR."""
