"""Inverted residual blocks whose expanded tensor is never whole in memory.

Section 5.1 of the paper (arXiv 1801.04381): what lies between the two linear bottlenecks of a
block treats every channel by itself, so that the block is a sum over groups of its expanded
channels, and one group at a time has to be in memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import keras

from keras_mnv2.activation_memory import FLOAT32_BYTES, IN_PLACE, activation_bytes, live_bytes
from keras_mnv2.complexity import run_once
from keras_mnv2.deployment.expansion.blocks import (
    ExpansionBlock,
    expansion_blocks,
    functional,
    is_normalization,
)
from keras_mnv2.deployment.expansion.ordering import After

# Channels of a group are a multiple of this where there are enough of them.
_UNIT = 8


def split_expansion(model: keras.Model, ways: int | Mapping[str, int]) -> keras.Model:
    """The network of `model` with inverted residual blocks as sums over groups of channels.

    Each group of expanded channels has its own expansion, depthwise convolution and projection,
    and the projections are added up one after the other. A file that the LiteRT converter makes
    of it computes group after group, and needs memory for one of them.

    The normalization after the projection is linear at inference, so each group has its share of
    it, which every converter folds into the group's convolution; the first one carries the
    offset. Training the result is therefore not training the network: split what is trained.

    What is split are the blocks that `expansion_blocks` finds. The results are equal up to the
    rounding of float32 sums.

    Args:
        model: any functional or sequential Keras model: a network of this package, of
            keras.applications, or another one that has such blocks.
        ways: number of groups of every block, or {name of its depthwise layer: number} for some
            of them, such as `ways_to_fit` returns; 1 leaves a block as it is. Channels that do
            not divide evenly are shared out as evenly as possible, and no group is empty.

    Returns:
        A new functional model, independent of `model`, with copies of its weights. It is not
        compiled. Layers of groups are called `<name>_part_1`, `<name>_part_2`, ..., the sums
        `<last layer of the block>_sum_2`, ...

    Raises:
        ValueError: if `model` is neither functional nor sequential or was never built, if it has
            no such block, or if `ways` names another one or is no whole number of at least 1.
    """
    model = functional(model)
    blocks = {block.name: block for block in expansion_blocks(model)}
    if not blocks:
        raise ValueError(
            f"model {model.name!r} has no inverted residual block that can be split: convolution, "
            "depthwise convolution, convolution, with the most channels in the middle. (Models "
            "inside of the model are not searched.)"
        )
    inner_layers: set[str] = set()
    ends: dict[str, tuple[list[keras.layers.Layer], int]] = {}
    for name, number in _ways_of_each(ways, blocks).items():
        if number > 1:
            *inner, last = blocks[name].layers
            inner_layers.update(inner)
            ends[last] = ([model.get_layer(x) for x in blocks[name].layers], number)
    originals = {}

    def clone(layer):
        twin = type(layer).from_config(layer.get_config())
        originals[twin] = layer
        return twin

    def call(layer, *args, **kwargs):
        # The layers of a block hand its input on to the last one, in whose place the sum is made.
        if layer.name in inner_layers:
            return args[0]
        if layer.name in ends:
            return _sum_over_groups(args[0], *ends[layer.name])
        outputs = layer(*args, **kwargs)
        if isinstance(layer, keras.layers.Layer):
            layer.set_weights(originals[layer].get_weights())
        return outputs

    return keras.models.clone_model(
        model, input_tensors=_new_inputs(model), clone_function=clone, call_function=call
    )


def ways_to_fit(
    model: keras.Model,
    peak_activation_bytes: int,
    input_shape: tuple[int, int, int] | None = None,
    bytes_per_value: int = FLOAT32_BYTES,
) -> dict[str, int]:
    """The fewest groups with which a network keeps within a bound of activation memory.

    Splitting costs time, and most blocks need little memory.

    Args:
        model: as for `split_expansion`.
        peak_activation_bytes: the bound, counted as `keras_mnv2.complexity.Complexity` does; the
            arena of a LiteRT file may exceed it by a fifth.
        input_shape: (height, width, channels) of the image, where the model leaves it open.
        bytes_per_value: of activations, 4 or 1 (an int8 file, the image included).

    Returns:
        {name of a block: number of groups}, for the blocks that have to be split.

    Raises:
        ValueError: if the input size cannot be known, or if no splitting reaches the bound, with
            the layer that needs most.
    """
    model = functional(model)
    calls, outputs = run_once(model, input_shape)
    live, sizes = (
        {name: size * bytes_per_value // FLOAT32_BYTES for name, size in found.items()}
        for found in (
            live_bytes(calls, outputs),
            {call.layer.name: activation_bytes(call.outputs[0]) for call in calls},
        )
    )
    result = {}
    for block in expansion_blocks(model):
        if max(live[name] for name in block.layers) <= peak_activation_bytes:
            continue
        needed = _bytes_by_ways(block, model, live, sizes)
        best = min(needed, key=needed.__getitem__)
        ways = next((n for n, size in needed.items() if size <= peak_activation_bytes), best)
        result[block.name] = ways
        live |= dict.fromkeys(block.layers, needed[ways])
    layer = max(live, key=live.__getitem__)
    if live[layer] > peak_activation_bytes:
        raise ValueError(
            f"a peak of {peak_activation_bytes} bytes of activations cannot be reached by "
            f"splitting blocks of model {model.name!r}: at {layer} there are {live[layer]} bytes"
        )
    return result


def _bytes_by_ways(
    block: ExpansionBlock, model: keras.Model, live: dict[str, int], sizes: dict[str, int]
) -> dict[int, int]:
    """Bytes alive at the peak of a block, by its number of groups, from 2 on.

    Args:
        live: bytes alive at each layer of the network as it is.
        sizes: bytes of the output of each layer.
    """
    # The block's input, and what other layers wait for.
    around = live[block.layers[0]] - sizes[block.layers[0]]
    *inner, projected = (
        sizes[name] for name in block.layers if not isinstance(model.get_layer(name), IN_PLACE)
    )
    result = {}
    for ways in range(2, block.expanded_channels + 1):
        bounds = _bounds_of_groups(block.expanded_channels, ways)
        largest_group = max(after - before for before, after in pairwise(bounds))
        chain = [*(size // block.expanded_channels * largest_group for size in inner), projected]
        in_and_out = max(sum(pair) for pair in pairwise(chain))
        result[ways] = around + in_and_out + projected  # once more: the sum so far
    return result


def _ways_of_each(
    ways: int | Mapping[str, int], blocks: Mapping[str, ExpansionBlock]
) -> dict[str, int]:
    if not isinstance(ways, Mapping):
        ways = dict.fromkeys(blocks, ways)
    for name, number in ways.items():
        if name not in blocks:
            raise ValueError(
                f"ways names {name!r}, but the blocks that can be split are {', '.join(blocks)}"
            )
        if not isinstance(number, int) or number < 1:
            raise ValueError(f"ways={number!r} must be a whole number of at least 1")
    return {name: min(number, blocks[name].expanded_channels) for name, number in ways.items()}


def _new_inputs(model: keras.Model):
    """Inputs like those of `model`, with their names, which `clone_model` would drop."""
    entries = (layer for layer in model.layers if isinstance(layer, keras.layers.InputLayer))
    names = {id(entry.output): entry.name for entry in entries}
    return keras.tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=names[id(x)]), model.input
    )


def _bounds_of_groups(channels: int, ways: int) -> list[int]:
    """First channel of every group, and the end of the last."""
    # Kernels compute several channels at once: 3 groups of 32 are faster than 4 of 24.
    unit = _UNIT if channels >= ways * _UNIT else 1
    units = math.ceil(channels / unit)
    return [min(units * part // ways * unit, channels) for part in range(ways + 1)]


def _sum_over_groups(x, block: list[keras.layers.Layer], ways: int):
    """What the layers of a block make of `x`, computed in groups of its expanded channels."""
    has_normalization = is_normalization(block[-1])
    *inner, projection = block[:-1] if has_normalization else block
    bounds = _bounds_of_groups(inner[0].filters, ways)
    total = None
    for part in range(ways):
        group = slice(bounds[part], bounds[part + 1])
        suffix = f"_part_{part + 1}"
        y = x
        if part:
            name = f"{inner[0].name}_after_part_{part}"
            y = After(name=name)(x, total)
        for layer in inner:
            y = _of_some_channels(layer, group, y, suffix)
        kernel, *bias = projection.get_weights()
        # Offsets are added once, by the first group.
        offset = {"use_bias": False} if part else {}
        weights = [kernel[:, :, group], *([] if part else bias)]
        y = _copy(projection, y, suffix, weights, **offset)
        if has_normalization:
            y = _copy(block[-1], y, suffix, _normalization(block[-1], has_offset=part == 0))
        if part:
            name = f"{block[-1].name}_sum_{part + 1}"
            y = keras.layers.Add(name=name, dtype=block[-1].dtype_policy)([total, y])
        total = y
    return total


def _of_some_channels(layer: keras.layers.Layer, group: slice, x, suffix: str):
    """`layer` of a block, for a group of the expanded channels."""
    weights = layer.get_weights()
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        kernel, *bias = weights
        return _copy(layer, x, suffix, [kernel[:, :, group], *(w[group] for w in bias)])
    filters = {"filters": group.stop - group.start} if hasattr(layer, "filters") else {}
    return _copy(layer, x, suffix, [w[..., group] for w in weights], **filters)


def _normalization(layer: keras.layers.BatchNormalization, has_offset: bool) -> list:
    """Weights of `layer`, without what it adds unless `has_offset`."""
    named = [(variable.name, keras.ops.convert_to_numpy(variable)) for variable in layer.weights]
    is_added = ("beta", "moving_mean")
    return [w if has_offset or name not in is_added else 0 * w for name, w in named]


def _copy(layer: keras.layers.Layer, x, suffix: str, weights: list, **changes):
    twin = type(layer).from_config({**layer.get_config(), "name": layer.name + suffix, **changes})
    y = twin(x)
    twin.set_weights(weights)
    return y
