"""int8 files of all tasks: what is in 8 bits, how wide its ranges are, what it answers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from golden_operators import LITERT, LITERT_INT8
from tensorflow.lite.python import schema_py_generated as schema
from tiny_programs import make_program, random_images

from keras_mnv2.deployment.agreement import agreement
from keras_mnv2.deployment.description import DeploymentError
from keras_mnv2.deployment.litert.file import pack, parse
from keras_mnv2.deployment.litert.tensors import CONVOLUTIONS, operations
from keras_mnv2.deployment.quantization import quantize as quantize_module
from keras_mnv2.deployment.quantization.bias_correction import channel_errors, with_corrected_biases
from keras_mnv2.deployment.quantization.calibration import calibrated
from keras_mnv2.deployment.quantization.layer_report import (
    LayerError,
    format_layer_errors,
    layer_errors,
)
from keras_mnv2.deployment.quantization.quantize import Quantized, quantize
from keras_mnv2.deployment.sample_pictures import sample_images

pytest.importorskip(
    "ai_edge_litert.interpreter", reason="the runtime is absent: pip install ai-edge-litert"
)

KINDS = ("classification", "class_map", "none", "nms", "custom_op")
# Kinds of operations that bring values into 8 bits and back.
BORDERS = ("QUANTIZE", "DEQUANTIZE")


@pytest.fixture(scope="module")
def quantized(programs):
    """`quantize` of the program of a kind; its float file is converted once."""
    files = {}
    convert = quantize_module.convert

    def of(kind: str, images=None, **options) -> Quantized:
        if images is None:
            images = photos(programs[kind])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(quantize_module, "make_converter", lambda program: kind)
            patch.setattr(quantize_module, "convert", files.__getitem__)
            if kind not in files:
                files[kind] = convert(make_converter(programs[kind]))
            return quantize(programs[kind], [images], **options)

    make_converter = quantize_module.make_converter
    return of


def photos(program, count: int = 12) -> np.ndarray:
    return sample_images(program.description.input_size, count)


def float_operations(content: bytes) -> list:
    """Those that return a float."""
    model = parse(content, "a file")
    tensors = model.subgraphs[0].tensors
    return [
        operation
        for operation in operations(model)
        if any(tensors[i].type == schema.TensorType.FLOAT32 for i in operation.outputs)
    ]


def operators_of(content: bytes) -> Counter[str]:
    return Counter(operation.kind for operation in operations(parse(content, "a file")))


def run(content: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs as they leave the file, for images in the dtype that it takes."""
    from ai_edge_litert.interpreter import Interpreter

    signature = Interpreter(model_content=content).get_signature_runner()
    rows = [
        {name: value.copy() for name, value in signature(images=image[None]).items()}
        for image in images
    ]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def borders(content: bytes) -> list[tuple[str, float, int]]:
    """(dtype, scale, zero point) of the input and of the outputs, by their names."""
    from ai_edge_litert.interpreter import Interpreter

    signature = Interpreter(model_content=content).get_signature_runner()
    details = {**signature.get_input_details(), **signature.get_output_details()}
    return [(value["dtype"].__name__, *value["quantization"]) for value in details.values()]


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_network_computes_in_8_bits(kind, quantized):
    content = quantized(kind, bias_correction=False).content
    model = parse(content, "a file")
    tensors, found = model.subgraphs[0].tensors, float_operations(content)
    network = quantized(kind, bias_correction=False).layers
    in_float = [o.kind for o in found if o.kind not in BORDERS and network.get(o.name)]
    # Probabilities in 8 bits would have 256 values.
    assert in_float == ["SOFTMAX"] * (kind == "classification")
    # Nothing goes back and forth between float and 8 bits.
    assert operators_of(content) == {**LITERT[kind], **LITERT_INT8["float32"][kind]}
    for operation in [o for o in operations(model) if o.kind in CONVOLUTIONS]:
        weights = tensors[operation.inputs[1]]
        assert weights.type == schema.TensorType.INT8
        channels = weights.shape[3 if operation.kind == "DEPTHWISE_CONV_2D" else 0]
        assert len(weights.quantization.scale) == channels > 1
    rest = {o.kind for o in found} - set(BORDERS)
    assert bool(rest) == (kind in ("nms", "custom_op", "classification"))


@pytest.mark.parametrize("kind", ["classification", "class_map", "none"])
def test_answers(kind, programs, quantized):
    """Roughly: networks that were never trained make much of small errors."""
    program = programs[kind]
    images = photos(program, 4)
    expected = program.predict(images)
    found = run(quantized(kind).content, images.astype(np.float32))
    if kind == "none":
        for name, value in expected.items():
            assert np.square(found[name] - value).mean() < 0.35 * np.var(value)
    else:
        assert agreement(program.description, expected, found) > 0.75


@pytest.mark.parametrize("kind", ["nms", "custom_op"])
def test_post_processing_is_exact(kind, programs, quantized):
    images = photos(programs[kind], 3)
    raw = run(quantized("none").content, images.astype(np.float32))
    expected = {name: np.asarray(x) for name, x in programs[kind].finish(raw).items()}
    found = run(quantized(kind).content, images.astype(np.float32))
    found["classes"] = found["classes"].astype(int)
    found["num_detections"] = found["num_detections"].astype(int)
    found["boxes"] = found["boxes"].clip(0, 1)  # which the custom operation leaves to others
    # In 8 bits there are equal scores, of which any may come first.
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)
    assert agreement(programs[kind].description, expected, found) > 0.95


@pytest.mark.parametrize(
    ("dtype", "expected"), [("uint8", ("uint8", 1, 0)), ("int8", ("int8", 1, -128))]
)
def test_8_bits_in_and_out(dtype, expected, programs, quantized):
    # Pixels go in as they are, although those of the representative images are darker.
    images = photos(programs["classification"]) // 2 + 10
    content = quantized("classification", images, input_dtype=dtype, output_dtype=dtype).content
    pixels, probabilities = borders(content)
    assert pixels == expected
    assert probabilities == (dtype, 1 / 256, 0 if dtype == "uint8" else -128)
    assert float_operations(content) == []

    floats = quantized("classification", images).content
    of_floats = run(floats, images.astype(np.float32))["probabilities"]
    shift = 0 if dtype == "uint8" else -128
    of_bytes = run(content, (images.astype(int) + shift).astype(dtype))["probabilities"]
    # Float outputs come of the same logits, by a softmax in float.
    np.testing.assert_allclose((of_bytes.astype(int) - shift) / 256, of_floats, atol=1 / 256)
    assert not np.array_equal(np.rint(of_floats * 256), of_floats * 256)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_operations_of_8_bits_in_and_out(dtype, kind, quantized):
    options = {"input_dtype": dtype, "output_dtype": dtype, "bias_correction": False}
    found = operators_of(quantized(kind, **options).content)
    assert found == {**LITERT[kind], **LITERT_INT8[dtype][kind]}


@pytest.mark.parametrize("kind", ["class_map", "nms"])
def test_results_that_are_no_activations_stay_what_they_are(kind, programs, quantized):
    options = {"input_dtype": "int8", "output_dtype": "int8", "bias_correction": False}
    _, *results = borders(quantized(kind, **options).content)
    expected = programs[kind].predict(random_images(programs[kind], 1))
    assert sorted(results) == sorted((value.dtype.name, 0, 0) for value in expected.values())


def test_ranges_are_those_of_the_activations(programs, quantized):
    """Also of the summands of residual blocks, which TensorFlow's calibrator widens."""
    program = programs["none"]
    images = photos(program) // 2 + 60
    content = quantized("none", images, bias_correction=False).calibrated
    ranges = {
        tensor.name.decode(): (tensor.quantization.min[0], tensor.quantization.max[0])
        for tensor in parse(content, "a file").subgraphs[0].tensors
        if tensor.quantization is not None and tensor.quantization.min is not None
    }
    layers = {}
    for name, found in quantized("none", bias_correction=False).layers.items():
        layers |= dict.fromkeys(found, name)
    wanted = ("block_2_project_BN", "block_2_add", "block_5_project_BN", "class_head_0")
    network = program.network
    inner = type(network)(network.input, [network.get_layer(name).output for name in wanted])
    for name, values in zip(wanted, inner(images.astype("float32"), training=False), strict=True):
        expected = float(np.min(values)), float(np.max(values))
        assert ranges[layers[name]] == pytest.approx(expected, rel=1e-3)
    # What precedes the first convolution has the range of all pixels.
    assert images.min() >= 60 and ranges[layers["preprocessing"]] == pytest.approx((-1, 1))


def test_biases_are_corrected(quantized):
    raw, corrected = (quantized("class_map", bias_correction=choice) for choice in (False, True))
    assert raw.bias_errors == {} and len(corrected.bias_errors) == 58
    squares = []
    for found in (raw, corrected):
        comparing = found.comparing(accumulated=False)
        errors = channel_errors(comparing, found.layers, found.images)
        assert list(errors) == list(corrected.bias_errors)
        squares.append(sum(np.square(error).mean() for error in errors.values()))
    assert squares[1] < 0.2 * squares[0]
    # The file and the one that compares are corrected alike, and by nothing but that.
    repeated = with_corrected_biases(raw.content, corrected.bias_errors)
    assert repeated == corrected.content != raw.content


def test_a_bias_that_two_operations_share_stays_as_it_is(quantized):
    found = quantized("none")
    model = parse(quantized("none", bias_correction=False).content, "a file")
    tensors = model.subgraphs[0].tensors
    first, second = [o for o in operations(model) if o.kind == "DEPTHWISE_CONV_2D"][:2]
    alone = [tensors[o.inputs[2]].buffer for o in (first, second)]
    before = [bytes(model.buffers[number].data) for number in alone]
    extra = schema.TensorT()
    extra.buffer = alone[0]
    tensors.append(extra)
    changed = parse(with_corrected_biases(pack(model), found.bias_errors), "a file")
    after = [bytes(changed.buffers[number].data) for number in alone]
    assert after[0] == before[0] and after[1] != before[1]


def test_float_layers(quantized):
    wanted = ["block_1_expand_relu", "block_1_depthwise", "box_head_0", "class_logits"]
    found = quantized("none", float_layers=wanted)
    kept = [o for o in float_operations(found.content) if o.kind not in BORDERS]
    assert [o.kind for o in kept if o.kind != "CONCATENATION"] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "CONV_2D",
    ]
    assert len(kept) == 4
    assert "block_1_expand_1/convolution" in kept[0].name
    assert sorted(found.float_operations)[1:] == sorted(
        name for name, layers in found.layers.items() if set(layers) & set(wanted[:3])
    )
    # Between two float layers nothing is rounded.
    rows = {row.layer for row in layer_errors(found, found.images[:1])}
    assert rows.isdisjoint({"block_1_expand", "block_1_depthwise", "box_head_0", "class_logits"})
    assert {"block_1_project", "box_head_1"} <= rows


def test_the_last_layer_of_a_nested_network(quantized):
    found = quantized("classification", float_layers=["predictions"], bias_correction=False)
    kept = [o.kind for o in float_operations(found.content)]
    assert sorted(kept) == ["DEQUANTIZE", "FULLY_CONNECTED", "SOFTMAX"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_dtype": "int16"}, "input_dtype='int16' must be one of"),
        ({"output_dtype": "bool"}, "output_dtype='bool' must be one of"),
        ({"float_layers": ["block_1_expnd"]}, "no layer 'block_1_expnd'; did you mean 'block_1_"),
        ({"images": []}, "representative is empty"),
        ({"images": None}, "needs representative images"),
        ({"images": [np.zeros((1, 8, 8, 3), "uint8")]}, r"expected is \[B, 64, 96, 3\]"),
    ],
)
def test_what_is_wrong_is_said_before_the_conversion(options, message, programs, monkeypatch):
    monkeypatch.setattr(quantize_module, "convert", None)
    images = options.pop("images", [photos(programs["classification"])])
    with pytest.raises(DeploymentError, match=message):
        quantize(programs["classification"], images, **options)


def test_a_layer_that_computes_nothing(programs, quantized):
    name = programs["classification"].network.layers[0].name
    with pytest.raises(DeploymentError, match=f"'{name}' has no operation of its own"):
        quantized("classification", float_layers=[name])


def test_a_network_that_has_diverged(programs, quantized):
    model = parse(quantized("classification", bias_correction=False).calibrated, "a file")
    first = next(o for o in operations(model) if o.kind in CONVOLUTIONS)
    buffer = model.buffers[model.subgraphs[0].tensors[first.inputs[2]].buffer]
    values = np.frombuffer(bytes(buffer.data), np.float32).copy()
    values[3] = np.nan
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    with pytest.raises(DeploymentError, match="Conv1.* is not finite .* damaged weights"):
        calibrated(pack(model), [photos(programs["classification"], 1)])


def test_the_report_finds_the_layer():
    """Where a weight dwarfs the others of its channel, few of the 256 steps are left for them."""
    program = make_program("classification")
    network = program.network.get_layer(index=-1)
    for name in ("block_1_project_BN", "block_2_project_BN"):
        for weight in (network.get_layer(name).gamma, network.get_layer(name).beta):
            weight.assign(np.where(np.arange(weight.shape[0]) == 0, 0, weight.numpy()))
    # Of a channel that is always zero: the float network takes no notice.
    kernel = network.get_layer("block_3_expand").kernel
    changed = kernel.numpy()
    changed[..., 0, :] = 60 * np.abs(changed).max()
    kernel.assign(changed)
    # A branch without any effect but an offset.
    dead = network.get_layer("block_15_project_BN")
    dead.gamma.assign(0 * dead.gamma)

    images = photos(program)
    found = quantize(program, [images], bias_correction=False)
    rows = layer_errors(found, images[:3, None])
    names = [row.layer for row in rows]
    for name in ("preprocessing", "Conv1", "block_16_depthwise", "block_4_add", "predictions"):
        assert name in names
    worst = max(rows, key=lambda row: row.own_error)
    assert (worst.layer, worst.operation) == ("block_3_expand", "CONV_2D")
    assert worst.own_error > 3 > 2.9 > worst.own_error * 0.3 > worst.own_bias * 0.3
    # Rounding of a sum makes the standard deviation of a uniform distribution.
    add = rows[names.index("block_2_add")]
    assert add.own_error == pytest.approx(12**-0.5, abs=0.03)
    # Whatever its error is in steps, of its value it is a small part.
    constant = [row for row in rows if row.is_constant]
    assert [row.layer for row in constant] == ["block_15_project"]
    assert constant[0].own_ratio > 30 and not constant[0].is_large
    before, after = (rows[names.index("block_3_expand") + i].ratio for i in (-1, 1))
    assert before > after + 5
    assert worst.ratio <= worst.own_ratio + 0.5
    assert "block_3_expand " in format_layer_errors(rows).partition(" <- large")[0].splitlines()[-1]


def test_the_table():
    rows = [
        LayerError("Conv1", "CONV_2D", 0.0235, 0.29, 0.01, 41.5, 40.25),
        LayerError("expanded_conv_depthwise", "DEPTHWISE_CONV_2D", 0.0235, 2.79, 2.3, 29.5, 25.6),
    ]
    header, first, second, legend = format_layer_errors(rows).splitlines()
    constants = [
        LayerError("dense", "FULLY_CONNECTED", 0.0031, 1.72, 1.72, ratio, ratio, is_constant=True)
        for ratio in (33.6, 12.0)
    ]
    _, *marked, _, explained = format_layer_errors(constants).splitlines()
    assert [line.rpartition(" <- ")[2] for line in marked] == ["constant", "constant, large"]
    assert explained.startswith("<- constant:")
    assert [*map(len, (header, first))] == [len(first)] * 2 and header.endswith("dB  dB so far")
    assert first.split() == ["Conv1", "CONV_2D", "0.0235", "0.29", "0.01", "41.5", "40.2"]
    assert second.endswith("25.6 <- large") and len(second) == len(first) + len(" <- large")
    assert "0.29" in legend
