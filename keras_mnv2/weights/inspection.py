"""What network a set of weights belongs to, read off the shapes."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from keras_mnv2.weights.names import BACKBONE_LAYERS, translate
from keras_mnv2.weights.opening import open_weights
from keras_mnv2.weights.tensors import NamedTensors, WeightsError

FAMILIES = ("MobileNetV2", "SSDLite", "DeepLabV3")
PUBLISHED_ALPHAS = (1.0, 0.5, 0.75, 0.35, 1.3, 1.4)
# 8 in slim and keras.applications, 1 in the DeepLab releases with depth multiplier 0.5.
_DIVISORS = (8, 1, 4, 2, 16)
# slim: 0 is the background. A VOC (21) or ADE20K (151) class list begins with it, too.
_IMAGENET_OUTPUTS_WITH_BACKGROUND = 1001
_SEGMENTATION_OUTPUTS_WITH_BACKGROUND = (21, 151)
_SHOWN = 8
_SIZE_IN_NAME = re.compile(r"_\d\.\d+_(\d{2,3})(?=[._]|$)")


@dataclass(frozen=True)
class WeightsInfo:
    """What a weight file holds.

    Attributes:
        source: path of the file.
        format: kind of file.
        family: "MobileNetV2", "SSDLite" or "DeepLabV3".
        alpha: width multiplier; None where no value gives the widths found.
        divisor: that channels are rounded to multiples of.
        classes: what the builder's `classes=` or `num_classes=` must be to take all of the head;
            None without a head. SSDLite does not count its background, DeepLabV3 does.
        outputs: channels of the class logits, background counted (for each anchor in SSDLite).
        background_class: the one of the outputs that means background, or None.
        input_size: (height, width) where the file or its name tells, else None.
        output_stride: of DeepLabV3, where a frozen graph tells; the weights fit any.
        last_filters: channels of the last 1x1 convolution; None without it, as in DeepLabV3.
        anchors_per_cell: of SSDLite's levels, else ().
        aspp_branches: atrous branches of DeepLabV3; 0 without ASPP.
        separable_aspp: whether those are depthwise separable.
        aspp_filters: channels of DeepLabV3's head, else None.
        parameters: numbers in the network, moving statistics included.
        uses_ema: whether the weights are exponential moving averages.
        ignored: tensors of the file that are no weights (global step, optimizer slots, averages
            or what they stand for).
        unknown: names that none of the networks has; such a file does not load.
    """

    source: str
    format: str
    family: str
    alpha: float | None
    divisor: int | None
    classes: int | None
    outputs: int | None
    background_class: int | None
    input_size: tuple[int, int] | None
    output_stride: int | None
    last_filters: int | None
    anchors_per_cell: tuple[int, ...]
    aspp_branches: int
    separable_aspp: bool
    aspp_filters: int | None
    parameters: int
    uses_ema: bool
    ignored: int
    unknown: tuple[str, ...]

    def __str__(self) -> str:
        lines = []
        for field in fields(self):
            value = getattr(self, field.name)
            if "aspp" in field.name and self.family != "DeepLabV3":
                continue
            if field.name == "unknown" and len(value) > _SHOWN:
                value = f"{', '.join(value[:_SHOWN])} and {len(value) - _SHOWN} more"
            if value is not None and value != ():
                lines.append(f"{field.name:17} {value}")
        return "\n".join(lines)

    def summary(self) -> str:
        """One line for messages, e.g. `SSDLite, alpha 1.0, 90 classes`."""
        parts = [self.family, "unknown widths" if self.alpha is None else f"alpha {self.alpha}"]
        if self.divisor not in (None, 8):
            parts.append(f"divisor {self.divisor}")
        parts.append("no head" if self.classes is None else f"{self.classes} classes")
        if self.aspp_branches:
            parts.append(f"{self.aspp_branches} ASPP branches")
        return ", ".join(parts)


def inspect(path: str | os.PathLike, use_ema: bool | None = None) -> WeightsInfo:
    """Tells what network a weight file belongs to, without building or changing any model.

    Args:
        path: a frozen graph (.pb), a TensorFlow 1 checkpoint (prefix or folder), a .tar.gz/.tgz
            or folder that holds one of them, a .h5, .weights.h5 or .keras file. Not a registered
            name.
        use_ema: see `load_weights`.

    Raises:
        WeightsError: (a ValueError) if the file is damaged or of another network.
    """
    with open_weights(path, use_ema) as tensors:
        return inspect_tensors(tensors, use_ema)


def inspect_tensors(tensors: NamedTensors, use_ema: bool | None = None) -> WeightsInfo:
    """`inspect` of an open file."""
    translation = translate(tensors.shapes, use_ema)
    shapes = {key: tensors.shapes[name] for key, name in translation.names.items()}
    in_name = _SIZE_IN_NAME.search(os.path.basename(tensors.source))
    size_in_name = (int(in_name[1]), int(in_name[1])) if in_name else None
    return describe(
        shapes,
        source=tensors.source,
        format=tensors.format,
        input_size=tensors.input_size or size_in_name,
        output_stride=tensors.output_stride,
        uses_ema=translation.uses_ema,
        ignored=len(translation.ignored),
        unknown=tuple(translation.unknown),
    )


def describe(
    shapes: Mapping[str, tuple[int, ...]],
    *,
    source: str,
    format: str = "",
    input_size: tuple[int, int] | None = None,
    output_stride: int | None = None,
    uses_ema: bool = False,
    ignored: int = 0,
    unknown: tuple[str, ...] = (),
) -> WeightsInfo:
    """Describes weights given as `<layer>/<weight>` -> shape, of a file or of a model.

    Raises:
        WeightsError: if there is nothing of a MobileNetV2 among them.
    """
    found = {key.partition("/")[0] for key in shapes} & BACKBONE_LAYERS
    if len(found) < len(BACKBONE_LAYERS) / 2:
        raise WeightsError(
            f"{source}: not a MobileNetV2, SSDLite or DeepLabV3 on MobileNetV2 (of its "
            f"{len(BACKBONE_LAYERS)} backbone layers {len(found)} are there"
            + (f"; the file has names such as {', '.join(unknown[:3])})" if unknown else ")")
        )
    family = family_of(shapes)
    alpha, divisor = _width_multiplier(shapes)
    anchors = _anchors_per_cell(shapes) if family == "SSDLite" else ()
    outputs = class_outputs(shapes)
    aspp = {key[4] for key in shapes if re.match(r"aspp[1-9](_pointwise)?/kernel$", key)}
    return WeightsInfo(
        source=source,
        format=format,
        family=family,
        alpha=alpha,
        divisor=divisor,
        classes=_classes(family, outputs),
        outputs=outputs,
        background_class=_background_class(family, outputs),
        input_size=input_size,
        output_stride=output_stride if family == "DeepLabV3" else None,
        last_filters=_channels(shapes, "Conv_1/kernel"),
        anchors_per_cell=anchors,
        aspp_branches=len(aspp),
        separable_aspp="aspp1_depthwise/kernel" in shapes,
        aspp_filters=_channels(shapes, "concat_projection/kernel"),
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        uses_ema=uses_ema,
        ignored=ignored,
        unknown=unknown,
    )


def family_of(keys) -> str:
    """Which of the three networks has weights of these names; "MobileNetV2" without a head, too."""
    layers = {key.partition("/")[0] for key in keys}
    if any(layer.startswith(("box_head_", "class_head_", "extra_")) for layer in layers):
        return "SSDLite"
    if layers & {"concat_projection", "logits", "image_pooling", "aspp0"}:
        return "DeepLabV3"
    return "MobileNetV2"


def class_outputs(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Channels of the class logits (of one anchor), or None without a head."""
    if "class_head_0/bias" in shapes and "box_head_0/bias" in shapes:
        anchors = shapes["box_head_0/bias"][0] // 4 if shapes["box_head_0/bias"] else 0
        channels = shapes["class_head_0/bias"][0] if shapes["class_head_0/bias"] else 0
        return channels // anchors if anchors else None
    for head in ("predictions/bias", "logits/bias"):
        if shapes.get(head):
            return shapes[head][0]
    return None


def _classes(family: str, outputs: int | None) -> int | None:
    if outputs is None:
        return None
    has_extra_column = family == "SSDLite" or outputs == _IMAGENET_OUTPUTS_WITH_BACKGROUND
    return outputs - 1 if has_extra_column and family != "DeepLabV3" else outputs


def _background_class(family: str, outputs: int | None) -> int | None:
    known = {
        "SSDLite": outputs is not None,
        "MobileNetV2": outputs == _IMAGENET_OUTPUTS_WITH_BACKGROUND,
        "DeepLabV3": outputs in _SEGMENTATION_OUTPUTS_WITH_BACKGROUND,
    }
    return 0 if known[family] else None


def _channels(shapes: Mapping[str, tuple[int, ...]], key: str) -> int | None:
    return shapes[key][-1] if shapes.get(key) else None


def _anchors_per_cell(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    biases = [shapes.get(f"box_head_{level}/bias") for level in range(6)]
    return tuple(bias[0] // 4 for bias in biases if bias)


def _width_multiplier(shapes: Mapping[str, tuple[int, ...]]) -> tuple[float | None, int | None]:
    # Imported late: the builders import this package for their `weights=`.
    from keras_mnv2.detection.ssdlite import EXTRA_FILTERS, MIN_EXTRA_FILTERS
    from keras_mnv2.mobilenet_v2 import BLOCKS, STEM_FILTERS, make_divisible

    keys = ["expanded_conv_project/kernel"]
    keys += [f"block_{block}_project/kernel" for block in range(1, len(BLOCKS))]
    found = [_channels(shapes, key) for key in ("Conv1/kernel", *keys)]
    # Several multipliers round to one backbone; SSDLite's extra layers tell more of them apart.
    extra = [_channels(shapes, f"extra_{level}_expand/kernel") for level in range(2, 6)]
    alphas = [*PUBLISHED_ALPHAS, *(step / 20 for step in range(1, 61))]
    alphas += [step / 100 for step in range(1, 301)]
    for divisor in _DIVISORS:
        for alpha in alphas:
            widths = [make_divisible(STEM_FILTERS * alpha, divisor)]
            widths += [make_divisible(int(filters * alpha), divisor) for filters, _, _ in BLOCKS]
            extra_widths = [
                max(int(filters * alpha), MIN_EXTRA_FILTERS) for filters in EXTRA_FILTERS
            ]
            if widths == found and (None in extra or extra == extra_widths):
                return alpha, divisor
    return None, None
