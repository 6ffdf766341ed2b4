"""LMDB databases of images: reading, and writing them from published sets."""
