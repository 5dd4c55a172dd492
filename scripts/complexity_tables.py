"""The comparisons of the MobileNetV2 paper, counted on our networks beside its own figures.

Ours are counted by keras_mnv2.complexity on networks built here. The figures of the paper (arXiv
1801.04381) and of the slim release are typed as they are printed there, and so are accuracies,
times and all of the networks that are not of this package ("-" in the columns of ours).

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


def compared(ours: int | None, published: str) -> tuple[str, str, str]:
    """The three cells of a comparison; None for a network that is not of this package."""
    if ours is None:
        return "-", published, "-"
    return f"{ours:,}", published, difference(ours, published)


COMPARED_COSTS = ("parameters", "paper", "diff.", "multiply-adds", "paper", "diff.")


def compared_costs(cost: Complexity | None, parameters: str, multiply_adds: str) -> tuple[str, ...]:
    """The cells under `COMPARED_COSTS`."""
    return (
        *compared(cost and cost.trainable_parameters, parameters),
        *compared(cost and cost.multiply_adds, multiply_adds),
    )


@cache
def classifier(alpha: float) -> keras.Model:
    return MobileNetV2((None, None, 3), alpha=alpha)


@cache
def classifier_cost(alpha: float, size: int) -> Complexity:
    return count(classifier(alpha), (size, size, 3))


# Table 4: network, top-1 (%), parameters, multiply-adds, time on a Pixel 1.
CLASSIFIERS = (
    ("MobileNetV1", "70.6", "4.2M", "575M", "113ms"),
    ("ShuffleNet (1.5)", "71.5", "3.4M", "292M", "-"),
    ("ShuffleNet (x2)", "73.7", "5.4M", "524M", "-"),
    ("NasNet-A", "74.0", "5.3M", "564M", "183ms"),
    ("MobileNetV2", "72.0", "3.4M", "300M", "75ms"),
    ("MobileNetV2 (1.4)", "74.7", "6.9M", "585M", "143ms"),
)


def classification_table() -> Table:
    """Table 4."""
    wide = classifier_cost(1.4, 224)
    ours = {"MobileNetV2": classifier_cost(1.0, 224), "MobileNetV2 (1.4)": wide}
    return Table(
        "Table 4: ImageNet, 1000 classes, 224x224",
        ("network", *COMPARED_COSTS, "top-1", "Pixel 1"),
        [
            (name, *compared_costs(ours.get(name), parameters, multiply_adds), top1, time)
            for name, top1, parameters, multiply_adds, time in CLASSIFIERS
        ],
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


# Table 6: network, mAP, parameters, multiply-adds, time on a Pixel 1.
DETECTORS = (
    ("SSD300", "23.2", "36.1M", "35.2B", "-"),
    ("SSD512", "26.8", "36.1M", "99.5B", "-"),
    ("YOLOv2", "21.6", "50.7M", "17.5B", "-"),
    ("MNet V1 + SSDLite", "22.2", "5.1M", "1.3B", "270ms"),
    ("MNet V2 + SSDLite", "22.1", "4.3M", "0.8B", "200ms"),
)


def detector_table() -> Table:
    """Table 6."""
    cost = detection_costs()["SSDLite"]
    ours = {"MNet V2 + SSDLite": cost}
    return Table(
        "Table 6: detectors of COCO, ours at 320x320 for 80 classes",
        ("network", *COMPARED_COSTS, "mAP", "Pixel 1"),
        [
            (name, *compared_costs(ours.get(name), parameters, multiply_adds), mean_ap, time)
            for name, mean_ap, parameters, multiply_adds, time in DETECTORS
        ],
        [
            "80 classes and the background, 3 anchors a cell on the finest level and 6 on the "
            f"others. With moving statistics there are {cost.parameters:,} parameters.",
        ],
    )


VOC_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
OUR_SEGMENTER = "MNet V2*"
# Table 7: network, output stride, ASPP, multi-scale and flip, mIOU, parameters, multiply-adds.
SEGMENTERS = (
    ("MNet V1", 16, True, False, "75.29", "11.15M", "14.25B"),
    ("MNet V1", 8, True, True, "78.56", "11.15M", "941.9B"),
    (OUR_SEGMENTER, 16, True, False, "75.70", "4.52M", "5.8B"),
    (OUR_SEGMENTER, 8, True, True, "78.42", "4.52M", "387B"),
    (OUR_SEGMENTER, 16, False, False, "75.32", "2.11M", "2.75B"),
    (OUR_SEGMENTER, 8, False, True, "77.33", "2.11M", "152.6B"),
    ("ResNet-101", 16, True, False, "80.49", "58.16M", "81.0B"),
    ("ResNet-101", 8, True, True, "82.70", "58.16M", "4870.6B"),
)


def segmenter_costs(stride: int, has_aspp: bool, is_multiple: bool) -> tuple[int, int, int]:
    """Parameters, and multiply-adds of one pass and by the rule of the paper."""
    model = DeepLabV3(output_stride=stride, aspp_rates="auto" if has_aspp else None)
    scales = VOC_SCALES if is_multiple else (1.0,)
    # What `count` finds, without the seconds of running the finer networks.
    return (
        sum(math.prod(weight.shape) for weight in model.trainable_weights),
        sum(layer_multiply_adds(layer, layer.input, layer.output) or 0 for layer in model.layers),
        multiply_adds_as_published(model, scales=scales, flip=is_multiple),
    )


def segmentation_table() -> Table:
    """Table 7."""
    rows = []
    for name, stride, has_aspp, is_multiple, mean_iou, *paper in SEGMENTERS:
        ours = (None, None, None)
        if name == OUR_SEGMENTER:
            ours = segmenter_costs(stride, has_aspp, is_multiple)
        parameters, one_pass, by_rule = ours
        marks = ["x" if mark else "" for mark in (has_aspp, is_multiple)]
        rows.append(
            (
                *(name, stride, *marks),
                *compared(parameters, paper[0]),
                f"{one_pass:,}" if one_pass else "-",
                *compared(by_rule, paper[1]),
                mean_iou,
            )
        )
    header = ("network", "OS", "ASPP", "MF", *COMPARED_COSTS[:3])
    return Table(
        "Table 7: Mobile DeepLabv3, 513x513, 21 classes",
        (*header, "one pass", "multiply-adds as published", "paper", "diff.", "mIOU"),
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
    layers = classifier(alpha).layers
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    scales_and_offsets = 2 * sum(layer.gamma.shape[0] for layer in norms)
    return classifier_cost(alpha, 224).trainable_parameters - scales_and_offsets


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
