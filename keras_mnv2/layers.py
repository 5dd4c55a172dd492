"""The one building block of all three networks: convolution, batch normalization, activation."""

from __future__ import annotations

from typing import NamedTuple

import keras

from keras_mnv2.normalization import BatchNormalization


class BlockOptions(NamedTuple):
    """What every convolution of one network has in common.

    Attributes:
        bn_momentum: momentum of the moving statistics; what slim calls "decay".
        bn_epsilon: added to the variance.
        bn_synchronized: whether replicas share their batch statistics.
        kernel_regularizer: for ordinary convolutions only. The original code regularizes no
            depthwise kernel (research/slim/nets/mobilenet/mobilenet_v2.py).
        kernel_initializer: of ordinary and depthwise kernels.
    """

    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3
    bn_synchronized: bool = False
    kernel_regularizer: str | keras.regularizers.Regularizer | None = None
    kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform"


def _fresh_initializer(options: BlockOptions):
    # A seeded initializer object returns the same values each time, so that layers must not
    # share one; without a seed a copy draws another.
    initializer = options.kernel_initializer
    return initializer if isinstance(initializer, str) else initializer.clone()


def batch_norm(x, options: BlockOptions, name: str):
    """Batch normalization over the last axis of `x`."""
    return BatchNormalization(
        momentum=options.bn_momentum,
        epsilon=options.bn_epsilon,
        synchronized=options.bn_synchronized,
        name=name,
    )(x)


def conv_bn(
    x,
    filters: int,
    options: BlockOptions,
    *,
    name: str,
    bn_name: str | None = None,
    kernel_size: int = 1,
    strides: int = 1,
    dilation_rate: int = 1,
):
    """SAME convolution without bias, then batch normalization.

    Args:
        bn_name: name of the normalization layer, `<name>_BN` unless given.
    """
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        dilation_rate=dilation_rate,
        padding="same",
        data_format="channels_last",
        use_bias=False,
        kernel_initializer=_fresh_initializer(options),
        kernel_regularizer=options.kernel_regularizer,
        name=name,
    )(x)
    return batch_norm(x, options, bn_name or f"{name}_BN")


def depthwise_bn(x, options: BlockOptions, *, name: str, strides: int = 1, dilation_rate: int = 1):
    """SAME 3x3 depthwise convolution without bias, then batch normalization."""
    x = keras.layers.DepthwiseConv2D(
        3,
        strides=strides,
        dilation_rate=dilation_rate,
        padding="same",
        data_format="channels_last",
        use_bias=False,
        depthwise_initializer=_fresh_initializer(options),
        name=name,
    )(x)
    return batch_norm(x, options, f"{name}_BN")


def relu6(x, name: str):
    """ReLU clipped at 6, the activation of the whole family (arXiv 1801.04381, section 4)."""
    return keras.layers.ReLU(max_value=6.0, name=name)(x)
