"""The images by which an int8 export learns the ranges of activations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_mnv2.deployment.description import DeploymentError

# More change no range, and most likely the data set repeats itself without end.
MAX_IMAGES = 1000

_REMEDY = (
    "give 50 to 100 photos of the kind that the file will see, prepared as for the network: uint8 "
    "or float32 [B, height, width, 3], RGB 0..255"
)


def evenly_spread(total: int, count: int) -> list[int]:
    """Indices of `count` elements, evenly spread over `total` in their order; at most all."""
    count = min(count, total)
    return [number * total // count for number in range(count)]


def representative_images(images: Iterable[Any], size: tuple[int, int]) -> list[np.ndarray]:
    """Checks a representative data set and takes it apart into images.

    Args:
        images: batches [B, height, width, 3], RGB 0..255, uint8 or float; arrays or tensors, such
            as those of a `tf.data.Dataset`. An array of images is one, too.
        size: (height, width) of the program's input.

    Returns:
        Arrays [1, height, width, 3], uint8 or float32, at least one.

    Raises:
        DeploymentError: (a ValueError) if there is no image, or one has another shape, dtype or
            range; it names the element.
    """
    if images is None:
        raise DeploymentError(f"precision='int8' needs representative images: {_REMEDY}")
    if not isinstance(images, Iterable):
        raise DeploymentError(
            f"representative is no series of images but of type {type(images).__name__}: {_REMEDY}"
        )
    found: list[np.ndarray] = []
    for number, element in enumerate(images):
        batch = _checked(element, number, size)
        if len(found) + len(batch) > MAX_IMAGES:
            raise DeploymentError(
                f"representative has more than {MAX_IMAGES} images, or repeats itself without end: "
                "100 are enough, take so many (dataset.take, itertools.islice)"
            )
        found += [image[np.newaxis] for image in batch]
    if not found:
        raise DeploymentError(f"representative is empty: {_REMEDY}")
    brightest = max(float(image.max()) for image in found)
    if brightest <= 1:
        raise DeploymentError(
            f"the brightest value of all representative images is {brightest:g}: {_REMEDY}, not "
            "scaled to 0..1"
        )
    return found


def _checked(element: Any, number: int, size: tuple[int, int]) -> np.ndarray:
    """An element as a batch, uint8 or float32."""
    where = f"element {number} of representative"
    if isinstance(element, (tuple, list, dict)):
        raise DeploymentError(
            f"{where} is a {type(element).__name__}, expected are images alone: of pairs take the "
            "first, e.g. dataset.map(lambda images, labels: images)"
        )
    try:
        batch = np.asarray(element)
    except Exception as error:
        raise DeploymentError(f"{where} is no array: {error}") from error
    if batch.ndim == 3:
        batch = batch[np.newaxis]
    if batch.ndim != 4 or batch.shape[1:] != (*size, 3):
        raise DeploymentError(
            f"{where} has shape {list(np.shape(element))}, expected is [B, {size[0]}, {size[1]}, "
            "3]: resize the images as for the network's evaluation"
        )
    if batch.dtype == np.uint8:
        return batch
    if not np.issubdtype(batch.dtype, np.floating):
        raise DeploymentError(f"{where} has dtype {batch.dtype}, expected is uint8 or float32")
    # False for NaN, too.
    if len(batch) and not (batch.min() >= 0 and batch.max() <= 255):
        raise DeploymentError(
            f"{where} has values from {batch.min():g} to {batch.max():g}, expected is 0..255: "
            "the program scales them itself"
        )
    return batch.astype(np.float32)
