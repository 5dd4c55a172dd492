"""Variable names of the original code, and the layers and weights that they became here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

SHADOW = "/ExponentialMovingAverage"

# What a training checkpoint holds beside the network.
_BOOKKEEPING = re.compile(
    r"(^|/)global_step$"
    r"|^(beta1_power|beta2_power)(_\d+)?$"
    r"|/(Momentum|RMSProp|Adam|Adagrad|Adadelta|Ftrl)(_\d+)?$"
    r"|/(biased|local_step)$"
)
_LEAVES = {
    "weights": "kernel",
    "depthwise_weights": "kernel",
    "biases": "bias",
    "BatchNorm/gamma": "gamma",
    "BatchNorm/beta": "beta",
    "BatchNorm/moving_mean": "moving_mean",
    "BatchNorm/moving_variance": "moving_variance",
}
_VARIABLE = re.compile(rf"^(?P<scope>.+?)/(?P<leaf>{'|'.join(_LEAVES)})$")

# Scope of the original -> layer here. `\g<..>` are groups of the pattern.
_SCOPES = tuple(
    (re.compile(f"^{pattern}$"), layer)
    for pattern, layer in (
        # slim, and the same scopes under the Object Detection API's feature extractor
        (r"(?:FeatureExtractor/)?MobilenetV2/Conv", "Conv1"),
        (r"(?:FeatureExtractor/)?MobilenetV2/Conv_1", "Conv_1"),
        (
            r"(?:FeatureExtractor/)?MobilenetV2/expanded_conv/(?P<part>depthwise|project)",
            r"expanded_conv_\g<part>",
        ),
        (
            r"(?:FeatureExtractor/)?MobilenetV2/expanded_conv_(?P<block>[1-9]\d?)"
            r"/(?P<part>expand|depthwise|project)",
            r"block_\g<block>_\g<part>",
        ),
        (r"MobilenetV2/Logits/Conv2d_1c_1x1", "predictions"),
        # Object Detection API, ssd_mobilenet_v2 with use_depthwise
        (
            r"FeatureExtractor/MobilenetV2/layer_19_1_Conv2d_(?P<level>[2-5])_1x1_\d+",
            r"extra_\g<level>_reduce",
        ),
        (
            r"FeatureExtractor/MobilenetV2/layer_19_2_Conv2d_(?P<level>[2-5])_3x3_s2_\d+_depthwise",
            r"extra_\g<level>_depthwise",
        ),
        (
            r"FeatureExtractor/MobilenetV2/layer_19_2_Conv2d_(?P<level>[2-5])_3x3_s2_\d+",
            r"extra_\g<level>_expand",
        ),
        (
            r"BoxPredictor_(?P<level>[0-5])/BoxEncodingPredictor(?P<depthwise>_depthwise)?",
            r"box_head_\g<level>\g<depthwise>",
        ),
        (
            r"BoxPredictor_(?P<level>[0-5])/ClassPredictor(?P<depthwise>_depthwise)?",
            r"class_head_\g<level>\g<depthwise>",
        ),
        # DeepLab
        (r"image_pooling", "image_pooling"),
        (r"aspp(?P<branch>\d)", r"aspp\g<branch>"),
        (r"aspp(?P<branch>\d)_(?P<part>depthwise|pointwise)", r"aspp\g<branch>_\g<part>"),
        (r"concat_projection", "concat_projection"),
        (r"logits/semantic", "logits"),
    )
)


def _application_layers() -> Iterable[str]:
    yield from ("Conv1", "bn_Conv1")
    for block in range(17):
        prefix = f"block_{block}" if block else "expanded_conv"
        for part in ("expand", "depthwise", "project") if block else ("depthwise", "project"):
            yield from (f"{prefix}_{part}", f"{prefix}_{part}_BN")
    yield from ("Conv_1", "Conv_1_bn", "predictions")


# Layers with weights of keras.applications.MobileNetV2, in order; the last is the classifier.
APPLICATION_LAYERS = tuple(_application_layers())
BACKBONE_LAYERS = frozenset(APPLICATION_LAYERS[:-1])
HEAD_LAYERS = frozenset({"predictions", "logits", *(f"class_head_{level}" for level in range(6))})
_BN_LAYERS = {"Conv1": "bn_Conv1", "Conv_1": "Conv_1_bn"}


@dataclass
class Translation:
    """The names of a file, sorted.

    Attributes:
        names: `<layer>/<weight>` here -> name in the file.
        ignored: names of bookkeeping and of moving averages (or what they stand for) that nobody
            needs for inference.
        unknown: names that have no place in any of the networks.
        uses_ema: whether any name in `names` is that of a moving average.
    """

    names: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    uses_ema: bool = False


def translate(names: Iterable[str], use_ema: bool | None = None) -> Translation:
    """Sorts the names of a file into weights, things to ignore, and unknown ones.

    Args:
        names: of TensorFlow 1 variables, or `<layer>/<weight>` as Keras files have them.
        use_ema: where the file holds the exponential moving average of a variable beside the
            variable: True takes the average, False the variable; None takes the average, which
            is what the original evaluations did (slim, `variables_to_restore`).
    """
    result = Translation()
    names = set(names)
    for name in sorted(names):
        is_shadow = name.endswith(SHADOW)
        stands_back = is_shadow if use_ema is False else name + SHADOW in names
        if stands_back or _BOOKKEEPING.search(name):
            result.ignored.append(name)
        else:
            key = weight_name(name.removesuffix(SHADOW))
            if key is None or key in result.names:
                result.unknown.append(name)
            else:
                result.names[key] = name
                result.uses_ema |= is_shadow
    return result


def weight_name(variable: str) -> str | None:
    """`<layer>/<weight>` of a variable, or None.

    `MobilenetV2/expanded_conv_1/expand/BatchNorm/gamma` is `block_1_expand_BN/gamma`.
    """
    match = _VARIABLE.match(variable)
    if match:
        for pattern, template in _SCOPES:
            scope = pattern.match(match["scope"])
            if scope:
                layer = re.sub(r"\\g<(\w+)>", lambda m, s=scope: s[m[1]] or "", template)
                weight = _LEAVES[match["leaf"]]
                if match["leaf"].startswith("BatchNorm/"):
                    layer = _BN_LAYERS.get(layer, f"{layer}_BN")
                return f"{layer}/{weight}"
    layer, slash, weight = variable.partition("/")
    is_ours = slash and weight in _LEAVES.values() and _is_layer(layer)
    return variable if is_ours else None


def _is_layer(layer: str) -> bool:
    return layer in BACKBONE_LAYERS or layer == "predictions" or bool(_OUR_HEADS.match(layer))


_OUR_HEADS = re.compile(
    r"^(extra_[2-5]_(reduce|depthwise|expand)|(box|class)_head_[0-5](_depthwise)?"
    r"|image_pooling|aspp\d(_depthwise|_pointwise)?|concat_projection|logits)(_BN)?$"
)
