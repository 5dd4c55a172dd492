"""Class maps of pictures: single scale, several scales, mirrored."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from keras_mnv2.deployment.running import DeployedModel
from keras_mnv2.segmentation import AlignCornersResizing, with_output_stride
from tasks.common.exported import output_of
from tasks.common.replicated_prediction import on_replicas
from tasks.segmentation.geometry import fit
from tasks.segmentation.mean_iou import VOID

Predictor = Callable[[tf.Tensor], tf.Tensor]


def make_predictor(
    model: keras.Model | DeployedModel, scales: Sequence[float] = (1.0,), flip: bool = False
) -> Predictor:
    """What turns images into class maps.

    With the single scale 1 and no flip, the class of a pixel is that of its highest logit. Else
    the image is resized to each scale (a side of n pixels to int((n - 1) * scale) + 1) and, where
    wanted, mirrored; the network's logits are resized to the size of the image and their softmax
    is averaged over all versions. All resizing is bilinear with aligned corners. A tie goes to
    the lowest class id.

    Source: `predict_labels` and `predict_labels_multi_scale`, research/deeplab/model.py. The
    original resizes the logits of scales below 1 in two steps, by way of the map of scale 1.

    Args:
        model: a DeepLabV3. It is used as it is, so that later training counts, if scale 1 is the
            only one; other scales see a copy of the weights that it has now. Or an exported file.
        scales: of the image, each above 0, e.g. (0.5, 0.75, 1.0, 1.25, 1.5, 1.75).
        flip: whether the mirrored image is evaluated too.

    Returns:
        Function from uint8 [b, height, width, 3], of the size that `model` takes, to uint8
        [b, height, width].

    Raises:
        ValueError: if there is no scale or one is not above 0, the model has more classes than a
            mask has room for, or an exported file is to see several versions of an image.
    """
    scales = tuple(float(scale) for scale in scales)
    if not scales or not all(0 < scale < np.inf for scale in scales):
        raise ValueError(f"scales={scales!r} must be numbers above 0, at least one, such as 0.75 1")
    is_plain = scales == (1.0,) and not flip
    if isinstance(model, DeployedModel):
        if not is_plain:
            raise ValueError(
                f"{model.path} is an exported file, which sees each image once: leave out --scales "
                "and --flip, or give the .keras model"
            )
        return _of_exported(model)
    _check_room(model.name, model.output_shape[-1])
    if is_plain:
        return _compiled(lambda images: _highest(model(images, training=False)))

    network = model if scales == (1.0,) else with_output_stride(model, input_shape=_open(model))
    coarse = keras.Model(network.inputs[0], network.get_layer("logits").output)

    def average(images: tf.Tensor) -> tf.Tensor:
        height, width = images.shape[1:3]
        to_full_size = AlignCornersResizing((height, width), dtype="float32")
        total = 0.0
        for scale in scales:
            size = [int((side - 1) * scale) + 1 for side in (height, width)]
            scaled = images
            if size != [height, width]:
                scaled = AlignCornersResizing(size, dtype="float32")(images)
            for mirrored in (False, True) if flip else (False,):
                logits = coarse(_mirror(scaled) if mirrored else scaled, training=False)
                logits = to_full_size(_mirror(logits) if mirrored else logits)
                total += tf.nn.softmax(logits)
        return _highest(total)

    return _compiled(average)


def _of_exported(model: DeployedModel) -> Predictor:
    _check_room(model.path, len(model.description.label_names or ()))
    if "logits" in model.description.outputs:
        logits = output_of(model, "logits")
        return lambda images: _highest(logits(images))
    class_map = output_of(model, "class_map")
    return lambda images: tf.cast(class_map(images), tf.uint8)


def _check_room(name: object, num_classes: int) -> None:
    if num_classes > VOID:
        raise ValueError(
            f"model '{name}' has {num_classes} classes, but class maps have room for {VOID}"
        )


def _compiled(predict: Predictor) -> Predictor:
    """`predict` as a graph, built once for each image size and not again for another batch size."""

    @functools.cache
    def graph(height: int, width: int) -> Predictor:
        signature = [tf.TensorSpec((None, height, width, 3), tf.uint8)]
        return tf.function(predict, input_signature=signature)

    return on_replicas(lambda images: graph(*images.shape[1:3])(images))


def segment(predictor: Predictor, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Class map of a picture of any size, at that size.

    The picture is fitted into the network's input; what was predicted for it, without the
    padding, is resized by nearest neighbour.

    Args:
        predictor: of `make_predictor`.
        image: uint8 [h, w, 3], RGB.
        size: (height, width) of the network's input.

    Returns:
        uint8 [h, w], class ids.
    """
    padded, valid = fit(tf.convert_to_tensor(image), size)
    class_map = predictor(padded[tf.newaxis])[0].numpy()
    return at_original_size(class_map, valid.numpy(), image.shape[:2])


def at_original_size(
    class_map: np.ndarray, valid: Sequence[int], original_size: Sequence[int]
) -> np.ndarray:
    """Undoes `fit` on a class map.

    Args:
        class_map: uint8 [height, width] for the image that `fit` returned.
        valid: (height, width) of the part that is picture, as `fit` returned it.
        original_size: (height, width) of the picture.

    Returns:
        uint8 [*original_size].
    """
    picture = Image.fromarray(class_map[: valid[0], : valid[1]])
    height, width = (int(side) for side in original_size)
    return np.array(picture.resize((width, height), Image.Resampling.NEAREST))


def _open(model: keras.Model) -> tuple[None, None, int]:
    return (None, None, model.input_shape[-1])


def _mirror(x: tf.Tensor) -> tf.Tensor:
    return tf.reverse(x, axis=[2])


def _highest(scores: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.argmax(scores, axis=-1, output_type=tf.int32), tf.uint8)
