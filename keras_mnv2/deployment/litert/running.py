"""Runs LiteRT files by `ai_edge_litert`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_mnv2.deployment.console import without_noise
from keras_mnv2.deployment.description import DeploymentError
from keras_mnv2.deployment.fixed_network import INPUT_NAME
from keras_mnv2.deployment.litert.file import read_description


class LiteRTRunner:
    """An opened LiteRT file, see `keras_mnv2.deployment.running.Runner`.

    Args:
        path: of the file.
        num_threads: of its kernels.

    Raises:
        DeploymentError: (a ValueError) if the file is damaged or was not exported by keras_mnv2.
        ImportError: if ai_edge_litert is not installed.
    """

    def __init__(self, path: Path, num_threads: int):
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ImportError(
                f"{error}: to run .tflite files, pip install ai-edge-litert"
            ) from error

        self.description = read_description(path)
        if self.description.postprocessing == "custom_op":
            # With more the operation loses a class, see `litert.postprocessing.custom_op`.
            num_threads = 1
        try:
            # Which tells on standard error that it uses XNNPACK.
            with without_noise():
                self._interpreter = Interpreter(str(path), num_threads=num_threads)
                self._interpreter.allocate_tensors()
            self._run = self._interpreter.get_signature_runner()
            self._input = self._run.get_input_details()[INPUT_NAME]
            self._outputs = self._run.get_output_details()
        except (ValueError, RuntimeError, KeyError) as error:
            raise DeploymentError(f"{path} is damaged: {error}") from error
        self.input_shape = tuple(
            None if side < 0 else int(side) for side in self._input["shape_signature"]
        )

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        found = self._run(**{INPUT_NAME: _quantized(images, self._input)})
        outputs = {name: _dequantized(value, self._outputs[name]) for name, value in found.items()}
        if self.description.postprocessing == "custom_op":
            return _uniform(outputs)
        return outputs


def _quantized(images: np.ndarray, details: dict) -> np.ndarray:
    dtype = np.dtype(details["dtype"])
    scale, zero_point = details["quantization"]
    if scale:
        images = images / np.float32(scale) + zero_point
    if np.issubdtype(dtype, np.integer) and images.dtype != dtype:
        limits = np.iinfo(dtype)
        images = np.clip(np.rint(images), limits.min, limits.max)
    return images.astype(dtype, copy=False)


def _dequantized(value: np.ndarray, details: dict) -> np.ndarray:
    scale, zero_point = details["quantization"]
    if not scale:
        return value
    return (value.astype(np.float32) - zero_point) * np.float32(scale)


def _uniform(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Detections as `DetectionPostprocessing` gives them, from those of the custom operation.

    The operation does not clip, and says nothing of the rows that are padding.
    """
    boxes, scores = np.clip(outputs["boxes"], 0, 1), outputs["scores"]
    sides = boxes[..., 2:] - boxes[..., :2]
    counted = np.arange(boxes.shape[1]) < outputs["num_detections"][:, None]
    kept = counted & (sides.prod(-1) > 0)
    # Kept rows first, in their order.
    order = np.argsort(~kept, axis=1, kind="stable")
    kept = np.take_along_axis(kept, order, axis=1)
    return {
        "boxes": np.take_along_axis(boxes, order[..., None], axis=1) * kept[..., None],
        "scores": np.take_along_axis(scores, order, axis=1) * kept,
        "classes": np.take_along_axis(outputs["classes"], order, axis=1).astype(np.int32) * kept,
        "num_detections": kept.sum(1, dtype=np.int32),
    }
