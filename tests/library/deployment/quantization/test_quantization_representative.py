"""The representative images of an int8 export: what is taken, and what is refused at the door."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_mnv2.deployment.description import DeploymentError
from keras_mnv2.deployment.quantization import representative
from keras_mnv2.deployment.quantization.representative import representative_images

SIZE = (6, 8)


def batch(count: int = 2, dtype: str = "uint8", size: tuple = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3)).astype(dtype)


@pytest.mark.parametrize(
    "images",
    [
        [batch(3), batch(2)],
        (part for part in (batch(3), batch(2))),
        tf.data.Dataset.from_tensor_slices(np.concatenate([batch(3), batch(2)])).batch(3),
        np.concatenate([batch(3), batch(2)]),
        [batch(3, "float32"), tf.constant(batch(2, "float64"))],
    ],
    ids=["list", "generator", "dataset", "array", "floats"],
)
def test_images_one_by_one(images):
    found = representative_images(images, SIZE)
    assert [image.shape for image in found] == [(1, 6, 8, 3)] * 5
    assert {image.dtype.name for image in found} <= {"uint8", "float32"}
    np.testing.assert_array_equal(np.concatenate(found[:3]), batch(3))
    np.testing.assert_array_equal(np.concatenate(found[3:]), batch(2))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, "precision='int8' needs representative images: give 50 to 100 photos"),
        (7, "no series of images but of type int"),
        ([], "representative is empty"),
        ([batch(0)], "representative is empty"),
        ([batch(), batch(size=(8, 6))], r"element 1 .* has shape \[2, 8, 6, 3\], .*\[B, 6, 8, 3\]"),
        ([batch()[..., :1]], r"has shape \[2, 6, 8, 1\]"),
        ([batch()[0, 0]], r"has shape \[8, 3\]"),
        ([batch(dtype="int32")], "element 0 .* has dtype int32, expected is uint8 or float32"),
        ([batch() > 7], "has dtype bool"),
        ([batch(dtype="float32") - 128], "has values from -128 to 127, expected is 0..255"),
        ([batch(dtype="float32") * 1.01], "expected is 0..255"),
        ([np.full((1, *SIZE, 3), np.nan)], "has values from nan to nan"),
        ([batch(dtype="float32") / 255], "brightest value .* is 1: .* not scaled to 0..1"),
        ([(batch(), np.zeros(2))], "element 0 .* is a tuple, .* of pairs take the first"),
        ([{"image": batch()}], "is a dict"),
        (["a.jpg"], r"has shape \[\]"),
    ],
)
def test_others_are_refused(images, message):
    with pytest.raises(DeploymentError, match=message):
        representative_images(images, SIZE)


def test_a_series_without_end_is_not_read_for_ever(monkeypatch):
    monkeypatch.setattr(representative, "MAX_IMAGES", 6)
    assert len(representative_images([batch(3)] * 2, SIZE)) == 6
    with pytest.raises(DeploymentError, match="more than 6 images, or repeats itself"):
        representative_images(itertools.repeat(batch(4)), SIZE)
