"""Mobile DeepLabv3: MobileNetV2 features, DeepLabv3 head (arXiv 1801.04381, section 6.3)."""

from __future__ import annotations

import os
from collections.abc import Sequence

import keras

from keras_mnv2.layers import BlockOptions
from keras_mnv2.mobilenet_v2 import MobileNetV2, check_architecture, image_input, scale_image
from keras_mnv2.precision import output_dtype
from keras_mnv2.segmentation.aspp import atrous_spatial_pyramid_pooling, resolve_rates
from keras_mnv2.segmentation.resizing import AlignCornersResizing
from keras_mnv2.weights import load_weights

FEATURES = "block_16_project_BN"


def DeepLabV3(  # noqa: N802
    num_classes: int = 21,
    input_shape: tuple[int | None, int | None, int] = (513, 513, 3),
    alpha: float = 1.0,
    output_stride: int = 16,
    aspp_rates: str | Sequence[int] | None = None,
    weights: str | os.PathLike | None = None,
    backbone_weights: str | os.PathLike | None = None,
    name: str | None = None,
    *,
    separable_aspp: bool = False,
    aspp_filters: int = 256,
    dropout: float = 0.1,
    divisor: int = 8,
    bn_momentum: float = 0.99,
    bn_epsilon: float = 1e-3,
    head_bn_momentum: float | None = None,
    head_bn_epsilon: float = 1e-5,
    bn_synchronized: bool = False,
    kernel_regularizer: str | keras.regularizers.Regularizer | None = None,
) -> keras.Model:
    """Mobile DeepLabv3 as a functional Keras model.

    The head reads the 320 linear channels of the last inverted residual block. Weights do not
    depend on `output_stride`, nor on the values of `aspp_rates`: what was trained at stride 16
    loads into a model built at stride 8, by `weights=`, `load_weights` or `set_weights`.

    Args:
        num_classes: classes, the background counted.
        input_shape: (height, width, 3); height and width may be None. A side of n * output_stride
            + 1 pixels, such as 513, puts feature cells and pixels on one grid.
        alpha: width multiplier of the backbone; the head keeps its `aspp_filters`.
        output_stride: 8, 16 or 32, image size over feature map size. Finer costs more (8.8 in
            place of 2.7 billion multiply-adds at 513x513) and is somewhat more accurate.
        aspp_rates: None for no atrous branches, as in the published MobileNetV2 models; "auto"
            for three with the rates that belong to the output stride ((6, 12, 18) at 16, twice
            that at 8, half at 32); or the rates themselves, which hold at this output stride.
        weights: None or what `keras_mnv2.weights.load_weights` takes, for the whole network.
        backbone_weights: the same for the backbone alone: of a classifier, with or without top,
            or of any SSDLite or DeepLabV3.
        name: of the model.
        separable_aspp: whether the atrous branches are depthwise separable.
        aspp_filters: channels of every branch and of their projection.
        dropout: rate in front of the class logits.
        divisor: channels of the backbone are rounded to multiples of it; 1 for the published
            models with depth multiplier 0.5.
        bn_momentum: momentum of the moving statistics (0.997 in the original training).
        bn_epsilon: added to variances in the backbone.
        head_bn_momentum: as `bn_momentum`, in the head; None for the same (0.9997 in the
            original).
        head_bn_epsilon: as `bn_epsilon`, in the head.
        bn_synchronized: whether replicas share batch statistics under tf.distribute.
        kernel_regularizer: of ordinary convolutions; slim's `weight_decay` 4e-5 is
            `keras.regularizers.L2(2e-5)`.

    Returns:
        A functional `keras.Model` from RGB images [B, height, width, 3] in 0..255 (uint8 or
        float) to float32 class logits [B, height, width, num_classes], float32 also under mixed
        precision (float64 under that policy).

    Raises:
        ValueError: for an argument out of its range, naming it.
    """
    for argument, value in (("num_classes", num_classes), ("aspp_filters", aspp_filters)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{argument}={value!r} must be a whole number of at least 1")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout!r} must be at least 0 and below 1")
    check_architecture(alpha, divisor, output_stride)
    rates = resolve_rates(aspp_rates, output_stride)
    if separable_aspp and not rates:
        raise ValueError("separable_aspp=True needs atrous branches: give aspp_rates, e.g. 'auto'")
    image = image_input(input_shape)

    # The backbone's own last convolution ends up outside of the model.
    backbone = MobileNetV2(
        input_tensor=scale_image(image),
        alpha=alpha,
        include_top=False,
        output_stride=output_stride,
        divisor=divisor,
        bn_momentum=bn_momentum,
        bn_epsilon=bn_epsilon,
        bn_synchronized=bn_synchronized,
        kernel_regularizer=kernel_regularizer,
    )
    features = backbone.get_layer(FEATURES).output
    if backbone_weights is not None:
        load_weights(keras.Model(image, features, name=backbone.name), backbone_weights)
    x = atrous_spatial_pyramid_pooling(
        features,
        rates=rates,
        filters=aspp_filters,
        separable=separable_aspp,
        dropout=dropout,
        options=BlockOptions(
            bn_momentum if head_bn_momentum is None else head_bn_momentum,
            head_bn_epsilon,
            bn_synchronized,
            kernel_regularizer,
        ),
    )
    x = keras.layers.Conv2D(
        num_classes,
        1,
        data_format="channels_last",
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.01),
        kernel_regularizer=kernel_regularizer,
        # Differences between classes need the digits.
        dtype=output_dtype(),
        name="logits",
    )(x)
    x = AlignCornersResizing(dtype=output_dtype(), name="upsampled_logits")(x, image)
    model = keras.Model(image, x, name=name or f"deeplabv3_{alpha:0.2f}_{image.shape[1]}")
    if weights is not None:
        load_weights(model, weights)
    return model
