"""Paired datasets on disk: folder layouts, pairing of images by name, and splits that open their images."""
