"""Parameters, multiply-adds and activations of any Keras model, as the paper counts them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np

from keras_mnv2.activation_memory import Call, live_bytes


@dataclass(frozen=True)
class Complexity:
    """What a model costs for one image.

    Attributes:
        parameters: numbers stored in all weights, moving statistics included.
        trainable_parameters: numbers that training changes; what the paper calls parameters.
        multiply_adds: of convolutions and dense layers at true output positions. Biases,
            normalization, activations, pooling, resizing and element-wise sums do not count. The
            paper counts its segmentation networks by another rule:
            `keras_mnv2.segmentation.multiply_adds_as_published`.
        layers: multiply-adds of each layer call, by layer name, in order of execution. A layer
            that is called twice counts twice.
        uncounted: names of layers that hold kernels of a kind that this module cannot count;
            empty for the networks of this package.
        live_bytes: bytes of the activations that are alive while each layer runs, by layer name,
            as a runtime such as LiteRT lays them out: float32, for one image; inputs are never
            overwritten, outputs stay, everything else lives from the layer that makes it to the
            last that reads it. Element-wise layers (normalization, activation, sum) write over an
            operand that nobody reads afterwards, so that a convolution with normalization and
            activation counts once; a reshaped tensor stays where it is. Layers run depth first:
            each directly after those that its operands need, in the order of the operands. Weights
            do not count, nor does what a layer needs for itself while it runs. The LiteRT files
            of this package's networks need the same (`deployment.litert.arena`); split ones
            (`deployment.split_expansion`) up to a fifth more, for groups are kept apart.
    """

    parameters: int
    trainable_parameters: int
    multiply_adds: int
    layers: dict[str, int]
    uncounted: tuple[str, ...]
    live_bytes: dict[str, int]

    @property
    def peak_activation_bytes(self) -> int:
        """The largest of `live_bytes`: memory that the activations of one image need."""
        return max(self.live_bytes.values(), default=0)

    @property
    def peak_activation_layer(self) -> str | None:
        """Name of the (first) layer that runs at this peak."""
        return max(self.live_bytes, key=self.live_bytes.__getitem__, default=None)


def count(model: keras.Model, input_shape: tuple[int, int, int] | None = None) -> Complexity:
    """Counts `model` by running it once on zeros with batch size 1.

    Args:
        model: any built Keras model (functional, sequential, subclassed, nested).
        input_shape: (height, width, channels) of the image; needed where the model leaves a side
            open, and allowed wherever the model takes it.

    Raises:
        ValueError: if the input size cannot be known, or the model was never built.
    """
    layers: dict[str, int] = {}
    uncounted = []
    calls, outputs = run_once(model, input_shape)
    for layer, input_array, output_array in _firsts(calls):
        multiply_adds = layer_multiply_adds(layer, input_array, output_array)
        if multiply_adds is None:
            uncounted.append(layer.name)
        elif multiply_adds:
            layers[layer.name] = layers.get(layer.name, 0) + multiply_adds
    return Complexity(
        parameters=_size(model.weights),
        trainable_parameters=_size(model.trainable_weights),
        multiply_adds=sum(layers.values()),
        layers=layers,
        uncounted=tuple(dict.fromkeys(uncounted)),
        live_bytes=live_bytes(calls, outputs),
    )


def largest_activations(
    model: keras.Model,
    input_shape: tuple[int, int, int] | None = None,
    materialized: Callable[[keras.layers.Layer], bool] = lambda layer: True,
) -> dict[tuple[int, ...], int]:
    """The most channels that a layer returns at each spatial size (Table 3 of the paper).

    Runs `model` once on zeros, like `count`.

    Args:
        model: as for `count`, channels last.
        input_shape: as for `count`.
        materialized: whether the output of a layer stays in memory as a whole. A program that
            computes an inverted residual block channel by channel (section 5.1 of the paper) keeps
            the bottlenecks only.

    Returns:
        {(height, width): channels} in order of execution; () for vectors. The memory is height *
        width * channels * bytes per value.

    Raises:
        ValueError: if the input size cannot be known, or the model was never built.
    """
    largest: dict[tuple[int, ...], int] = {}
    calls, _ = run_once(model, input_shape)
    for layer, _, output_array in _firsts(calls):
        if materialized(layer):
            size = tuple(output_array.shape[1:-1])
            largest[size] = max(largest.get(size, 0), output_array.shape[-1])
    return largest


def _size(weights) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def run_once(
    model: keras.Model, input_shape: tuple[int, int, int] | None = None
) -> tuple[list[Call], list]:
    """Runs `model` on zeros with batch size 1, arguments as for `count`.

    Returns:
        All calls, see `observed_calls`, and the flat list of the outputs.
    """
    inputs = _zeros_like_inputs(model, input_shape)
    with observed_calls() as calls:
        outputs = model(inputs, training=False)
    return calls, keras.tree.flatten(outputs)


def _zeros_like_inputs(model: keras.Model, input_shape):
    if input_shape is not None:
        return np.zeros((1, *input_shape), "float32")
    try:
        declared = model.inputs
    except AttributeError:
        declared = None
    if not declared:
        raise ValueError(
            f"model {model.name!r} declares no inputs: give input_shape=(height, width, channels)"
        )
    for tensor in declared:
        if None in tensor.shape[1:]:
            raise ValueError(
                f"model {model.name!r} leaves its input size open ({tensor.shape}): give "
                "input_shape=(height, width, channels)"
            )
    arrays = [
        np.zeros((1, *t.shape[1:]), keras.backend.standardize_dtype(t.dtype)) for t in declared
    ]
    return arrays[0] if len(arrays) == 1 else arrays


@contextmanager
def recorded_calls() -> Iterator[list]:
    """Collects (layer, first input, first output) of all layer calls inside the context."""
    recorded: list = []
    with observed_calls() as calls:
        yield recorded
    recorded += _firsts(calls)


@contextmanager
def observed_calls() -> Iterator[list[Call]]:
    """Collects all calls of layers, and of operations of a functional model, in the context."""
    calls: list[Call] = []
    originals = {kind: kind.__call__ for kind in (keras.Operation, keras.layers.Layer)}

    def observing(kind):
        def call(layer, *args, **kwargs):
            outputs = originals[kind](layer, *args, **kwargs)
            # Layers come by twice, since they are operations.
            if kind is keras.layers.Layer or not isinstance(layer, keras.layers.Layer):
                inputs = [x for x in keras.tree.flatten((args, kwargs)) if hasattr(x, "shape")]
                calls.append(Call(layer, inputs, keras.tree.flatten(outputs)))
            return outputs

        return call

    for kind in originals:
        kind.__call__ = observing(kind)
    try:
        yield calls
    finally:
        for kind, original in originals.items():
            kind.__call__ = original


def _firsts(calls: list[Call]) -> list:
    layer_calls = [call for call in calls if isinstance(call.layer, keras.layers.Layer)]
    return [(c.layer, c.inputs[0] if c.inputs else None, c.outputs[0]) for c in layer_calls]


def _positions(layer, array) -> int:
    """Spatial positions of a feature map with batch size 1."""
    channels_first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return math.prod(array.shape[2:] if channels_first else array.shape[1:-1])


def layer_multiply_adds(layer, input_array, output_array) -> int | None:
    """Multiply-adds of one call of `layer`; 0 for layers that have none, None if unknown."""
    kinds = keras.layers
    if isinstance(layer, (kinds.SeparableConv1D, kinds.SeparableConv2D)):
        kernels = math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
        return kernels * _positions(layer, output_array)
    if isinstance(layer, (kinds.Conv1DTranspose, kinds.Conv2DTranspose, kinds.Conv3DTranspose)):
        return math.prod(layer.kernel.shape) * _positions(layer, input_array)
    # The kernel of a grouped convolution already has the input channels of one group only.
    convolutions = (kinds.Conv1D, kinds.Conv2D, kinds.Conv3D)
    if isinstance(layer, (*convolutions, kinds.DepthwiseConv1D, kinds.DepthwiseConv2D)):
        return math.prod(layer.kernel.shape) * _positions(layer, output_array)
    if isinstance(layer, kinds.Dense):
        return math.prod(layer.kernel.shape) * math.prod(output_array.shape[1:-1])
    kernels = [weight for weight in _own_weights(layer) if len(weight.shape) >= 2]
    return None if kernels and not isinstance(layer, kinds.Embedding) else 0


def _own_weights(layer) -> list:
    children = layer._flatten_layers(include_self=False)
    inner = {id(weight) for child in children for weight in child.weights}
    return [weight for weight in layer.weights if id(weight) not in inner]
