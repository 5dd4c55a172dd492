"""SSDLite with a MobileNetV2 backbone (arXiv 1801.04381, section 6.2).

Layer by layer the network of the TensorFlow Object Detection API
(`ssdlite_mobilenet_v2_coco.config`, `models/ssd_mobilenet_v2_feature_extractor.py`).
"""

from __future__ import annotations

import math
import os

import keras
import numpy as np

from keras_mnv2.detection.anchors import anchors_per_cell, feature_grid_sizes, ssd_anchors
from keras_mnv2.detection.postprocessing import DetectionPostprocessing
from keras_mnv2.layers import BlockOptions, conv_bn, depthwise_bn, relu6
from keras_mnv2.mobilenet_v2 import MobileNetV2, image_input, scale_image
from keras_mnv2.precision import output_dtype
from keras_mnv2.weights import load_weights

EXTRA_FILTERS = (512, 256, 256, 128)
MIN_EXTRA_FILTERS = 16

# With 32 pixels the stride-32 map is one cell, and the four extra levels would repeat it.
MIN_SIDE = 33


def SSDLite(  # noqa: N802
    num_classes: int = 80,
    input_shape: tuple[int | None, int | None, int] = (320, 320, 3),
    alpha: float = 1.0,
    weights: str | os.PathLike | None = None,
    backbone_weights: str | os.PathLike | None = None,
    name: str | None = None,
    *,
    divisor: int = 8,
    last_filters: int | None = None,
    class_prior: float | None = None,
    bn_momentum: float = 0.99,
    bn_epsilon: float = 1e-3,
    bn_synchronized: bool = False,
    kernel_regularizer: str | keras.regularizers.Regularizer | None = None,
) -> keras.Model:
    """SSDLite as a functional Keras model.

    Args:
        num_classes: object classes, the background not counted.
        input_shape: (height, width, 3), at least 33 pixels a side; height and width may be None.
        alpha: width multiplier of the backbone and of the extra layers.
        weights: None or what `keras_mnv2.weights.load_weights` takes, for the whole detector.
        backbone_weights: the same for the backbone alone (a model without top).
        name: of the model.
        divisor: channels of the backbone are rounded to multiples of it.
        last_filters: channels of the stride-32 feature level, see `MobileNetV2`.
        class_prior: probability that the class heads give every class before training, by the
            bias of their last convolution (RetinaNet, arXiv 1708.02002, section 4.1; 0.01
            suits focal loss). None leaves the bias at zero, as the original does.
        bn_momentum: momentum of the moving statistics (0.9997 in the original training).
        bn_epsilon: added to variances.
        bn_synchronized: whether replicas share batch statistics under tf.distribute.
        kernel_regularizer: of ordinary convolutions; slim's `weight_decay` 4e-5 is
            `keras.regularizers.L2(2e-5)`.

    Returns:
        A functional `keras.Model` from RGB images [B, height, width, 3] in 0..255 (uint8 or
        float) to a dict of float32 tensors: `box_encodings` [B, A, 4] with codes
        [ty, tx, th, tw], and `class_logits` [B, A, 1 + num_classes] where class 0 is the
        background. A is 2,034 at 320x320; `anchors_for(model)` returns the anchors.

    Raises:
        ValueError: for an argument out of its range, naming it.
    """
    if not isinstance(num_classes, int) or num_classes < 1:
        raise ValueError(f"num_classes={num_classes!r} must be a whole number of at least 1")
    if class_prior is not None and not 0 < class_prior < 1:
        raise ValueError(f"class_prior={class_prior!r} must lie between 0 and 1")
    image = image_input(input_shape)
    _check_sides(image.shape[1:3])

    backbone = MobileNetV2(
        input_tensor=scale_image(image),
        alpha=alpha,
        include_top=False,
        weights=backbone_weights,
        divisor=divisor,
        last_filters=last_filters,
        bn_momentum=bn_momentum,
        bn_epsilon=bn_epsilon,
        bn_synchronized=bn_synchronized,
        kernel_regularizer=kernel_regularizer,
    )
    options = BlockOptions(
        bn_momentum,
        bn_epsilon,
        bn_synchronized,
        kernel_regularizer,
        keras.initializers.TruncatedNormal(stddev=0.03),
    )
    levels = feature_levels(backbone, alpha, options)
    boxes, logits = [], []
    prior_bias = 0.0 if class_prior is None else -math.log((1 - class_prior) / class_prior)
    for level, (features, anchors) in enumerate(zip(levels, anchors_per_cell(), strict=True)):
        boxes.append(_head(features, anchors, 4, options, f"box_head_{level}"))
        logits.append(
            _head(features, anchors, 1 + num_classes, options, f"class_head_{level}", prior_bias)
        )
    # float32 also under mixed precision: exponents and sigmoids need the digits.
    outputs = {
        name: keras.layers.Concatenate(1, dtype=output_dtype(), name=name)(tensors)
        for name, tensors in (("box_encodings", boxes), ("class_logits", logits))
    }
    model = keras.Model(image, outputs, name=name or f"ssdlite_{alpha:0.2f}_{image.shape[1]}")
    if weights is not None:
        load_weights(model, weights)
    return model


def feature_levels(backbone: keras.Model, alpha: float, options: BlockOptions) -> list:
    """Six feature maps, fine to coarse: two of the backbone, four of the extra layers.

    The first is the *expanded* tensor of block 13 (576 channels at alpha 1), stride 16; the
    second the backbone's output, stride 32; each extra level halves the map before it.
    """
    x = backbone.output
    levels = [backbone.get_layer("block_13_expand_relu").output, x]
    for level, filters in enumerate(EXTRA_FILTERS, start=2):
        prefix = f"extra_{level}"
        x = conv_bn(x, _extra_filters(filters // 2, alpha), options, name=f"{prefix}_reduce")
        x = relu6(x, f"{prefix}_reduce_relu")
        x = depthwise_bn(x, options, name=f"{prefix}_depthwise", strides=2)
        x = relu6(x, f"{prefix}_depthwise_relu")
        x = conv_bn(x, _extra_filters(filters, alpha), options, name=f"{prefix}_expand")
        x = relu6(x, f"{prefix}_expand_relu")
        levels.append(x)
    return levels


def _extra_filters(filters: int, alpha: float) -> int:
    return max(int(filters * alpha), MIN_EXTRA_FILTERS)


def _head(x, anchors: int, values: int, options: BlockOptions, name: str, bias: float = 0.0):
    """Predictor of one level: [B, h, w, c] -> [B, h * w * anchors, values]."""
    x = depthwise_bn(x, options, name=f"{name}_depthwise")
    x = relu6(x, f"{name}_depthwise_relu")
    x = keras.layers.Conv2D(
        anchors * values,
        1,
        data_format="channels_last",
        kernel_initializer=options.kernel_initializer.clone(),
        kernel_regularizer=options.kernel_regularizer,
        bias_initializer=keras.initializers.Constant(bias),
        name=name,
    )(x)
    return keras.layers.Reshape((-1, values), name=f"{name}_flat")(x)


def _check_sides(sides) -> None:
    for side in sides:
        if side is not None and side < MIN_SIDE:
            raise ValueError(
                f"input_shape {tuple(sides)} is too small for the extra layers of SSDLite, which "
                f"halve a stride-32 feature map four times: use at least {MIN_SIDE} pixels a side "
                "(96 or more makes sense)"
            )


def anchors_for(model: keras.Model, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """Anchors of an `SSDLite` model, in the order of its outputs.

    Args:
        image_size: (height, width), needed only where the model leaves them open.

    Returns:
        float32 [A, 4], [ymin, xmin, ymax, xmax] normalised to the image, not clipped.
    """
    height, width = image_size or model.input_shape[1:3]
    if height is None or width is None:
        raise ValueError(
            f"model {model.name!r} leaves its image size open: give image_size=(height, width)"
        )
    return ssd_anchors(feature_grid_sizes((height, width)), (height, width))


def detector(
    model: keras.Model, image_size: tuple[int, int] | None = None, **postprocessing
) -> keras.Model:
    """`model` with post-processing on top: from images to detections, again a Keras model.

    Args:
        model: an `SSDLite` model.
        image_size: (height, width), needed only where the model leaves them open.
        **postprocessing: arguments of `DetectionPostprocessing`, such as `score_threshold`.

    Returns:
        A functional `keras.Model` from [B, height, width, 3] to the dict `boxes` [B, N, 4],
        `scores` [B, N], `classes` [B, N], `num_detections` [B].
    """
    anchors = anchors_for(model, image_size)
    detections = DetectionPostprocessing(anchors, name="detections", **postprocessing)(model.output)
    return keras.Model(model.input, detections, name=f"{model.name}_detector")
