"""Programs of all tasks with tiny networks, for tests of the export formats."""

from __future__ import annotations

import keras
import numpy as np

from keras_mnv2 import DeepLabV3, MobileNetV2, SSDLite
from keras_mnv2.deployment.agreement import agreement
from keras_mnv2.deployment.programs import (
    Program,
    classification_program,
    detection_program,
    segmentation_program,
)

CLASSES = ("ape", "cat", "dog")
CATEGORY_IDS = (5, 7, 9)


def make_program(kind: str) -> Program:
    """Of kind "classification", "class_map", "logits", "none", "nms" or "custom_op".

    Its normalizations have the statistics of what passes through them, and scales and offsets of
    their own: the answers depend on the image, and on each of them.
    """
    keras.utils.set_random_seed(3)
    if kind == "classification":
        # As imported ones: [-1, 1] in.
        model = MobileNetV2((64, 96, 3), alpha=0.35, classes=3, bn_momentum=0.0)
        program = classification_program(model, CLASSES)
    elif kind in ("class_map", "logits"):
        # 97 / 13 is not whole; stride 8 and rates make for dilated convolutions.
        model = DeepLabV3(
            3, (97, 65, 3), alpha=0.35, output_stride=8, aspp_rates="auto", bn_momentum=0.0
        )
        program = segmentation_program(model, CLASSES, kind)
    else:
        model = SSDLite(3, (160, 96, 3), alpha=0.35, class_prior=0.4, bn_momentum=0.0)
        program = detection_program(model, CLASSES, CATEGORY_IDS, postprocessing=kind)
    random = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(random.uniform(0.8, 1.6, layer.gamma.shape))
            layer.beta.assign(random.uniform(-0.3, 0.6, layer.beta.shape))
    program.network(random_images(program, 16).astype("float32"), training=True)
    return program


def random_images(program: Program, count: int = 3) -> np.ndarray:
    """uint8 [count, height, width, 3] of the program's input size."""
    size = program.description.input_size
    return np.random.default_rng(4).integers(0, 256, (count, *size, 3), np.uint8)


def assert_same(
    program: Program, found: dict[str, np.ndarray], expected: dict[str, np.ndarray]
) -> None:
    """Equal up to rounding, by which detections of about the same score may change places."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
    if "boxes" in expected:
        assert agreement(program.description, expected, found) > 0.999
        expected = {name: expected[name] for name in ("scores", "num_detections")}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=2e-4, err_msg=name)
