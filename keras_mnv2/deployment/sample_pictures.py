"""Made-up pictures, where there are no photos."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def sample_images(size: tuple[int, int], count: int = 2) -> np.ndarray:
    """Made-up pictures, the same each time: smooth colours and sharp-edged patches.

    Returns:
        uint8 [count, *size, 3].
    """
    height, width = size
    random = np.random.default_rng(0)
    coarse = random.uniform(0, 255, (count, 8, 8, 3)).astype("float32")
    images = tf.image.resize(coarse, size, method="bicubic").numpy()
    for image in images:
        for _ in range(12):
            top, left = random.integers(0, height), random.integers(0, width)
            rows, columns = random.integers(1, height // 2 + 2), random.integers(1, width // 2 + 2)
            patch = image[top : top + rows, left : left + columns]
            patch[:] = 0.5 * patch + 0.5 * random.uniform(0, 255, 3)
    images += random.normal(0, 4, images.shape)
    return np.clip(images, 0, 255).round().astype("uint8")
