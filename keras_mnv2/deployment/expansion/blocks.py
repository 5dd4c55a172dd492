"""The inverted residual blocks of any Keras model, found by their shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import keras

# Functions of single values; softmax is none.
_ELEMENTWISE = {
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "softplus", "tanh",
    "sigmoid", "hard_sigmoid", "silu", "hard_silu",
}  # fmt: skip


@dataclass(frozen=True)
class ExpansionBlock:
    """An inverted residual block that can be split.

    Attributes:
        name: of its depthwise layer.
        layers: names of its layers in order: the convolution that expands, normalization and
            activation, depthwise convolution, the same again, the convolution that projects and,
            where there is one, its normalization. A residual sum after them is not part of it.
        expanded_channels: between the two convolutions.
    """

    name: str
    layers: tuple[str, ...]
    expanded_channels: int


def expansion_blocks(model: keras.Model) -> list[ExpansionBlock]:
    """The blocks of `model` that `split_expansion` splits, in order of execution.

    A block is a convolution, a depthwise convolution and a convolution, with more channels in the
    middle than at both ends and nothing between them but normalization, padding and functions of
    single values. The stem of a MobileNetV2 and the block without expansion that follows it are
    one, too. A block is left out if something else reads a tensor inside of it, which then has to
    be there as a whole: block 13 of SSDLite, whose expanded tensor is the first feature map, and
    blocks whose layers are used more than once. Models inside of the model are not searched.

    Raises:
        ValueError: if `model` is neither functional nor sequential, or was never built.
    """
    model = functional(model)
    graph = _Graph(model)
    found = (
        _block_around(layer, graph)
        for layer in model.layers
        if isinstance(layer, keras.layers.DepthwiseConv2D)
    )
    return [block for block in found if block is not None]


def functional(model: keras.Model) -> keras.Model:
    """The graph of `model`, without what it was compiled with."""
    try:
        if isinstance(model, keras.Sequential):
            return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
        # A model of a list with one input in it warns whoever calls it with a tensor.
        inputs = model.inputs[0] if len(model.inputs) == 1 else model.input
        return keras.Model(inputs, model.output, name=model.name)
    except (AttributeError, TypeError, ValueError) as error:
        name = getattr(model, "name", type(model).__name__)
        raise ValueError(
            f"{name!r} is no functional or sequential model, or was never built, so its blocks "
            "cannot be found: give a keras.Model(inputs, outputs)"
        ) from error


class _Graph:
    """Who reads whose output, among the layers of a functional model.

    Attributes:
        layers: by name.
        before: the only operand of each layer that has one, by name.
        after: the only reader of each layer that has one, by name; what the model returns is read
            from outside, too. Layers that are called more than once are in neither.
    """

    def __init__(self, model: keras.Model):
        self.layers = {layer.name: layer for layer in model.layers}
        config = model.get_config()
        calls = {entry["name"]: entry["inbound_nodes"] for entry in config["layers"]}
        operands = {name: list(_operands(nodes)) for name, nodes in calls.items()}
        # Three values an output: layer, call, tensor.
        readers = {name: [None] for name in keras.tree.flatten(config["output_layers"])[::3]}
        for name, sources in operands.items():
            for source in sources:
                readers.setdefault(source, []).append(name)
        once = {name for name, nodes in calls.items() if len(nodes) == 1}
        self.before = {x: y[0] for x, y in operands.items() if len(y) == 1 and x in once}
        self.after = {x: y[0] for x, y in readers.items() if len(y) == 1 and x in once}

    def chain(self, name: str, neighbours: dict[str, str]) -> tuple[list[str], str | None]:
        """Layers beside `name` that treat channels one by one, and the first that does not.

        Args:
            neighbours: `before` or `after`, the direction.
        """
        names = []
        while True:
            name = neighbours.get(name)
            if not _is_channelwise(self.layers.get(name)):
                return names, name
            names.append(name)


def _operands(nodes) -> Iterator[str]:
    """Names of the layers whose outputs are arguments, from the configuration of layer calls."""
    if isinstance(nodes, dict) and "keras_history" in nodes:
        yield nodes["keras_history"][0]
    elif isinstance(nodes, (dict, list, tuple)):
        for inner in nodes.values() if isinstance(nodes, dict) else nodes:
            yield from _operands(inner)


def _block_around(depthwise: keras.layers.DepthwiseConv2D, graph: _Graph) -> ExpansionBlock | None:
    before, expansion = graph.chain(depthwise.name, graph.before)
    after, projection = graph.chain(depthwise.name, graph.after)
    names = [expansion, *reversed(before), depthwise.name, *after, projection]
    if not all(_is_convolution(graph.layers.get(name)) for name in (expansion, projection)):
        return None
    is_private = all(graph.after.get(x) == y for x, y in zip(names, names[1:], strict=False))
    if not (is_private and _is_elementwise(depthwise) and _is_elementwise(graph.layers[expansion])):
        return None
    first, last = graph.layers[expansion], graph.layers[projection]
    channels = first.filters
    is_widest = channels > max(first.kernel.shape[2], last.filters)
    is_plain = depthwise.depth_multiplier == 1 and depthwise.data_format == "channels_last"
    if not (is_widest and is_plain and last.activation is keras.activations.linear):
        return None
    following = graph.after.get(projection)
    if is_normalization(graph.layers.get(following)):
        names.append(following)
    return ExpansionBlock(depthwise.name, tuple(names), channels)


def _is_convolution(layer) -> bool:
    return (
        isinstance(layer, keras.layers.Conv2D)
        and layer.groups == 1
        and layer.data_format == "channels_last"
    )


def is_normalization(layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and layer.axis in (-1, 3)


def _is_channelwise(layer) -> bool:
    kinds = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)
    if isinstance(layer, keras.layers.ZeroPadding2D):
        return layer.data_format == "channels_last"
    if isinstance(layer, keras.layers.Activation):
        return _is_elementwise(layer)
    return isinstance(layer, kinds) or is_normalization(layer)


def _is_elementwise(layer) -> bool:
    return getattr(layer.activation, "__name__", None) in _ELEMENTWISE
