"""The model that a weight file belongs to, built and filled."""

from __future__ import annotations

import os
from collections.abc import Sequence

import keras

from keras_mnv2.weights.inspection import WeightsInfo, inspect
from keras_mnv2.weights.loading import load_weights
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
    **options,
) -> keras.Model:
    """Builds the network that a weight file is of, and loads the file.

    Args:
        path: see `load_weights`.
        input_size: (height, width); None for that of the file, else the one usual for its family.
        classes: None for that of the file.
        class_columns: see `load_weights`.
        use_ema: see `load_weights`.
        **options: further arguments of the builder, such as `output_stride`.

    Raises:
        WeightsError: (a ValueError) if the file is damaged or of another network.
    """
    info = inspect(path, use_ema)
    model = build(info, input_size=input_size, classes=classes, **options)
    load_weights(model, path, use_ema=use_ema, class_columns=class_columns)
    return model


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
        if info.classes is None:
            arguments["include_top"] = False
        else:
            arguments["classes"] = classes
        return MobileNetV2(**arguments, last_filters=info.last_filters, **options)
    if classes is not None:
        arguments["num_classes"] = classes
    if info.family == "SSDLite":
        return SSDLite(**arguments, last_filters=info.last_filters, **options)
    if info.aspp_branches:
        options = {"aspp_rates": "auto", "separable_aspp": info.separable_aspp, **options}
    return DeepLabV3(**arguments, aspp_filters=info.aspp_filters or 256, **options)
