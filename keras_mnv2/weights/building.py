"""The model that a weight file belongs to, built and filled."""

from __future__ import annotations

import os
from collections.abc import Sequence

import keras

from keras_mnv2.weights import registry
from keras_mnv2.weights.importing import LoadReport
from keras_mnv2.weights.inspection import WeightsInfo, inspect
from keras_mnv2.weights.loading import cached_file, is_registered, load_weights
from keras_mnv2.weights.tensors import WeightsError

# Of the original releases; for files that do not tell.
_USUAL_SIZE = {"MobileNetV2": 224, "SSDLite": 300, "DeepLabV3": 513}


def import_model(
    path: str | os.PathLike,
    *,
    input_size: tuple[int | None, int | None] | None = None,
    classes: int | None = None,
    class_columns: Sequence[int] | None = None,
    use_ema: bool | None = None,
    alpha: float | None = None,
    **options,
) -> keras.Model:
    """Builds the network that a weight file is of, and loads the file.

    Args:
        path: of a file, or a registered name; see `load_weights`.
        input_size: (height, width); None for that of the file, else the one usual for its family.
        classes: None for that of the file. A file without a class head gets a new one.
        class_columns: see `load_weights`.
        use_ema: see `load_weights`.
        alpha: width multiplier of a registered name (by default 1.0); a file has its own.
        **options: further arguments of the builder, such as `output_stride` (by default that of
            the file's graph where there is one).

    Raises:
        WeightsError: (a ValueError) if the file is damaged or of another network.
    """
    file = local_file(path, input_size=input_size, alpha=alpha)
    model, _ = build_and_load(
        file,
        inspect(file, use_ema),
        input_size=input_size,
        classes=classes,
        class_columns=class_columns,
        use_ema=use_ema,
        **options,
    )
    return model


def local_file(
    path: str | os.PathLike, *, input_size: tuple | None = None, alpha: float | None = None
) -> str | os.PathLike:
    """`path`, or for a registered name the file in the cache, downloaded if need be."""
    if is_registered(path):
        return cached_file(registry.default(path, 1.0 if alpha is None else alpha, input_size))
    if alpha is not None:
        raise WeightsError(f"alpha={alpha} chooses among published weights; {path} has its own")
    return path


def build_and_load(
    path: str | os.PathLike,
    info: WeightsInfo,
    *,
    classes: int | None = None,
    class_columns: Sequence[int] | None = None,
    use_ema: bool | None = None,
    **options,
) -> tuple[keras.Model, LoadReport]:
    """`import_model` of a file that is described by `info`, with the report of its loading."""
    if class_columns is not None:
        if classes not in (None, len(class_columns)):
            raise ValueError(
                f"classes={classes} and {len(class_columns)} class_columns: give only the latter"
            )
        classes = len(class_columns)
    model = build(info, classes=classes, **options)
    report = load_weights(
        model,
        path,
        use_ema=use_ema,
        skip_head=info.classes is None and classes is not None and class_columns is None,
        class_columns=class_columns,
    )
    return model, report


def build(
    info: WeightsInfo,
    *,
    input_size: tuple[int | None, int | None] | None = None,
    classes: int | None = None,
    **options,
) -> keras.Model:
    """Builds the network that `info` describes, with fresh weights; see `import_model`."""
    # Imported late: the builders import this package for their `weights=`.
    from keras_mnv2.detection.ssdlite import SSDLite
    from keras_mnv2.mobilenet_v2 import MobileNetV2
    from keras_mnv2.segmentation.deeplab_v3 import DeepLabV3

    if info.alpha is None:
        raise WeightsError(f"{info.source}: no width multiplier gives the widths of its layers")
    usual = _USUAL_SIZE[info.family]
    input_shape = (*(input_size or info.input_size or (usual, usual)), 3)
    arguments = {"input_shape": input_shape, "alpha": info.alpha, "divisor": info.divisor}
    classes = info.classes if classes is None else classes
    if info.family == "MobileNetV2":
        if classes is None:
            arguments["include_top"] = False
        else:
            arguments["classes"] = classes
        return MobileNetV2(**arguments, last_filters=info.last_filters, **options)
    if classes is not None:
        arguments["num_classes"] = classes
    if info.family == "SSDLite":
        return SSDLite(**arguments, last_filters=info.last_filters, **options)
    if info.output_stride is not None:
        options = {"output_stride": info.output_stride, **options}
    if info.aspp_branches:
        options = {"aspp_rates": "auto", "separable_aspp": info.separable_aspp, **options}
    return DeepLabV3(**arguments, aspp_filters=info.aspp_filters or 256, **options)
