"""What is exported: a network, what is computed from its outputs, and the description of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mnv2.deployment.classifiers import ends_in_softmax, taking_rgb
from keras_mnv2.deployment.description import DeploymentError, Description
from keras_mnv2.deployment.fixed_network import all_layers, fixed_network
from keras_mnv2.detection.box_coder import SCALE_FACTORS
from keras_mnv2.detection.postprocessing import DetectionPostprocessing
from keras_mnv2.detection.ssdlite import anchors_for

BOX_FORMAT = "ymin, xmin, ymax, xmax, normalised"
SEGMENTATION_OUTPUTS = ("class_map", "logits")


@dataclasses.dataclass(frozen=True)
class Program:
    """A network and what is computed from its outputs, ready for export.

    It is what an exported file must agree with: the exporters trace it, or what stands for
    `finish` in their format, and compare their file with `predict`.

    Attributes:
        network: from RGB 0..255, float32 [B, *input_size, 3]; the caller's layers, not copies,
            unless the caller's model computes in another dtype than float32.
        finish: from the network's outputs to the program's, by TensorFlow operations.
        description: without a format.
    """

    network: keras.Model
    finish: Callable[[Any], dict[str, tf.Tensor]]
    description: Description

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """The outputs by name.

        Args:
            images: RGB 0..255, uint8 or float32 [B, *input_size, 3]; may be traced.
        """
        return self.finish(self.network(tf.cast(images, tf.float32), training=False))

    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """`__call__` on arrays."""
        return {name: value.numpy() for name, value in self(tf.constant(images)).items()}

    def described(self, **changes: Any) -> Program:
        """The same program with other values in its description, e.g. `source`, `accuracy`."""
        return dataclasses.replace(
            self, description=dataclasses.replace(self.description, **changes)
        )


def classification_program(
    model: keras.Model,
    label_names: Sequence[str] | None = None,
    *,
    input_size: tuple[int, int] | None = None,
) -> Program:
    """From images to `probabilities` float32 [B, classes].

    Args:
        model: a classifier that ends in a softmax. One without a Rescaling layer is taken to
            want [-1, 1], as those of keras.applications do, and its input is scaled for it.
        label_names: one for each class.
        input_size: (height, width), needed only where the model leaves them open.

    Raises:
        DeploymentError: (a ValueError) if `model` is no such classifier or was never built, its
            size is open, or the names are not as many as its classes.
    """
    network, size = fixed_network(model, input_size)
    shape = network.output_shape
    if not isinstance(shape, tuple) or len(shape) != 2 or not ends_in_softmax(network):
        raise DeploymentError(
            f"model {model.name!r} is no image classifier: expected are class probabilities "
            f"[batch, classes], the result of a softmax, found are outputs of shape {shape} of "
            f"layer {all_layers(network)[-1].name!r}"
        )
    network = taking_rgb(network)
    description = Description(
        task="classification",
        input_size=size,
        label_names=_checked(label_names, "label_names", shape[1]),
        outputs={"probabilities": f"float32 [batch, {shape[1]}], softmax"},
    )
    return Program(network, lambda output: {"probabilities": output}, description)


def segmentation_program(
    model: keras.Model,
    label_names: Sequence[str] | None = None,
    output: str = "class_map",
    *,
    input_size: tuple[int, int] | None = None,
) -> Program:
    """From images to `class_map` uint8 [B, height, width] or `logits` float32 [..., classes].

    Args:
        model: from images to class logits at the size of the image, as `DeepLabV3` gives them.
        label_names: one for each class, the background included.
        output: "class_map", the class of the highest logit, the lowest among equals (int32 in
            place of uint8 for more than 256 classes); or "logits".
        input_size: (height, width), needed only where the model leaves them open. Another size
            than a model has is made by `keras_mnv2.segmentation.with_output_stride`.

    Raises:
        DeploymentError: (a ValueError) if `model` is no such network or was never built, its
            size is open, the names are not as many as its classes, or `output` is unknown.
    """
    if output not in SEGMENTATION_OUTPUTS:
        raise DeploymentError(f"output={output!r} must be one of {SEGMENTATION_OUTPUTS}")
    network, size = fixed_network(model, input_size)
    shape = network.output_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or tuple(shape[1:3]) != size:
        raise DeploymentError(
            f"model {model.name!r} is no segmentation network: expected are class logits "
            f"[batch, {size[0]}, {size[1]}, classes], found are outputs of shape {shape}"
        )
    dtype = tf.uint8 if shape[3] <= 256 else tf.int32

    def highest(logits):
        class_map = tf.argmax(logits, axis=-1, output_type=tf.int32)
        return {"class_map": tf.cast(class_map, dtype)}

    meanings = {
        "class_map": f"{dtype.name} [batch, height, width], class ids",
        "logits": f"float32 [batch, height, width, {shape[3]}]",
    }
    description = Description(
        task="segmentation",
        input_size=size,
        label_names=_checked(label_names, "label_names", shape[3]),
        outputs={output: meanings[output]},
    )
    finish = highest if output == "class_map" else lambda logits: {"logits": logits}
    return Program(network, finish, description)


def detection_program(
    model: keras.Model,
    label_names: Sequence[str] | None = None,
    category_ids: Sequence[int] | None = None,
    *,
    postprocessing: str = "none",
    score_threshold: float = 1e-8,
    iou_threshold: float = 0.6,
    max_detections: int = 100,
    max_detections_per_class: int = 100,
    anchors: np.ndarray | None = None,
    scale_factors: Sequence[float] = SCALE_FACTORS,
    input_size: tuple[int, int] | None = None,
) -> Program:
    """From images to the raw outputs of a detector, or to detections.

    With `postprocessing="none"` the outputs are `box_encodings` float32 [B, A, 4] and
    `class_logits` float32 [B, A, 1 + classes], and the anchors are part of the description.
    Else they are those of `DetectionPostprocessing`, class by class: `boxes` [B, N, 4], `scores`
    [B, N], `classes` [B, N] and `num_detections` [B].

    Args:
        model: as `SSDLite` returns it.
        label_names: one for each class, the background not counted.
        category_ids: one for each class, of the data set's format (COCO).
        postprocessing: "none"; "nms", of the format's own operations; or "custom_op", LiteRT's
            TFLite_Detection_PostProcess.
        score_threshold: see `DetectionPostprocessing`, as are the following. The default keeps
            what an evaluation wants; an application that shows detections wants 0.3 or more, and
            runs faster.
        iou_threshold: of the suppression.
        max_detections: N.
        max_detections_per_class: most survivors of one class.
        anchors: float32 [A, 4], by default those of `SSDLite` at this size.
        scale_factors: of the box codes.
        input_size: (height, width), needed only where the model leaves them open.

    Raises:
        DeploymentError: (a ValueError) if `model` is no such network or was never built, its
            size is open, or names, ids or anchors are not as many as they must be.
        ValueError: for a threshold or number out of range.
    """
    network, size = fixed_network(model, input_size)
    tensors = network.output
    if not isinstance(tensors, dict) or set(tensors) != {"box_encodings", "class_logits"}:
        raise DeploymentError(
            f"model {model.name!r} is no detector: expected are the outputs box_encodings and "
            "class_logits of an SSDLite without post-processing, found is "
            f"{keras.tree.map_structure(lambda tensor: tensor.shape, tensors)}"
        )
    anchors = anchors_for(network, size) if anchors is None else np.asarray(anchors, np.float32)
    count, columns = tensors["class_logits"].shape[1:]
    if anchors.shape != (count, 4):
        raise DeploymentError(
            f"model {model.name!r} has outputs for {count} anchors, but anchors has shape "
            f"{anchors.shape}"
        )
    suppress = DetectionPostprocessing(
        anchors,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_detections=max_detections,
        max_detections_per_class=max_detections_per_class,
        scale_factors=scale_factors,
    )
    fields: dict[str, Any] = {
        "task": "detection",
        "input_size": size,
        "label_names": _checked(label_names, "label_names", columns - 1),
        "category_ids": _checked(category_ids, "category_ids", columns - 1),
        "postprocessing": postprocessing,
        "box_format": BOX_FORMAT,
        "anchors": anchors,
        "scale_factors": scale_factors,
    }
    if postprocessing == "none":
        outputs = {
            "box_encodings": f"float32 [batch, {count}, 4], codes ty, tx, th, tw of the anchors",
            "class_logits": f"float32 [batch, {count}, {columns}], column 0 is the background; "
            "the score of class i is the sigmoid of column 1 + i",
        }
        return Program(network, dict, Description(**fields, outputs=outputs))
    outputs = {
        "boxes": f"float32 [batch, {max_detections}, 4], best first; {BOX_FORMAT}",
        "scores": f"float32 [batch, {max_detections}], 0 to 1",
        "classes": f"[batch, {max_detections}], class ids from 0, without background",
        "num_detections": "[batch], rows that are detections; the others are padding",
    }
    if postprocessing == "custom_op":
        outputs = {
            name: f"float32 {text.removeprefix('float32 ')}" for name, text in outputs.items()
        }
        outputs["boxes"] += ", not clipped to the image"
        outputs["classes"] += (
            "; on n > 1 threads the operation loses class n (tensorflow issue 56058): run it on one"
        )
    description = Description(
        **fields,
        outputs=outputs,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_detections=max_detections,
        max_detections_per_class=max_detections_per_class,
    )
    return Program(network, suppress, description)


def _checked(values: Sequence[Any] | None, name: str, count: int) -> tuple[Any, ...] | None:
    if isinstance(values, str):
        raise DeploymentError(f"{name}={values!r} must be a list with an entry for each class")
    if values is not None and len(values) != count:
        raise DeploymentError(f"{name} has {len(values)} entries, the model has {count} classes")
    return None if values is None else tuple(values)
