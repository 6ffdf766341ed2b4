"""Images from bytes, with errors that name the file."""

from pathlib import Path

import cv2
import numpy as np


def decode_image(content: bytes, name: str, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    """Decodes an image file.

    Args:
        content: The file's bytes.
        name: Its name, for the error.
        flags: OpenCV's reading flags.

    Returns:
        Array (H, W) or (H, W, C), BGR.

    Raises:
        ValueError: If the bytes are no image.
    """
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if image is None:
        raise ValueError(f'{name} cannot be read as an image; it is damaged or of an unknown kind')
    return image


def decode_float(content: bytes, name: str) -> np.ndarray:
    """Decodes an image file to float32 BGR (H, W, 3), range [0, 1]; gray is repeated, alpha is dropped."""
    return decode_image(content, name, cv2.IMREAD_COLOR).astype(np.float32) / 255


def read_file(path: str) -> bytes:
    """Bytes of a file; what a store's reader is for a folder."""
    return Path(path).read_bytes()
