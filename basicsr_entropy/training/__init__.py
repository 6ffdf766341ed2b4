"""Training and testing from option files."""
