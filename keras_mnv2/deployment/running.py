"""Runs exported files: one interface for all formats."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np

from keras_mnv2.deployment.description import DeploymentError, Description
from keras_mnv2.deployment.file_format import format_of


class Runner(Protocol):
    """An opened file of one format.

    Attributes:
        description: that the file carries.
        input_shape: (batch, height, width, 3), None where the file takes any.
    """

    description: Description
    input_shape: tuple[int | None, ...]

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name, dequantized; `images` fit `input_shape`, uint8 or float32, 0..255."""


class DeployedModel:
    """An exported file that is called like a function.

    Attributes:
        path: of the file or SavedModel folder.
        description: that it carries.
    """

    def __init__(self, path: Path, runner: Runner):
        self.path = path
        self.description = runner.description
        self._runner = runner

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of the program that was exported, by name.

        A file that takes one image at a time runs once for each. Float values are rounded where
        the file takes integers.

        Args:
            images: RGB 0..255, uint8 or float [B, height, width, 3], of the input size in the
                description (any size where the file leaves it open).

        Returns:
            Arrays [B, ...]: floats are float32, also where the file returns them quantized.
            Detections are those of `DetectionPostprocessing`: `classes` and `num_detections` are
            int32, boxes lie in [0, 1], the rows that are padding are zero.

        Raises:
            DeploymentError: (a ValueError) for images of another shape or dtype.
        """
        images = np.asarray(images)
        shape = self._runner.input_shape
        if images.dtype != np.uint8:
            if not np.issubdtype(images.dtype, np.floating):
                raise DeploymentError(f"images must be uint8 or float, got {images.dtype}")
            images = images.astype(np.float32)
        wanted = ["B", *("any" if side is None else side for side in shape[1:])]
        fits = len(images.shape) == 4 and all(
            side in (None, given) for side, given in zip(shape[1:], images.shape[1:], strict=True)
        )
        if not fits or not len(images):
            raise DeploymentError(
                f"{self.path} takes images {wanted}, B at least 1, got {list(images.shape)}"
            )
        step = shape[0] or len(images)
        parts = [self._runner(images[i : i + step]) for i in range(0, len(images), step)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def load(path: str | os.PathLike, num_threads: int | None = None) -> DeployedModel:
    """Opens a file that `keras_mnv2.deployment` exported.

    Args:
        path: of a LiteRT file, a SavedModel folder or an ONNX file.
        num_threads: for LiteRT and ONNX, by default one a core. SavedModels use TensorFlow's.

    Raises:
        DeploymentError: (a ValueError) if it is missing, damaged, or no such file.
        ImportError: if the package that runs this format is not installed; it names it.
    """
    path = Path(path)
    try:
        file_format = format_of(path)
    except ValueError as error:
        raise DeploymentError(str(error)) from error
    if file_format == "keras":
        raise DeploymentError(
            f"{path} is a Keras file: export it first, or keras.saving.load_model"
        )
    threads = num_threads or os.cpu_count() or 1
    if file_format == "litert":
        from keras_mnv2.deployment.litert.running import LiteRTRunner

        return DeployedModel(path, LiteRTRunner(path, threads))
    if file_format == "saved_model":
        from keras_mnv2.deployment.saved_model.running import SavedModelRunner

        return DeployedModel(path, SavedModelRunner(path))
    from keras_mnv2.deployment.onnx.running import ONNXRunner

    return DeployedModel(path, ONNXRunner(path, threads))
