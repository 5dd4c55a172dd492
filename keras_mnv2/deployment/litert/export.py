"""Export to LiteRT (.tflite): builtin operations only, proven against the Keras program."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_mnv2.deployment.console import without_noise
from keras_mnv2.deployment.description import FLOAT_INPUT_DTYPES, PRECISIONS, DeploymentError
from keras_mnv2.deployment.fixed_network import INPUT_NAME
from keras_mnv2.deployment.litert.file import CUSTOM, operators, with_description
from keras_mnv2.deployment.litert.postprocessing import (
    POSTPROCESS_OP,
    POSTPROCESS_OP_DETECTIONS_PER_CLASS,
    builtin_nms,
    custom_op,
)
from keras_mnv2.deployment.programs import Program
from keras_mnv2.deployment.quantization.representative import representative_images
from keras_mnv2.deployment.running import load
from keras_mnv2.deployment.staging import Export, staged
from keras_mnv2.deployment.verification import verify


def export_litert(
    program: Program,
    path: str | os.PathLike,
    precision: str = "float32",
    *,
    input_dtype: str = "float32",
    output_dtype: str = "float32",
    batch_size: int | None = 1,
    resizable: bool = False,
    representative: Iterable[np.ndarray] | None = None,
    float_layers: Sequence[str] = (),
    bias_correction: bool = True,
    images: np.ndarray | None = None,
    min_agreement: float | None = None,
) -> Export:
    """Writes a program as a LiteRT file and its description beside it, once both are proven.

    Batch normalizations are folded into the convolutions, ReLU6 is fused with them, and a dilated
    convolution is one operation, if `batch_size` is 1 and the size is fixed. The file is run in
    `ai_edge_litert` and compared with the program before it gets its name.

    Args:
        program: to export.
        path: of the file, which ends in .tflite.
        precision: "float32"; "float16" (weights in half precision, half the size); "dynamic"
            (8-bit weights, activations quantized as they come); or "int8" (both in 8 bits).
        input_dtype: "float32" or "uint8", both 0..255; with precision "int8" also "int8".
        output_dtype: "float32"; with precision "int8" also "uint8" or "int8". Class maps, class
            ids and detections after suppression stay what they are.
        batch_size: 1, or None for any.
        resizable: whether the file takes any height and width. Dilated convolutions then need
            three operations each.
        representative: for "int8", photos; see `keras_mnv2.deployment.quantization.quantize`, as
            for the next two.
        float_layers: for "int8", names of layers that stay in float.
        bias_correction: for "int8", whether mean errors are taken out of the biases.
        images: uint8 [B, height, width, 3] to compare file and program on, best photos of the
            kind that the file is for; by default made-up ones.
        min_agreement: that must be reached in the comparison, see
            `keras_mnv2.deployment.verification`; by default what the precision should give.

    Raises:
        DeploymentError: (a ValueError) for an option that is unknown or does not fit the program,
            for a program that needs other operations than LiteRT's builtin ones, and for a file
            that does not give the program's answers. Nothing is written then.
        ImportError: if ai_edge_litert is not installed.
    """
    description = dataclasses.replace(
        program.description,
        format="litert",
        precision=precision,
        input_dtype=input_dtype,
        outputs={
            name: _in_dtype(text, output_dtype, program.description.postprocessing)
            for name, text in program.description.outputs.items()
        },
    )
    _check(program, precision, input_dtype, output_dtype, batch_size, resizable)
    if precision != "int8" and (representative is not None or float_layers):
        raise DeploymentError(
            f"representative and float_layers belong to precision='int8', not {precision!r}"
        )
    quantized = None
    if precision == "int8":
        from keras_mnv2.deployment.quantization.quantize import methods, quantize

        representative = representative_images(representative, program.description.input_size)
        facts = {
            **(description.quantization or {}),
            "images": len(representative),
            "methods": methods(len(representative), bias_correction),
            "float_layers": list(float_layers),
        }
        description = dataclasses.replace(description, quantization=facts)
    with staged(path, description) as temporary:
        if precision == "int8":
            quantized = quantize(
                program,
                representative,
                input_dtype=input_dtype,
                output_dtype=output_dtype,
                float_layers=float_layers,
                bias_correction=bias_correction,
            )
            content = quantized.content
        else:
            converter = make_converter(
                program, input_dtype=input_dtype, batch_size=batch_size, resizable=resizable
            )
            if precision != "float32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if precision == "float16":
                converter.target_spec.supported_types = [tf.float16]
            content = convert(converter)
        temporary.write_bytes(with_description(content, description))
        found = operators(temporary)
        check_operators(found, description.postprocessing == "custom_op")
        reached = verify(program, load(temporary), description, images, min_agreement)
    return Export(Path(path), description, *reached, found, quantized)


def _in_dtype(meaning: str, output_dtype: str, postprocessing: str | None) -> str:
    """What an output is, where the file returns it quantized."""
    # What post-processing returns stays in float.
    if output_dtype == "float32" or postprocessing in ("nms", "custom_op"):
        return meaning
    return meaning.replace("float32", f"{output_dtype}, quantized by the scale in the file,")


def make_converter(
    program: Program,
    *,
    input_dtype: str = "float32",
    batch_size: int | None = 1,
    resizable: bool = False,
) -> tf.lite.TFLiteConverter:
    """A converter of `program`, without any quantization, for builtin operations only.

    Its one signature has the input `images` and the outputs of the program by name.
    """
    finish: Callable = {"nms": builtin_nms, "custom_op": custom_op}.get(
        program.description.postprocessing, lambda outputs, _: program.finish(outputs)
    )

    @tf.function(autograph=False)
    def run(images):
        outputs = program.network(tf.cast(images, tf.float32), training=False)
        return finish(outputs, program.description)

    size = (None, None) if resizable else program.description.input_size
    spec = tf.TensorSpec((batch_size, *size, 3), input_dtype, name=INPUT_NAME)
    module = tf.Module()
    # What the converter is to turn into constants.
    module.weights = [variable.value for variable in program.network.variables]
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [run.get_concrete_function(spec)], module
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.allow_custom_ops = program.description.postprocessing == "custom_op"
    return converter


def convert(converter: tf.lite.TFLiteConverter) -> bytes:
    """The LiteRT file of a converter.

    Raises:
        DeploymentError: (a ValueError) if it fails, as for an operation that LiteRT has not.
    """
    try:
        with without_noise():
            return converter.convert()
    except Exception as error:  # ConverterError is no public name.
        raise DeploymentError(f"LiteRT's converter failed: {error}") from error


def check_operators(found: Counter[str], with_postprocess_op: bool) -> None:
    """Raises DeploymentError if there are others than builtin operations.

    Args:
        found: what `operators` returns.
        with_postprocess_op: whether TFLite_Detection_PostProcess is wanted too.
    """
    allowed = {POSTPROCESS_OP} if with_postprocess_op else set()
    custom = {name.removeprefix(CUSTOM) for name in found if name.startswith(CUSTOM)}
    if custom - allowed:
        raise DeploymentError(
            f"the file would hold operations that are not builtin in LiteRT: "
            f"{', '.join(sorted(custom - allowed))}. Nothing was written"
        )
    if allowed - custom:
        raise DeploymentError(f"the file holds no {POSTPROCESS_OP}. Nothing was written")


def _check(program, precision, input_dtype, output_dtype, batch_size, resizable) -> None:
    if precision not in PRECISIONS:
        raise DeploymentError(f"precision={precision!r} must be one of {PRECISIONS}")
    if precision != "int8":
        if input_dtype not in FLOAT_INPUT_DTYPES:
            raise DeploymentError(
                f"input_dtype={input_dtype!r} with precision={precision!r} must be one of "
                f"{FLOAT_INPUT_DTYPES}"
            )
        if output_dtype != "float32":
            raise DeploymentError(
                f"output_dtype={output_dtype!r} needs precision='int8', not {precision!r}"
            )
    if precision == "int8" and (batch_size != 1 or resizable):
        raise DeploymentError(
            "precision='int8' is for one image of a fixed size: use batch_size=1, resizable=False"
        )
    if batch_size not in (1, None):
        raise DeploymentError(f"batch_size={batch_size!r} must be 1, or None for any")
    postprocessing = program.description.postprocessing
    if resizable and postprocessing is not None:
        raise DeploymentError(
            "resizable=True: a detector's anchors belong to one size, export it for each"
        )
    per_class = program.description.max_detections_per_class
    if postprocessing == "custom_op" and per_class != POSTPROCESS_OP_DETECTIONS_PER_CLASS:
        raise DeploymentError(
            f"max_detections_per_class={per_class}: {POSTPROCESS_OP} has "
            f"{POSTPROCESS_OP_DETECTIONS_PER_CLASS}; only postprocessing='nms' takes another number"
        )
    if batch_size != 1 and postprocessing not in (None, "none"):
        raise DeploymentError(
            f"postprocessing={postprocessing!r} is for one image at a time: use batch_size=1"
        )
