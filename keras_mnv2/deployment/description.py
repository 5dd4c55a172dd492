"""What an exported file is: read by people in a JSON file beside it, by programs in the file."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TASKS = ("classification", "detection", "segmentation")
FORMATS = ("litert", "saved_model", "onnx")
PRECISIONS = ("float32", "float16", "dynamic", "int8")
INPUT_DTYPES = ("float32", "uint8", "int8")
# Of files that compute in floats.
FLOAT_INPUT_DTYPES = ("float32", "uint8")
POSTPROCESSINGS = ("none", "nms", "custom_op")

# Under which an exported file carries its description.
METADATA_NAME = "keras_mnv2"
# Of a SavedModel, in the folder that TensorFlow leaves to those who have something to add.
DESCRIPTION_FILE = Path("assets.extra", f"{METADATA_NAME}.json")
VERSION = 1


class DeploymentError(ValueError):
    """A model that cannot be exported, or a file that is no usable export; says what to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What one must know to use an exported file.

    Attributes:
        task: "classification", "detection" or "segmentation".
        format: "litert", "saved_model" or "onnx"; None for a program that is not exported yet.
        precision: "float32", "float16" (weights), "dynamic" (8-bit weights, float activations) or
            "int8" (both in 8 bits).
        input_size: (height, width) in pixels.
        input_dtype: "float32", "uint8" or "int8" (quantized by the scale in the file).
        value_range: of the input's values before any quantization.
        channel_order: of the input's last axis.
        label_names: one for each class, in the order of class ids; None where unknown.
        category_ids: one for each class, of the data set's format (COCO); None where unknown.
        outputs: name -> meaning, for people.
        postprocessing: of a detector, "none", "nms" or "custom_op"; None for other tasks.
        box_format: of a detector, what the four numbers of a box are.
        anchors: of a detector, [A, 4] normalised [ymin, xmin, ymax, xmax]; to decode the outputs
            where they are encodings.
        scale_factors: of a detector, those of the box codes [ty, tx, th, tw].
        score_threshold: of a detector with post-processing: detections score more.
        iou_threshold: of a detector with post-processing: boxes of a class overlap by no more.
        max_detections: of a detector with post-processing: rows of its outputs.
        max_detections_per_class: of a detector with post-processing.
        quantization: of an int8 file: data and number of the images by which it was calibrated,
            methods, layers that stay in float; None for other precisions.
        source: what the weights are from, such as {"file": ..., "sha256": ...}; None if unknown.
        accuracy: measured at the export, figure by name; None where nothing was measured.
        version: of this schema.

    Raises:
        DeploymentError: (a ValueError) for a value that no export has.
    """

    task: str
    format: str | None = None
    precision: str = "float32"
    input_size: tuple[int, int]
    input_dtype: str = "float32"
    value_range: tuple[float, float] = (0, 255)
    channel_order: str = "RGB"
    label_names: tuple[str, ...] | None = None
    category_ids: tuple[int, ...] | None = None
    outputs: Mapping[str, str]
    postprocessing: str | None = None
    box_format: str | None = None
    anchors: tuple[tuple[float, ...], ...] | None = None
    scale_factors: tuple[float, ...] | None = None
    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int | None = None
    max_detections_per_class: int | None = None
    quantization: Mapping[str, Any] | None = None
    source: Mapping[str, Any] | None = None
    accuracy: Mapping[str, Any] | None = None
    version: int = VERSION

    def __post_init__(self):
        for name, allowed in (
            ("task", TASKS),
            ("format", (None, *FORMATS)),
            ("precision", PRECISIONS),
            ("input_dtype", INPUT_DTYPES),
            ("postprocessing", (None, *POSTPROCESSINGS)),
        ):
            value = getattr(self, name)
            if value not in allowed:
                words = ", ".join(repr(word) for word in allowed if word is not None)
                raise DeploymentError(f"{name}={value!r} must be one of {words}")
        sides = _tuple(self.input_size)
        if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
            raise DeploymentError(
                f"input_size={self.input_size!r} must be (height, width), positive whole numbers"
            )
        # JSON has lists only; a description that was read equals the one that was written.
        for name in ("input_size", "value_range", "label_names", "category_ids", "scale_factors"):
            object.__setattr__(self, name, _tuple(getattr(self, name)))
        if self.anchors is not None:
            object.__setattr__(self, "anchors", _short_rows(self.anchors))

    def to_json(self) -> str:
        """The description as JSON, a line a field.

        Raises:
            DeploymentError: if the format is not set.
        """
        if self.format is None:
            raise DeploymentError("format is not set: only an exported program has a description")
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Description:
        """The description that `to_json` wrote.

        Raises:
            DeploymentError: if it is not such a text, or one of another version of this schema.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise DeploymentError(f"the description is no JSON: {error}") from error
        if not isinstance(content, dict):
            raise DeploymentError("the description is no JSON object")
        if content.get("version") != VERSION:
            raise DeploymentError(
                f"the description has version {content.get('version')!r}, this release of "
                f"keras_mnv2 reads version {VERSION}: export the model again, or use the release "
                "that wrote it"
            )
        names = [field.name for field in dataclasses.fields(cls)]
        # What has a default may have come later than the file.
        missing = [name for name in _REQUIRED if name not in content]
        unknown = [name for name in content if name not in names]
        if missing or unknown:
            problems = [f"lacks {', '.join(missing)}"] if missing else []
            problems += [f"has the unknown {', '.join(unknown)}"] if unknown else []
            raise DeploymentError(f"the description {' and '.join(problems)}")
        try:
            return cls(**content)
        except DeploymentError:
            raise
        except (TypeError, ValueError) as error:
            raise DeploymentError(f"the description is damaged: {error}") from error


_REQUIRED = tuple(
    field.name for field in dataclasses.fields(Description) if field.default is dataclasses.MISSING
)


def sidecar_path(path: str | os.PathLike) -> Path:
    """Where the description of an exported file (or SavedModel folder) is written for people."""
    path = Path(path)
    return path.with_name(f"{path.name}.json")


def _tuple(values: Sequence[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


def _short_rows(rows: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """Numbers with just the digits that tell float32 values apart."""
    return tuple(
        tuple(float(np.format_float_positional(value)) for value in row)
        for row in np.asarray(rows, np.float32)
    )
