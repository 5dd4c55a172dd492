"""Runs ONNX files by `onnxruntime`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_mnv2.deployment.checksum import check_checksum, require_checksum
from keras_mnv2.deployment.description import METADATA_NAME, DeploymentError, Description
from keras_mnv2.deployment.onnx.packages import check_packages
from keras_mnv2.deployment.pixels import pixels_as


class ONNXRunner:
    """An opened ONNX file, see `keras_mnv2.deployment.running.Runner`.

    Args:
        path: of the file.
        num_threads: of its kernels.

    Raises:
        DeploymentError: (a ValueError) if the file is damaged or was not exported by keras_mnv2.
        ImportError: if onnxruntime is not installed.
    """

    def __init__(self, path: Path, num_threads: int):
        check_packages("to run .onnx files", "onnxruntime")
        import onnxruntime

        content = path.read_bytes()
        check_checksum(content, str(path))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no common class but this
            reason = str(error).splitlines()[0]
            raise DeploymentError(f"{path} is no ONNX file, or damaged: {reason}") from error
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_NAME)
        if text is None:
            raise DeploymentError(
                f"{path} is an ONNX file that keras_mnv2 did not export: it carries no description "
                "of its input and outputs"
            )
        require_checksum(content, str(path))
        try:
            self.description = Description.from_json(text)
        except DeploymentError as error:
            raise DeploymentError(f"{path}: {error}") from error
        (self._input,) = self._session.get_inputs()
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.input_shape = tuple(
            side if isinstance(side, int) else None for side in self._input.shape
        )

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        batch = pixels_as(images, self.description.input_dtype)
        values = self._session.run(self._outputs, {self._input.name: batch})
        return dict(zip(self._outputs, values, strict=True))
