"""Images of which a program says different things, so that a comparison tells files apart.

Of pictures that nobody took a segmenter may say that they are background, and a file that always
says so would agree with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from keras_mnv2.deployment.agreement import Outputs, agreement
from keras_mnv2.deployment.description import DeploymentError, Description
from keras_mnv2.deployment.programs import Program
from keras_mnv2.deployment.sample_pictures import sample_images

# Detections that score less could as well be of another class or place.
_TELLING_SCORE = 0.3
# Answers that differ by less hardly differ.
TELLING_DIFFERENCE = 0.1
# Of made-up pictures, which are changed for it. The least sure of their pixels are those that
# rounding changes, so that there should be many others.
_MADE_UP_DIFFERENCE = 0.25
# Logits that differ by less are of a network that does not look at its images.
_FLAT_LOGITS = 1e-3

_STEPS = 16
_STEP = 4.0
_MOMENTUM = 0.9
_MOST_DETECTIONS = 20


def made_up_images(program: Program) -> np.ndarray:
    """`sample_images` of a program's input size, changed until its answers differ.

    Those of a network that was never trained may not, whatever the images.

    Returns:
        uint8 [2, height, width, 3].

    Raises:
        DeploymentError: (a ValueError) if a segmenter says the same of nearly all pixels although
            its logits differ.
    """
    images = _provoked(program, sample_images(program.description.input_size))
    description = program.description
    if "class_map" in description.outputs and not _is_telling(program, images, TELLING_DIFFERENCE):
        logits = program.network(tf.cast(images, tf.float32), training=False)
        if not _is_flat(logits):
            raise DeploymentError(
                "the model gives nearly all pixels of made-up pictures the same class, so that "
                "the exported file cannot be compared: give photos in which it finds several "
                "(images=, or --compare-images of scripts/export.py). Nothing was written"
            )
    return images


def with_telling_ones(program: Program, images: np.ndarray) -> np.ndarray:
    """Images of the user's; followed by made-up ones if the answers hardly differ on these.

    Args:
        program: no detector, whose photos must show something.
        images: uint8 [B, height, width, 3].
    """
    if program.description.task == "detection" or _is_telling(program, images, TELLING_DIFFERENCE):
        return images
    made_up = _provoked(program, sample_images(program.description.input_size))
    return np.concatenate([images, made_up])


def difference(program: Program, images: np.ndarray, outputs: Outputs) -> float:
    """How far a program's answers differ among images, from 0 to 1.

    Args:
        program: whose answers these are.
        images: uint8 [B, height, width, 3].
        outputs: its answers for them.

    Returns:
        For class maps the share of the pixels that are not of the most frequent class, else 1
        less the agreement of the answers for different images.
    """
    if "class_map" in outputs:
        counts = np.bincount(outputs["class_map"].ravel())
        return float(1 - counts.max() / counts.sum())
    if len(images) > 1:
        others = {name: np.roll(value, 1, axis=0) for name, value in outputs.items()}
    else:
        others = program.predict(255 - images)
    return 1 - agreement(program.description, outputs, others)


def _is_telling(program: Program, images: np.ndarray, least: float) -> bool:
    outputs = program.predict(images)
    if "scores" in outputs:
        return bool(outputs["scores"].max() >= _TELLING_SCORE)
    return difference(program, images, outputs) >= least


def _provoked(program: Program, images: np.ndarray) -> np.ndarray:
    """`images`, changed until the answers differ, as far as they do (arXiv 1710.06081)."""
    description = program.description
    # Encodings and logits are numbers that differ anyway.
    if not {"scores", "class_map", "probabilities"}.intersection(description.outputs):
        return images
    pixels, direction = tf.cast(images, tf.float32), 0.0
    for _ in range(_STEPS):
        if _is_telling(program, images, _MADE_UP_DIFFERENCE):
            break
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            raw = program.network(pixels, training=False)
            wanted = _wanted(description, raw)
        if description.task != "detection" and _is_flat(raw):
            break
        gradient = tape.gradient(wanted, pixels)
        size = tf.reduce_mean(tf.abs(gradient), axis=(1, 2, 3), keepdims=True)
        direction = _MOMENTUM * direction + tf.math.divide_no_nan(gradient, size)
        pixels = tf.clip_by_value(pixels + _STEP * tf.sign(direction), 0, 255)
        images = pixels.numpy().round().astype("uint8")
    return images


def _wanted(description: Description, raw: Any) -> tf.Tensor:
    """What grows as the answers become different: a detector surer, the others of all classes."""
    if description.task == "detection":
        logits = raw["class_logits"][..., 1:]
        return tf.math.top_k(tf.reshape(logits, [len(logits), -1]), _MOST_DETECTIONS).values
    classes = _spread_classes(raw.shape)
    if description.task == "segmentation":
        return -tf.nn.sparse_softmax_cross_entropy_with_logits(classes, raw)
    return tf.gather(_logarithms(raw), classes, batch_dims=1)


def _spread_classes(shape: tuple[int, ...]) -> np.ndarray:
    """A class for each image, or for each quarter of each image, spread over all.

    Args:
        shape: of what the network returns, [B, ..., classes].
    """
    number, *places = np.indices(shape[:-1])
    for place, side in zip(places, shape[1:-1], strict=True):
        number = 2 * number + (2 * place >= side)
    return np.linspace(0, shape[-1] - 1, number.max() + 1).round().astype("int32")[number]


def _is_flat(raw: tf.Tensor) -> bool:
    """Whether a classifier or segmenter hardly tells images, or pixels, apart."""
    values = _logarithms(raw) if len(raw.shape) == 2 else raw
    return float(np.ptp(values, axis=tuple(range(len(raw.shape) - 1))).max()) < _FLAT_LOGITS


def _logarithms(probabilities: tf.Tensor) -> tf.Tensor:
    # Of the least number whose inverse, the gradient, is finite.
    return tf.math.log(tf.maximum(probabilities, 1e-37))
