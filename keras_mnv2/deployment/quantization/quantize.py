"""Full integer post-training quantization: weights per channel, activations per tensor."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from keras_mnv2.deployment.console import without_noise
from keras_mnv2.deployment.description import INPUT_DTYPES, DeploymentError
from keras_mnv2.deployment.litert.export import convert, make_converter
from keras_mnv2.deployment.litert.file import parse
from keras_mnv2.deployment.litert.tensors import operations
from keras_mnv2.deployment.programs import Program
from keras_mnv2.deployment.quantization.bias_correction import channel_errors, with_corrected_biases
from keras_mnv2.deployment.quantization.calibration import calibrated
from keras_mnv2.deployment.quantization.layer_names import (
    check_layer_names,
    layer_names,
    layers_of_operations,
)
from keras_mnv2.deployment.quantization.representative import evenly_spread, representative_images

# Images by which biases are corrected; more take their time. By 32, the published 1.0/224 had the
# best class of float in 98.8 % of 250 photos, by 40 to 72 in 99.4 % (means of five calibrations).
_BIAS_IMAGES = 100

# Of post-processing alone. They have several results, and by its name the quantizer can leave out
# only an operation that has one.
_NEVER_QUANTIZED = ("UNPACK", "TOPK_V2")


@dataclasses.dataclass(frozen=True)
class Quantized:
    """An int8 LiteRT file, and what it takes to compare it with the float one.

    Attributes:
        content: of the file, without a description.
        calibrated: the float file with the ranges of its activations.
        layers: names of Keras layers by name of the operation in `calibrated` that computes them.
        float_operations: names of operations that stay in float.
        bias_errors: mean error by channel, by name of the operation, that was taken away.
        images: representative ones, [1, height, width, 3].
    """

    content: bytes
    calibrated: bytes
    layers: Mapping[str, Sequence[str]]
    float_operations: Sequence[str]
    bias_errors: Mapping[str, np.ndarray]
    images: Sequence[np.ndarray]

    def comparing(self, accumulated: bool) -> bytes:
        """The file with operations that compare it with the float one while it runs.

        Args:
            accumulated: whether float operations get the results of the float ones before them;
                else they get those of the 8-bit ones, so that each shows its own error.
        """
        content = _quantized(self.calibrated, self.float_operations, accumulated=accumulated)
        return with_corrected_biases(content, self.bias_errors)


def quantize(
    program: Program,
    representative: Iterable[np.ndarray] | None,
    *,
    input_dtype: str = "float32",
    output_dtype: str = "float32",
    float_layers: Sequence[str] = (),
    bias_correction: bool = True,
) -> Quantized:
    """Converts a program to an int8 LiteRT file.

    All that the network computes is done in 8 bits, resizing and the class map included. In float
    stay the post-processing of a detector and, where the outputs are float, the softmax of a
    classifier: in 8 bits its probabilities would have 256 values.

    Args:
        program: to convert.
        representative: 50 to 100 photos of the kind that the file will see, which set the ranges
            of activations: batches of RGB images 0..255, uint8 or float32 [B, height, width, 3].
            More change little.
        input_dtype: "float32"; "uint8", pixels as they are; or "int8", pixels less 128.
        output_dtype: "float32"; or "uint8" or "int8", with scale and zero point in the file.
            Class maps stay what they are, and so does what post-processing returns.
        float_layers: names of the network's layers that stay in float, with those that they are
            fused with (a convolution with its normalization and activation). The results of
            `keras_mnv2.deployment.quantization.layer_report.layer_errors` tell which would help.
        bias_correction: whether the mean error that quantization adds to each channel is taken
            out of the biases (on 100 of `representative`, evenly spread). Rounded weights shift
            means; of the published SSDLite and DeepLabv3 the first depthwise convolution loses
            more by it than any other layer by all causes.

    Raises:
        DeploymentError: (a ValueError) if there are no representative images or they do not fit
            the program, a layer is unknown or has no operation of its own, or a dtype is not one
            of those above.
        ImportError: if ai_edge_litert is not installed.
    """
    for argument, value in (("input_dtype", input_dtype), ("output_dtype", output_dtype)):
        if value not in INPUT_DTYPES:
            raise DeploymentError(f"{argument}={value!r} must be one of {INPUT_DTYPES}")
    names = layer_names(program.network)
    check_layer_names(float_layers, names)
    images = representative_images(representative, program.description.input_size)

    content = convert(make_converter(program))
    layers = _layers(content, program, names)
    float_operations, afterwards = _of_layers(layers, float_layers), []
    if output_dtype == "float32":
        found = operations(parse(content, "the float file"))
        float_operations += [operation.name for operation in found if operation.kind == "SOFTMAX"]
    if program.description.postprocessing in ("nms", "custom_op"):
        # In 8 bits the coordinates of boxes would have 256 places.
        afterwards = [name for name, found in layers.items() if not found]
        output_dtype = "float32"
        float_operations += afterwards
    content = calibrated(content, images, afterwards)
    bias_errors = {}
    if bias_correction:
        comparing = _quantized(content, float_operations, accumulated=False)
        # Photos may be in the order of their classes.
        some = [images[index] for index in evenly_spread(len(images), _BIAS_IMAGES)]
        bias_errors = channel_errors(comparing, layers, some)
    quantized = _quantized(content, float_operations, input_dtype, output_dtype)
    return Quantized(
        with_corrected_biases(quantized, bias_errors),
        content,
        layers,
        float_operations,
        bias_errors,
        images,
    )


def methods(num_images: int, bias_correction: bool) -> list[str]:
    """What `quantize` does to a program, for people."""
    found = [
        "weights in 8 bits per channel",
        "activations in 8 bits per tensor, ranges from the lowest to the highest value",
    ]
    if bias_correction:
        found.append(f"biases corrected on {min(num_images, _BIAS_IMAGES)} images")
    return found


def _layers(content: bytes, program: Program, names: Sequence[str]) -> dict[str, list[str]]:
    """Layers by operation of the float file."""
    model = parse(content, "the float file")
    results, outputs = program.network.output, {}
    for output in model.signatureDefs[0].outputs:
        name = output.name.decode()
        if not isinstance(results, dict):
            outputs[output.tensorIndex] = names[-1]
        elif name in results:
            outputs[output.tensorIndex] = name
    return layers_of_operations(operations(model), names, outputs)


def _of_layers(layers: Mapping[str, Sequence[str]], wanted: Sequence[str]) -> list[str]:
    """Names of the operations that compute these layers."""
    computed = {layer for found in layers.values() for layer in found}
    for name in wanted:
        if name not in computed:
            raise DeploymentError(
                f"float_layers: layer {name!r} has no operation of its own in the file, so that "
                "nothing can stay in float"
            )
    return [operation for operation, found in layers.items() if set(found) & set(wanted)]


def _quantized(
    content: bytes,
    float_operations: Sequence[str],
    input_dtype: str = "float32",
    output_dtype: str = "float32",
    accumulated: bool | None = None,
) -> bytes:
    """A calibrated file in 8 bits; with comparisons unless `accumulated` is None."""
    # tf.lite.experimental.QuantizationDebugger calls it, too, but has no choice of dtypes.
    from tensorflow.lite.python.convert import mlir_quantize

    try:
        with without_noise():
            return mlir_quantize(
                content,
                input_data_type=tf.as_dtype(input_dtype),
                output_data_type=tf.as_dtype(output_dtype),
                enable_numeric_verify=accumulated is not None,
                enable_whole_model_verify=bool(accumulated),
                denylisted_nodes=list(float_operations),
                denylisted_ops=list(_NEVER_QUANTIZED),
            )
    except Exception as error:  # ConverterError is no public name.
        raise DeploymentError(f"LiteRT's quantizer failed: {error}") from error
