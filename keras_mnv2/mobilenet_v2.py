"""The MobileNetV2 backbone and classifier (Sandler et al., arXiv 1801.04381)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import keras

from keras_mnv2.layers import BlockOptions, conv_bn, depthwise_bn, relu6
from keras_mnv2.precision import output_dtype
from keras_mnv2.weights import load_weights

# Table 2 of the paper, one row a block: (filters, stride, expansion).
BLOCKS = (
    (16, 1, 1),
    *((24, stride, 6) for stride in (2, 1)),
    *((32, stride, 6) for stride in (2, 1, 1)),
    *((64, stride, 6) for stride in (2, 1, 1, 1)),
    *((96, stride, 6) for stride in (1, 1, 1)),
    *((160, stride, 6) for stride in (2, 1, 1)),
    (320, 1, 6),
)
STEM_FILTERS = 32
LAST_FILTERS = 1280
OUTPUT_STRIDES = (8, 16, 32)


def make_divisible(value: float, divisor: int = 8) -> int:
    """Rounds a channel count to a multiple of `divisor`, never down by more than 10 %.

    Source: `_make_divisible` of research/slim/nets/mobilenet/mobilenet.py.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    if rounded < 0.9 * value:
        rounded += divisor
    return rounded


def inverted_residual(
    x,
    filters: int,
    *,
    strides: int,
    residual: bool,
    expansion: int,
    dilation_rate: int,
    block_id: int,
    options: BlockOptions,
):
    """Inverted residual block with linear bottleneck (section 3.3 of the paper).

    Args:
        x: bottleneck tensor [B, h, w, c].
        filters: channels of the bottleneck that is returned.
        strides: stride of the depthwise convolution.
        residual: whether the input is added where its channels allow.
        expansion: factor between c and the channels of the depthwise convolution; 1 leaves the
            expansion convolution out.
        dilation_rate: of the depthwise convolution.
        block_id: 0 to 16, sets the layer names as keras.applications has them.

    Returns:
        Tensor [B, ceil(h / strides), ceil(w / strides), filters], linear.
    """
    inputs = x
    in_channels = x.shape[-1]
    prefix = f"block_{block_id}" if block_id else "expanded_conv"
    if expansion != 1:
        x = conv_bn(x, expansion * in_channels, options, name=f"{prefix}_expand")
        x = relu6(x, f"{prefix}_expand_relu")
    x = depthwise_bn(
        x, options, name=f"{prefix}_depthwise", strides=strides, dilation_rate=dilation_rate
    )
    x = relu6(x, f"{prefix}_depthwise_relu")
    x = conv_bn(x, filters, options, name=f"{prefix}_project")
    if residual and in_channels == filters:
        x = keras.layers.Add(name=f"{prefix}_add")([inputs, x])
    return x


def strides_and_dilation(output_stride: int) -> list[tuple[int, int]]:
    """Stride and dilation rate of the depthwise convolution of every block.

    Past the output stride a stride becomes dilation, of the blocks that follow: the block which
    loses its stride still sees the finer grid (slim, `output_stride`).
    """
    rows, stride_so_far, dilation_rate = [], 2, 1
    for _, stride, _ in BLOCKS:
        if stride_so_far * stride <= output_stride:
            rows.append((stride, dilation_rate))
            stride_so_far *= stride
        else:
            rows.append((1, dilation_rate))
            dilation_rate *= stride
    return rows


def backbone_blocks(x, *, alpha: float, divisor: int, output_stride: int, options: BlockOptions):
    """Stem and the 17 inverted residual blocks.

    Args:
        x: image tensor [B, H, W, 3] in [-1, 1].

    Returns:
        Linear features [B, ceil(H / output_stride), ceil(W / output_stride), 320 * alpha].
    """
    x = conv_bn(
        x,
        make_divisible(STEM_FILTERS * alpha, divisor),
        options,
        name="Conv1",
        bn_name="bn_Conv1",
        kernel_size=3,
        strides=2,
    )
    x = relu6(x, "Conv1_relu")
    depthwise = strides_and_dilation(output_stride)
    for block_id, (filters, nominal_stride, expansion) in enumerate(BLOCKS):
        strides, dilation_rate = depthwise[block_id]
        x = inverted_residual(
            x,
            # keras.applications truncates to whole channels first; its weight files decide.
            make_divisible(int(filters * alpha), divisor),
            strides=strides,
            # A block that lost its stride adds nothing, as narrow as it may be: the same weights
            # are the same network at every output stride.
            residual=nominal_stride == 1,
            expansion=expansion,
            dilation_rate=dilation_rate,
            block_id=block_id,
            options=options,
        )
    return x


def check_architecture(alpha: float, divisor: int, output_stride: int) -> None:
    """Raises ValueError, naming the value, for arguments that no network can be built from."""
    if not alpha > 0:
        raise ValueError(f"alpha={alpha!r}: the width multiplier must be above 0, e.g. 1.0 or 0.35")
    if not isinstance(divisor, int) or divisor < 1:
        raise ValueError(f"divisor={divisor!r} must be a whole number of at least 1 (8 is usual)")
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride={output_stride!r} must be one of {OUTPUT_STRIDES}")


def image_input(input_shape: tuple, input_tensor=None):
    """The input of a network: `input_tensor`, or a new one of `input_shape` (height, width, 3)."""
    if input_tensor is not None:
        if not keras.backend.is_keras_tensor(input_tensor):
            raise ValueError(
                "input_tensor must be a symbolic Keras tensor such as keras.Input(...) returns, "
                f"got {type(input_tensor).__name__}"
            )
        if len(input_tensor.shape) != 4 or input_tensor.shape[-1] is None:
            raise ValueError(
                f"input_tensor has shape {input_tensor.shape}, expected [batch, height, width, "
                "channels] with a fixed number of channels"
            )
        return input_tensor
    valid = (
        isinstance(input_shape, (tuple, list))
        and len(input_shape) == 3
        and all(side is None or (isinstance(side, int) and side > 0) for side in input_shape[:2])
        and isinstance(input_shape[2], int)
        and input_shape[2] > 0
    )
    if not valid:
        raise ValueError(
            f"input_shape={input_shape!r} must be (height, width, channels), channels last, with "
            "positive whole numbers; height and width may be None"
        )
    return keras.Input(shape=tuple(input_shape))


def scale_image(x):
    """RGB values 0..255 to [-1, 1] as the original graphs do it: x * 2/255 - 1."""
    return keras.layers.Rescaling(2.0 / 255.0, offset=-1.0, name="preprocessing")(x)


def MobileNetV2(  # noqa: N802
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | os.PathLike | None = None,
    input_tensor: keras.KerasTensor | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable | None = "softmax",
    name: str | None = None,
    *,
    output_stride: int = 32,
    dropout: float = 0.0,
    divisor: int = 8,
    last_filters: int | None = None,
    include_preprocessing: bool = False,
    bn_momentum: float = 0.999,
    bn_epsilon: float = 1e-3,
    bn_synchronized: bool = False,
    kernel_regularizer: str | keras.regularizers.Regularizer | None = None,
    kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
) -> keras.Model:
    """MobileNetV2 as a functional Keras model (arXiv 1801.04381, Table 2).

    Layer names, weight order and results are those of `keras.applications.MobileNetV2`, whose
    weight files load. Padding is TensorFlow's SAME everywhere, so that height and width may be
    odd, even or unknown.

    Args:
        input_shape: (height, width, channels); height and width may be None. Ignored where
            `input_tensor` is given.
        alpha: width multiplier, any value above 0. Published weights: 0.35, 0.5, 0.75, 1.0,
            1.3, 1.4.
        include_top: whether to end in the classifier.
        weights: None (random initialization) or what `keras_mnv2.weights.load_weights` takes:
            a path or a registered name.
        input_tensor: Keras tensor to build on.
        pooling: without the top, None for feature maps, "avg" or "max" for a vector.
        classes: number of outputs of the classifier.
        classifier_activation: of the classifier; None returns class logits.
        name: of the model.
        output_stride: 8, 16 or 32, input size over the size of the last feature map; strides
            beyond it become dilation. The weights are the same.
        dropout: rate in front of the classifier (0.2 in the paper's training).
        divisor: channels are rounded to multiples of it; 8, or 1 for the DeepLab releases with
            depth multiplier 0.5.
        last_filters: channels of the last 1x1 convolution; by default 1280, more for alpha > 1
            and never fewer (section 4 of the paper).
        include_preprocessing: if true the model takes RGB values 0..255 and scales them itself,
            otherwise it takes [-1, 1] as keras.applications does.
        bn_momentum: momentum of the moving statistics (0.997 in slim).
        bn_epsilon: added to variances.
        bn_synchronized: whether replicas share batch statistics under tf.distribute.
        kernel_regularizer: of ordinary convolutions and the classifier, not of depthwise
            kernels; slim's `weight_decay` w is `keras.regularizers.L2(w / 2)`.
        kernel_initializer: of all convolutions.

    Returns:
        A functional `keras.Model` from [B, height, width, channels] float32 to [B, classes]
        with the top, else [B, h, w, 1280] feature maps in [0, 6] or [B, 1280].

    Raises:
        ValueError: for an argument out of its range, naming it.
    """
    check_architecture(alpha, divisor, output_stride)
    if pooling not in (None, "avg", "max"):
        raise ValueError(f"pooling={pooling!r} must be None, 'avg' or 'max'")
    if not isinstance(classes, int) or classes < 1:
        raise ValueError(f"classes={classes!r} must be a whole number of at least 1")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout!r} must be at least 0 and below 1")

    image = image_input(input_shape, input_tensor)
    options = BlockOptions(
        bn_momentum, bn_epsilon, bn_synchronized, kernel_regularizer, kernel_initializer
    )
    x = scale_image(image) if include_preprocessing else image
    x = backbone_blocks(
        x, alpha=alpha, divisor=divisor, output_stride=output_stride, options=options
    )
    if last_filters is None:
        last_filters = make_divisible(LAST_FILTERS * max(alpha, 1.0), divisor)
    x = conv_bn(x, last_filters, options, name="Conv_1", bn_name="Conv_1_bn")
    x = relu6(x, "out_relu")

    if include_top:
        x = keras.layers.GlobalAveragePooling2D(name="global_average_pooling2d")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name="dropout")(x)
        # Probabilities and logits stay float32 under mixed precision.
        x = keras.layers.Dense(
            classes,
            activation=classifier_activation,
            kernel_regularizer=kernel_regularizer,
            dtype=output_dtype(),
            name="predictions",
        )(x)
    elif pooling == "avg":
        x = keras.layers.GlobalAveragePooling2D(name="global_average_pooling2d")(x)
    elif pooling == "max":
        x = keras.layers.GlobalMaxPooling2D(name="global_max_pooling2d")(x)

    inputs: Any = image if input_tensor is None else keras.utils.get_source_inputs(input_tensor)
    name = name or f"mobilenetv2_{alpha:0.2f}_{image.shape[1]}"
    model = keras.Model(inputs, x, name=name)
    if weights is not None:
        load_weights(model, weights)
    return model
