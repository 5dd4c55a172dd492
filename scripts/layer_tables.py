"""Tables 2 and 3 of the MobileNetV2 paper, read from the layers of the built network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import keras
from text_table import Table

from keras_mnv2 import MobileNetV2
from keras_mnv2.complexity import count, largest_activations
from keras_mnv2.mobilenet_v2 import BLOCKS

# Table 2 as printed, superscripts as ^: input, operator, t, c, n, s.
LAYERS = (
    ("224^2 x 3", "conv2d", "-", "32", "1", "2"),
    ("112^2 x 32", "bottleneck", "1", "16", "1", "1"),
    ("112^2 x 16", "bottleneck", "6", "24", "2", "2"),
    ("56^2 x 24", "bottleneck", "6", "32", "3", "2"),
    ("28^2 x 32", "bottleneck", "6", "64", "4", "2"),
    ("14^2 x 64", "bottleneck", "6", "96", "3", "1"),
    ("14^2 x 96", "bottleneck", "6", "160", "3", "2"),
    ("7^2 x 160", "bottleneck", "6", "320", "1", "1"),
    ("7^2 x 320", "conv2d 1x1", "-", "1280", "1", "1"),
    ("7^2 x 1280", "avgpool 7x7", "-", "-", "1", "-"),
    ("1^2 x 1280", "conv2d 1x1", "-", "k", "-", "-"),
)
# Table 3 as printed: channels/kilobytes of MobileNetV2, MobileNetV1 and ShuffleNet by side.
ACTIVATIONS = {
    112: ("16/400", "64/1600", "32/800"),
    56: ("32/200", "128/800", "48/300"),
    28: ("64/100", "256/400", "400/600K"),
    14: ("160/62", "512/200", "800/310"),
    7: ("320/32", "1024/199", "1600/156"),
    1: ("1280/2", "1024/2", "1600/3"),
}
LARGEST_ACTIVATIONS = ("400K", "1600K", "600K")
BYTES_PER_VALUE = 2


def layer_table() -> Table:
    """Table 2: what each stage consists of, with its output."""
    model = MobileNetV2()
    multiply_adds = count(model).layers
    rows = []
    for printed, (names, *stage) in zip(LAYERS, _stages(model), strict=True):
        total = sum(multiply_adds.get(name, 0) for name in names)
        sizes = [
            _size(model.get_layer(names[0]).input.shape),
            _size(model.get_layer(names[-1]).output.shape),
        ]
        rows.append((*printed, sizes[0], *stage, sizes[1], f"{total:,}" if total else "-"))
    return Table(
        "Table 2: MobileNetV2, a line a stage of n layers, the first of them of stride s",
        ("paper: input", "operator", *"tcns", "ours: input", *"tcns", "output", "multiply-adds"),
        rows,
        [
            f"Sum of the multiply-adds: {sum(multiply_adds.values()):,}.",
            "The last convolution is a dense layer on the pooled vector here, of k = 1000 "
            "classes: the same sums.",
            f"Section 4 of the paper speaks of 19 bottlenecks; its table has {len(BLOCKS)}, as "
            "ours.",
        ],
    )


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1] if len(shape) == 4 else 1}^2 x {shape[-1]}"


def _stages(model: keras.Model) -> Iterator[tuple]:
    """Names of the layers of each stage, then t, c, n and s."""
    stem, last, head = (model.get_layer(name) for name in ("Conv1", "Conv_1", "predictions"))
    yield [stem.name], "-", stem.filters, 1, stem.strides[0]
    blocks = [_block(model, number) for number in range(len(BLOCKS))]
    for c, stage in itertools.groupby(blocks, key=lambda block: block[2]):
        names, expansions, _, strides = zip(*stage, strict=True)
        yield list(itertools.chain(*names)), expansions[0], c, len(names), strides[0]
    yield [last.name], "-", last.filters, 1, last.strides[0]
    yield ["global_average_pooling2d"], "-", "-", 1, "-"
    yield [head.name], "-", head.units, 1, "-"


def _block(model: keras.Model, number: int) -> tuple[list[str], int, int, int]:
    """Names of the convolutions of an inverted residual block, then t, c and s."""
    prefix = f"block_{number}" if number else "expanded_conv"
    existing = {layer.name for layer in model.layers}
    names = [f"{prefix}_{part}" for part in ("expand", "depthwise", "project")]
    names = [name for name in names if name in existing]
    depthwise, project = (model.get_layer(name) for name in names[-2:])
    in_channels = model.get_layer(names[0]).input.shape[-1]
    expansion = depthwise.input.shape[-1] // in_channels
    return names, expansion, project.filters, depthwise.strides[0]


def activation_table() -> Table:
    """Table 3: the most channels that memory holds as a whole, by resolution."""
    model = MobileNetV2()
    found = [_by_side(model, materialized=_is_bottleneck), _by_side(model)]
    rows = []
    for side, (printed, *others) in ACTIVATIONS.items():
        cells = [f"{sides[side]}/{_kilobytes(side, sides[side]):.0f}" for sides in found]
        rows.append((f"{side}x{side}", printed, *cells, *others))
    largest = [max(itertools.starmap(_kilobytes, sides.items())) for sides in found]
    printed, *others = LARGEST_ACTIVATIONS
    rows.append(("max", printed, *(f"{kilobytes:.0f}K" for kilobytes in largest), *others))
    # The largest c of the lines of Table 2 with such an input.
    returned = [
        max(int(c) for size, _, _, c, *_ in LAYERS if size.startswith(f"{side}^2 "))
        for side in (56, 28, 14)
    ]
    return Table(
        "Table 3: the most channels/memory (kB, 16-bit) to keep at each resolution, 224x224",
        (
            *("size", "paper", "ours, bottlenecks", "ours, every layer"),
            *("paper: MobileNetV1", "paper: ShuffleNet (2x, g=3)"),
        ),
        rows,
        [
            "Bottlenecks: a block is one operation that is computed channel by channel (section "
            "5.1), so that only its input and output are kept; likewise the stem with the first "
            "block, and the last convolution with the pooling. Every layer: each returns its "
            "whole output, as frameworks do.",
            f"At 56, 28 and 14 the paper prints {', '.join(map(str, returned))} channels: what "
            "the stages that read these maps return (c in Table 2), though their stride has "
            "halved the side by then. At 112, 7 and 1, and so in the maximum, both agree but for "
            "rounding.",
        ],
    )


def _is_bottleneck(layer: keras.layers.Layer) -> bool:
    is_pooling = isinstance(layer, keras.layers.GlobalAveragePooling2D)
    return is_pooling or layer.name.endswith(("_project_BN", "_add"))


def _by_side(model: keras.Model, **options) -> dict[int, int]:
    found = largest_activations(model, **options)
    return {size[0] if size else 1: channels for size, channels in found.items()}


def _kilobytes(side: int, channels: int) -> float:
    return side * side * channels * BYTES_PER_VALUE / 1e3
