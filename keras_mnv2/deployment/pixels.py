"""Pixels in the dtype that a file takes."""

from __future__ import annotations

import numpy as np


def pixels_as(images: np.ndarray, dtype: str) -> np.ndarray:
    """Images in 0..255, uint8 or float32, as one of these dtypes; rounded where it is uint8."""
    if dtype == "uint8" and images.dtype != np.uint8:
        images = np.clip(np.rint(images), 0, 255)
    return images.astype(dtype, copy=False)
