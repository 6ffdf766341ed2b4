"""Published sets on disk: where their images lie, and which belong together."""
