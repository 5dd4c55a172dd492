"""Assigning the weights of a file to a model: everything or nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from keras_mnv2.weights.head import columns_for, matching_columns, take_columns
from keras_mnv2.weights.inspection import (
    WeightsInfo,
    class_outputs,
    describe,
    family_of,
    inspect_tensors,
)
from keras_mnv2.weights.names import BACKBONE_LAYERS, HEAD_LAYERS, translate
from keras_mnv2.weights.tensors import MAX_TENSOR_ELEMENTS, NamedTensors, WeightsError

_SHOWN = 8
_LAST_LAYERS = frozenset({"Conv_1", "Conv_1_bn"})


@dataclass(frozen=True)
class LoadReport:
    """What `load_weights` did.

    Attributes:
        file: description of the weight file.
        loaded: number of the model's weights that were assigned.
        skipped: weights of the model's class head that were left as they were.
        unused: weights of the file that a model without head, or a bare backbone, has no use for.
        ignored: names in the file that are no weights of the network (global step, optimizer
            slots, moving averages or the variables that these stand for).
        columns: those of the file's class logits that the model's are, SSDLite's background
            included; None where the model has no head of the file's.
        remark: how the classes correspond, where it is not one to one.
    """

    file: WeightsInfo
    loaded: int
    skipped: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    columns: tuple[int, ...] | None = None
    remark: str = ""

    def __str__(self) -> str:
        text = f"loaded {self.loaded} weights of {self.file.source} ({self.file.summary()})"
        if self.remark:
            text += f"; {self.remark}"
        if self.skipped:
            layers = dict.fromkeys(name.partition("/")[0] for name in self.skipped)
            text += f"; the class head keeps its own values: {', '.join(layers)}"
        return text


def import_tensors(
    model: keras.Model,
    tensors: NamedTensors,
    *,
    use_ema: bool | None = None,
    skip_head: bool = False,
    class_columns: Sequence[int] | None = None,
) -> LoadReport:
    """Assigns all weights of `model` from an open file; see `load_weights` for the arguments."""
    if skip_head and class_columns is not None:
        raise ValueError("skip_head=True leaves the class head, class_columns fills it: give one")
    variables = model_weights(model)
    expected = {key: tuple(variable.shape) for key, variable in variables.items()}
    translation = translate(tensors.shapes, use_ema)
    info = inspect_tensors(tensors, use_ema)
    if use_ema and not translation.uses_ema:
        raise WeightsError(
            f"{tensors.source}: use_ema=True, but the file holds no moving averages (names ending "
            "in /ExponentialMovingAverage)"
        )
    names = translation.names
    shapes = {key: tensors.shapes[name] for key, name in names.items()}

    columns, outputs, remark = None, class_outputs(shapes), ""
    if not skip_head:
        columns, remark = _columns(class_columns, family_of(expected), outputs, expected)
    head = {key for key in expected if key.partition("/")[0] in HEAD_LAYERS}
    # Without a head in the file there is nothing that could be of another class count: that the
    # model's stays as it is must be said by skip_head.
    skipped = head if skip_head or (columns is None and outputs is not None) else set()
    unused = _unused(set(shapes) - set(expected), expected)

    problems = _Problems()
    problems.left_over = [*translation.unknown, *sorted(set(shapes) - set(expected) - unused)]
    problems.missing = [key for key in expected if key not in shapes and key not in skipped]
    for key in expected:
        if key in shapes and key not in skipped:
            found = _shape_here(shapes[key], key, columns, outputs, len(expected[key]))
            if found != expected[key]:
                problems.shapes.append(
                    f"{names[key]} {list(shapes[key])}, {key} here is {list(expected[key])}"
                )
    problems.raise_if_any(info, model, expected)

    arrays = {}
    for key in expected:
        if key not in skipped:
            array = tensors.read(names[key])
            if key in head and columns is not None:
                array = take_columns(array, columns, outputs)
            arrays[key] = array.reshape(expected[key])
            if key.endswith("/moving_variance") and arrays[key].min() < 0:
                raise WeightsError(
                    f"{tensors.source}: {names[key]} has negative variances; damaged"
                )
    for key, array in arrays.items():
        variables[key].assign(array)
    return LoadReport(
        file=info,
        loaded=len(arrays),
        skipped=tuple(key for key in expected if key in skipped),
        unused=tuple(sorted(unused)),
        ignored=tuple(translation.ignored),
        columns=None if columns is None else tuple(columns),
        remark=remark,
    )


def model_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """`<layer>/<weight>` -> variable, for all layers of a model, nested ones included."""
    weights: dict[str, keras.Variable] = {}
    layers = list(model.layers)
    while layers:
        layer = layers.pop(0)
        if getattr(layer, "layers", None):
            layers = [*layer.layers, *layers]
            continue
        for variable in layer.weights:
            key = f"{layer.name}/{variable.name}"
            if weights.setdefault(key, variable) is not variable:
                raise ValueError(
                    f"model {model.name!r} has two layers named {layer.name!r}; load the weights "
                    "into one of its parts, e.g. model.get_layer(...)"
                )
    return weights


def model_info(model: keras.Model) -> WeightsInfo:
    """Describes a model as `inspect` describes a file.

    Raises:
        WeightsError: if the model is none of this package's networks.
    """
    shapes = {key: tuple(variable.shape) for key, variable in model_weights(model).items()}
    return describe(shapes, source=f"model {model.name!r}", format="Keras model")


def _columns(class_columns, family: str, outputs: int | None, expected):
    wanted = class_outputs(expected)
    if class_columns is not None:
        if outputs is None or wanted is None:
            raise ValueError("class_columns needs a class head in the file and in the model")
        columns = columns_for(class_columns, family, outputs)
        if len(columns) != wanted:
            raise ValueError(
                f"class_columns has {len(class_columns)} entries for a model with "
                f"{wanted - (family == 'SSDLite')} classes"
            )
        return columns, f"class columns {list(class_columns)} of the file were taken"
    if outputs is None or wanted is None:
        return None, ""
    return matching_columns(family, outputs, wanted)


def _unused(extra: set[str], expected) -> set[str]:
    """Of the file's weights without a place in the model, those that it can do without.

    A model that is a bare backbone takes its part out of any file of the family; whatever hangs
    behind it is of no use there, nor is Conv_1 to a backbone that ends before it (DeepLabV3's).
    """
    is_bare = family_of(expected) == "MobileNetV2" and "predictions/kernel" not in expected
    if not is_bare:
        return set()
    ends_early = "Conv_1/kernel" not in expected
    wanted = BACKBONE_LAYERS - _LAST_LAYERS if ends_early else BACKBONE_LAYERS
    return {key for key in extra if key.partition("/")[0] not in wanted}


def _shape_here(shape, key: str, columns, outputs: int | None, rank: int) -> tuple[int, ...]:
    """Shape that a tensor of the file will have in the model."""
    layer = key.partition("/")[0]
    if layer in HEAD_LAYERS and columns is not None and shape and shape[-1] % outputs == 0:
        shape = (*shape[:-1], shape[-1] // outputs * len(columns))
    # slim's classifier is a 1x1 convolution, here it is a dense layer.
    if layer == "predictions" and rank == 2 and len(shape) == 4 and shape[:2] == (1, 1):
        shape = shape[2:]
    return tuple(shape)


class _Problems:
    def __init__(self) -> None:
        self.missing: list[str] = []
        self.left_over: list[str] = []
        self.shapes: list[str] = []

    def raise_if_any(self, info: WeightsInfo, model: keras.Model, expected) -> None:
        if not (self.missing or self.left_over or self.shapes):
            return
        try:
            wanted = describe(expected, source=model.name).summary()
        except WeightsError:
            wanted = "none of this package's networks"
        lines = [
            f"{info.source} does not fit model {model.name!r}, which is unchanged.",
            f"  the file is   {info.summary()}",
            f"  the model is  {wanted}",
        ]
        for title, names in (
            ("missing in the file", self.missing),
            ("left over in the file", self.left_over),
            ("of another shape", self.shapes),
        ):
            if names:
                more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
                lines.append(f"  {title} ({len(names)}): {', '.join(names[:_SHOWN])}{more}")
        lines.append(f"  remedy: {_remedy(info, expected, self)}")
        raise WeightsError("\n".join(lines))


def _remedy(info: WeightsInfo, expected, problems: _Problems) -> str:
    family = family_of(expected)
    only_missing = problems.missing and not (problems.left_over or problems.shapes)
    layers = {key.partition("/")[0] for key in problems.missing}
    if info.family == "DeepLabV3" != family and only_missing and layers <= _LAST_LAYERS:
        return (
            "DeepLabV3 files lack the last convolution Conv_1, which this model has; they fill "
            "DeepLabV3(weights=...) or DeepLabV3(backbone_weights=...)"
        )
    if info.family != family:
        return f"build a {info.family} for this file, or take its backbone by backbone_weights="
    if any("_quant/" in name for name in problems.left_over):
        return "this is a network with simulated quantization; take the float release of it"
    if only_missing and layers <= HEAD_LAYERS:
        return "the file has no class head; skip_head=True leaves that of the model as it is"
    if info.alpha is not None:
        options = [f"alpha={info.alpha}", f"divisor={info.divisor}"]
        if family == "SSDLite" and info.last_filters:
            options.append(f"last_filters={info.last_filters}")
        if family == "DeepLabV3":
            options.append("aspp_rates='auto'" if info.aspp_branches else "aspp_rates=None")
            if info.separable_aspp:
                options.append("separable_aspp=True")
            options.append(f"aspp_filters={info.aspp_filters}")
        return f"build the model with {', '.join(options)}, as the file has it, or get it again"
    return "the file is damaged, or its network is another one"


def canonical_arrays(tensors: NamedTensors, use_ema: bool | None = None) -> dict[str, np.ndarray]:
    """All weights of a file under the names that they have here, for writing them to another."""
    translation = translate(tensors.shapes, use_ema)
    if translation.unknown:
        raise WeightsError(
            f"{tensors.source}: holds {len(translation.unknown)} unknown variables, such as "
            f"{', '.join(translation.unknown[:_SHOWN])}"
        )
    elements = sum(math.prod(tensors.shapes[name]) for name in translation.names.values())
    if elements > MAX_TENSOR_ELEMENTS:
        raise WeightsError(
            f"{tensors.source}: announces {elements:,} numbers, more than any network of this "
            f"family has (limit {MAX_TENSOR_ELEMENTS:,})"
        )
    return {key: tensors.read(name) for key, name in translation.names.items()}
