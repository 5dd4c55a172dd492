"""The comparisons of the MobileNetV2 paper, counted on our networks beside its own figures.

Ours are counted by keras_mnv2.complexity on networks built here. The figures of the paper (arXiv
1801.04381) and of the slim release are typed as they are printed there.

    python scripts/complexity_tables.py
    python scripts/complexity_tables.py --table 5 6 --markdown
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
from dense_ssd import dense_ssd  # noqa: E402
from layer_tables import activation_table, layer_table  # noqa: E402
from text_table import Table  # noqa: E402

from keras_mnv2 import DeepLabV3, MobileNetV2, SSDLite  # noqa: E402
from keras_mnv2.complexity import Complexity, count, layer_multiply_adds  # noqa: E402
from keras_mnv2.segmentation import multiply_adds_as_published  # noqa: E402


def difference(ours: float, published: str) -> str:
    """How far ours is above a published figure such as "3.4M"."""
    factor = {"M": 1e6, "B": 1e9}[published[-1]]
    percent = f"{ours / (float(published[:-1]) * factor) - 1:+.1%}"
    return "0.0%" if percent[1:] == "0.0%" else percent


def compared(ours: int, published: str) -> tuple[str, str, str]:
    """The three cells of a comparison."""
    return f"{ours:,}", published, difference(ours, published)


COMPARED_COSTS = ("parameters", "paper", "diff.", "multiply-adds", "paper", "diff.")


def compared_costs(cost: Complexity, parameters: str, multiply_adds: str) -> tuple[str, ...]:
    """The cells under `COMPARED_COSTS`."""
    return (
        *compared(cost.trainable_parameters, parameters),
        *compared(cost.multiply_adds, multiply_adds),
    )


def number_of(weights: Sequence[keras.Variable]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


@cache
def classifier(alpha: float) -> keras.Model:
    return MobileNetV2((None, None, 3), alpha=alpha)


@cache
def classifier_cost(alpha: float, size: int) -> Complexity:
    return count(classifier(alpha), (size, size, 3))


def classification_table() -> Table:
    """Table 4, the networks of this package."""
    papers = {1.0: ("3.4M", "300M"), 1.4: ("6.9M", "585M")}
    rows = []
    for alpha, paper in papers.items():
        name = "MobileNetV2" if alpha == 1 else f"MobileNetV2 ({alpha})"
        rows.append((name, *compared_costs(classifier_cost(alpha, 224), *paper)))
    wide = classifier_cost(1.4, 224)
    return Table(
        "Table 4: ImageNet, 1000 classes, 224x224",
        ("network", *COMPARED_COSTS),
        rows,
        [
            "Parameters are those that training changes. Without scale and offset of the batch "
            f"normalization, as slim counts, they are {without_bn(1.0):,} and "
            f"{without_bn(1.4):,}; the first of these, cut off, is the paper's 3.4M.",
            "The paper's 6.9M and 585M are not reproduced: even with moving statistics there are "
            f"{wide.parameters:,} parameters, and the release of the same authors prints 6.06M "
            "and 582M (table slim), as we count.",
        ],
    )


@cache
def detection_costs() -> dict[str, Complexity]:
    """The two detectors and what they have in common, for 80 classes."""
    input_shape = (320, 320, 3)
    return {
        "SSD": count(dense_ssd(80, input_shape)),
        "SSDLite": count(SSDLite(80, input_shape)),
        "backbone": count(MobileNetV2(input_shape, include_top=False)),
    }


def prediction_layers_table() -> Table:
    """Table 5: extra layers and heads, without the backbone."""
    costs = detection_costs()
    backbone = costs["backbone"]
    added = {}
    rows = []
    for name, *paper in (("SSD", "14.8M", "1.25B"), ("SSDLite", "2.1M", "0.35B")):
        parameters = costs[name].trainable_parameters - backbone.trainable_parameters
        added[name] = costs[name].multiply_adds - backbone.multiply_adds
        rows.append((name, *compared(parameters, paper[0]), *compared(added[name], paper[1])))
    total = (backbone.multiply_adds + 0.35e9) / 1e9
    return Table(
        "Table 5: what SSD and SSDLite add to MobileNetV2, 320x320, 80 classes",
        ("prediction layers", *COMPARED_COSTS),
        rows,
        [
            "Extra layers and heads without the backbone, for 80 classes and the background. SSD "
            "has ordinary 3x3 convolutions where SSDLite has depthwise separable ones.",
            f"The paper's 0.35B is twice ours ({2 * added['SSDLite'] / 1e9:.3f}B). It would also "
            f"not fit Table 6, since with the backbone it gives {total:.2f}B and not 0.8B.",
        ],
    )


def detector_table() -> Table:
    """Table 6, the network of this package."""
    cost = detection_costs()["SSDLite"]
    return Table(
        "Table 6: SSDLite on MobileNetV2, 320x320, 80 classes",
        ("network", *COMPARED_COSTS),
        [("MNet V2 + SSDLite", *compared_costs(cost, "4.3M", "0.8B"))],
        [
            "80 classes and the background, 3 anchors a cell on the finest level and 6 on the "
            f"others. With moving statistics there are {cost.parameters:,} parameters.",
        ],
    )


VOC_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
# Output stride, ASPP, multi-scale and flip, parameters, multiply-adds.
SEGMENTATION = (
    (16, True, False, "4.52M", "5.8B"),
    (8, True, True, "4.52M", "387B"),
    (16, False, False, "2.11M", "2.75B"),
    (8, False, True, "2.11M", "152.6B"),
)


def segmentation_table() -> Table:
    """Table 7, the rows of MobileNetV2."""
    rows = []
    for stride, has_aspp, is_multiple, parameters, multiply_adds in SEGMENTATION:
        model = DeepLabV3(output_stride=stride, aspp_rates="auto" if has_aspp else None)
        scales = VOC_SCALES if is_multiple else (1.0,)
        by_rule = multiply_adds_as_published(model, scales=scales, flip=is_multiple)
        # What `count` finds, without the seconds of running the finer networks.
        one_pass = sum(
            layer_multiply_adds(layer, layer.input, layer.output) or 0 for layer in model.layers
        )
        marks = ["x" if mark else "" for mark in (has_aspp, is_multiple)]
        rows.append(
            (
                "MNet V2*",
                stride,
                *marks,
                *compared(number_of(model.trainable_weights), parameters),
                f"{one_pass:,}",
                *compared(by_rule, multiply_adds),
            )
        )
    header = ("network", "OS", "ASPP", "MF", *COMPARED_COSTS[:3])
    return Table(
        "Table 7: Mobile DeepLabv3, 513x513, 21 classes",
        (*header, "one pass", "multiply-adds as published", "paper", "diff."),
        rows,
        [
            "One pass: at true output positions, one image of 513x513. As published: the rule "
            "that reproduces the paper (keras_mnv2.segmentation.multiply_adds_as_published): an "
            "atrous convolution of rate r counts on a map padded to multiples of r, and the "
            "resized logits count once a value. The paper states no rule.",
            f"MF adds up the scales {', '.join(map(str, VOC_SCALES))}, each with its mirror image.",
            "The paper speaks of images of 512x512; the released networks take 513x513.",
        ],
    )


# Width multiplier: parameters, and multiply-adds (millions) by size.
SLIM = {
    1.4: ("6.06M", {224: 582}),
    1.3: ("5.34M", {224: 509}),
    1.0: ("3.47M", {224: 300, 192: 221, 160: 154, 128: 99, 96: 56}),
    0.75: ("2.61M", {224: 209, 192: 153, 160: 107, 128: 69, 96: 39}),
    0.5: ("1.95M", {224: 97, 192: 71, 160: 50, 128: 32, 96: 18}),
    0.35: ("1.66M", {224: 59, 192: 43, 160: 30, 128: 20, 96: 11}),
}


def without_bn(alpha: float) -> int:
    """Parameters but scale and offset of the batch normalization."""
    model = classifier(alpha)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    left_out = [weight for layer in norms for weight in layer.trainable_weights]
    return number_of(model.trainable_weights) - number_of(left_out)


def slim_table() -> Table:
    """The released variants (research/slim/nets/mobilenet/README.md of tensorflow/models)."""
    rows = []
    for alpha, (parameters, sizes) in SLIM.items():
        for size, millions in sizes.items():
            cost = classifier_cost(alpha, size)
            rows.append(
                (
                    f"{alpha}_{size}",
                    f"{cost.trainable_parameters:,}",
                    *compared(without_bn(alpha), parameters),
                    *compared(cost.multiply_adds, f"{millions}M"),
                )
            )
    smallest = classifier_cost(min(SLIM), 96).multiply_adds
    return Table(
        f"slim: the {len(rows)} released MobileNetV2 classifiers, 1000 classes",
        ("alpha_size", "parameters", "without BN", "slim", *COMPARED_COSTS[2:4], "slim", "diff."),
        rows,
        [
            "slim's column of parameters leaves scale and offset of the batch normalization out; "
            "it rounds.",
            "slim cuts its millions of multiply-adds off and does not round them: every figure "
            "is the whole part of ours.",
            "Section 4 of the paper gives 7 (million) multiply-adds to its smallest network; the "
            f"smallest released one has {smallest:,}.",
        ],
    )


TABLES: dict[str, Callable[[], Table]] = {
    "2": layer_table,
    "3": activation_table,
    "4": classification_table,
    "5": prediction_layers_table,
    "6": detector_table,
    "7": segmentation_table,
    "slim": slim_table,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--markdown", action="store_true", help="Markdown in place of plain text")
    options = parser.parse_args(arguments)
    for number, name in enumerate(options.table):
        print("\n" if number else "", end="", flush=True)
        print(TABLES[name]().text(options.markdown), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
