"""What SavedModels and ONNX files have in common: float32, of float32 or uint8 images."""

from __future__ import annotations

import dataclasses

from keras_mnv2.deployment.description import FLOAT_INPUT_DTYPES, DeploymentError, Description
from keras_mnv2.deployment.programs import Program

_NAMES = {"saved_model": "a SavedModel", "onnx": "an ONNX file"}


def float_description(program: Program, file_format: str, input_dtype: str) -> Description:
    """The description of a program as a file of such a format.

    Args:
        program: to be exported.
        file_format: "saved_model" or "onnx".
        input_dtype: of its images.

    Raises:
        DeploymentError: (a ValueError) if the program or the dtype does not suit the format.
    """
    if input_dtype not in FLOAT_INPUT_DTYPES:
        raise DeploymentError(
            f"input_dtype={input_dtype!r}: {_NAMES[file_format]} takes "
            f"{' or '.join(FLOAT_INPUT_DTYPES)}"
        )
    if program.description.postprocessing == "custom_op":
        raise DeploymentError(
            f"postprocessing='custom_op' is an operation of LiteRT: {_NAMES[file_format]} has "
            "'none' or 'nms'"
        )
    return dataclasses.replace(
        program.description, format=file_format, precision="float32", input_dtype=input_dtype
    )
