from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_mnv2.detection.anchors import feature_grid_sizes, ssd_anchors
from keras_mnv2.detection.box_coder import decode
from keras_mnv2.detection.postprocessing import DetectionPostprocessing

ANCHORS = ssd_anchors(feature_grid_sizes((96, 96)), (96, 96))
NUM_CLASSES = 5


def raw_outputs(batch_size: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """Images of different contents; many boxes lie partly or wholly outside the image."""
    rng = np.random.default_rng(seed)
    codes = rng.normal(0, 6, (batch_size, len(ANCHORS), 4)).astype(np.float32)
    logits = rng.normal(-2, 2, (batch_size, len(ANCHORS), 1 + NUM_CLASSES)).astype(np.float32)
    logits[1:2] -= 4  # fewer candidates in the second image
    return {"box_encodings": codes, "class_logits": logits}


def iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    overlap = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    intersection = np.maximum(overlap, 0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    return intersection / ((box[2:] - box[:2]).prod() + areas - intersection)


def naive_suppression(boxes, scores, threshold, iou_threshold, limit) -> list[int]:
    chosen = []
    for index in np.argsort(-scores, kind="stable"):
        if scores[index] <= threshold or len(chosen) == limit:
            break
        if not (iou(boxes[index], boxes[chosen]) > iou_threshold).any():
            chosen.append(index)
    return chosen


def naive_detections(
    codes, logits, nms="per_class", threshold=1e-8, iou_threshold=0.6, limit=100, per_class=100
):
    """Rows of (score, label, box) of one image, from the definition."""
    boxes = ops.convert_to_numpy(decode(codes, ANCHORS))
    scores = ops.convert_to_numpy(ops.sigmoid(logits[:, 1:]))
    rows = []
    if nms == "per_class":
        for label in range(scores.shape[1]):
            kept = naive_suppression(boxes, scores[:, label], threshold, iou_threshold, per_class)
            rows += [(scores[i, label], label, boxes[i]) for i in kept]
    else:
        best, label = scores.max(axis=1), logits[:, 1:].argmax(axis=1)
        kept = naive_suppression(boxes, best, threshold, iou_threshold, per_class)
        rows = [(best[i], label[i], boxes[i]) for i in kept]
    rows = [(s, c, np.clip(b, 0, 1)) for s, c, b in sorted(rows, key=lambda row: -row[0])]
    return [row for row in rows if (row[2][2:] - row[2][:2]).prod() > 0][:limit]


def run(layer, inputs) -> dict[str, np.ndarray]:
    return {name: ops.convert_to_numpy(value) for name, value in layer(inputs).items()}


def assert_same(found, expected):
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6, err_msg=name)


@pytest.mark.parametrize("nms", ["per_class", "class_agnostic"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"threshold": 0.3, "iou_threshold": 0.3},
        {"limit": 7, "per_class": 4},
        {"limit": 600, "per_class": 30},
    ],
)
def test_against_the_definition(nms, options):
    inputs = raw_outputs()
    limit = options.get("limit", 100)
    layer = DetectionPostprocessing(
        ANCHORS,
        score_threshold=options.get("threshold", 1e-8),
        iou_threshold=options.get("iou_threshold", 0.6),
        max_detections=limit,
        max_detections_per_class=options.get("per_class", 100),
        nms=nms,
    )
    found = run(layer, inputs)
    assert found["boxes"].shape == (3, limit, 4)
    assert found["classes"].dtype == found["num_detections"].dtype == np.int32
    for image in range(3):
        expected = naive_detections(
            inputs["box_encodings"][image], inputs["class_logits"][image], nms, **options
        )
        count = len(expected)
        assert found["num_detections"][image] == count
        np.testing.assert_allclose(found["scores"][image, :count], [r[0] for r in expected])
        np.testing.assert_array_equal(found["classes"][image, :count], [r[1] for r in expected])
        np.testing.assert_allclose(
            found["boxes"][image, :count], [r[2] for r in expected], atol=1e-6
        )
        for name in ("boxes", "scores", "classes"):
            assert not found[name][image, count:].any(), "padding is not zero"


@pytest.mark.parametrize("nms", ["per_class", "class_agnostic"])
def test_a_batch_gives_what_its_images_give(nms):
    inputs = raw_outputs()
    layer = DetectionPostprocessing(ANCHORS, nms=nms)
    batch = run(layer, inputs)
    for image in range(3):
        alone = run(layer, {name: value[image : image + 1] for name, value in inputs.items()})
        assert_same(
            {name: value[image] for name, value in batch.items()},
            {name: value[0] for name, value in alone.items()},
        )


def test_with_one_class_both_kinds_of_suppression_agree():
    inputs = raw_outputs()
    inputs["class_logits"] = inputs["class_logits"][..., :2]
    kinds = [
        run(DetectionPostprocessing(ANCHORS, nms=nms), inputs)
        for nms in ("per_class", "class_agnostic")
    ]
    assert_same(*kinds)


@pytest.mark.parametrize("nms", ["per_class", "class_agnostic"])
def test_boxes_outside_suppress_but_are_dropped_and_others_move_up(nms):
    anchors = np.array([[0, 0, 0.5, 0.5]] * 2 + [[0, 0.5, 0.5, 1.0], [0.5, 0, 1, 0.5]], np.float32)
    anchors[:2] -= [[1, 1, 1, 1], [0.9, 0.9, 0.9, 0.9]]  # outside, and touching no corner either
    anchors[1] = anchors[0] + 0.02
    logits = np.array([[[0, 4], [0, 3], [0, 2], [0, 1]]], np.float32)
    layer = DetectionPostprocessing(anchors, max_detections=2, nms=nms)
    found = run(layer, {"box_encodings": np.zeros((1, 4, 4), np.float32), "class_logits": logits})
    assert found["num_detections"] == [2]
    np.testing.assert_allclose(found["boxes"][0], anchors[2:], atol=1e-6)
    assert found["scores"][0, 0] == pytest.approx(1 / (1 + np.exp(-2)))


def test_nothing_above_the_threshold():
    found = run(DetectionPostprocessing(ANCHORS, score_threshold=0.999999), raw_outputs())
    assert not any(value.any() for value in found.values())


def symbolic_model(batch_size: int | None, **options) -> keras.Model:
    inputs = {
        "box_encodings": keras.Input((len(ANCHORS), 4), batch_size, name="box_encodings"),
        "class_logits": keras.Input(
            (len(ANCHORS), 1 + NUM_CLASSES), batch_size, name="class_logits"
        ),
    }
    return keras.Model(inputs, DetectionPostprocessing(ANCHORS, **options)(inputs))


@pytest.mark.parametrize("nms", ["per_class", "class_agnostic"])
@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_functional_model_saves_loads_and_predicts(tmp_path, nms, batch_size):
    model = symbolic_model(batch_size, nms=nms, score_threshold=0.2, scale_factors=(8, 8, 4, 4))
    assert model.output["boxes"].shape == (batch_size, 100, 4)
    assert model.output["num_detections"].shape == (batch_size,)
    inputs = raw_outputs(batch_size or 2)
    expected = run(model, inputs)
    assert expected["num_detections"].any()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(loaded.predict(inputs, batch_size=batch_size, verbose=0), expected)
    np.testing.assert_array_equal(loaded.layers[-1].anchors, ANCHORS)


@pytest.mark.parametrize("nms", ["per_class", "class_agnostic"])
def test_saved_model_export_and_tf_function(tmp_path, nms):
    inputs = raw_outputs()
    model = symbolic_model(None, nms=nms)
    expected = run(model, inputs)
    assert_same(run(tf.function(model), inputs), expected)
    model.export(tmp_path / "saved", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "saved")).serve(inputs)
    assert_same({name: value.numpy() for name, value in served.items()}, expected)


def test_computes_in_float32_under_mixed_precision():
    inputs = raw_outputs()
    expected = run(DetectionPostprocessing(ANCHORS), inputs)
    layer = DetectionPostprocessing(ANCHORS, dtype="mixed_float16")
    assert_same(run(layer, inputs), expected)
    halves = {name: value.astype(np.float16) for name, value in inputs.items()}
    assert run(layer, halves)["boxes"].dtype == np.float32


@pytest.mark.parametrize(
    "options",
    [
        {"anchors": ANCHORS[:, :3]},
        {"iou_threshold": 1.5},
        {"score_threshold": -1.0},
        {"max_detections": 0},
        {"nms": "soft"},
    ],
)
def test_bad_arguments_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        DetectionPostprocessing(**{"anchors": ANCHORS, **options})


def test_inputs_that_do_not_fit_the_anchors():
    inputs = raw_outputs()
    with pytest.raises(ValueError, match="another input size"):
        DetectionPostprocessing(ANCHORS[:-1])(inputs)
    inputs["class_logits"] = inputs["class_logits"][..., :1]
    with pytest.raises(ValueError, match="background"):
        DetectionPostprocessing(ANCHORS)(inputs)


def test_other_backends_are_refused_at_construction(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="TensorFlow backend"):
        DetectionPostprocessing(ANCHORS)


def test_class_agnostic_kind_converts_to_builtin_litert_operations():
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    model = symbolic_model(1, nms="class_agnostic")
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = litert.Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    inputs = raw_outputs(1)
    for detail in interpreter.get_input_details():
        is_boxes = detail["shape"][-1] == 4
        interpreter.set_tensor(
            detail["index"], inputs["box_encodings" if is_boxes else "class_logits"]
        )
    interpreter.invoke()
    found = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
    expected = run(model, inputs)
    assert 0 < expected["num_detections"][0] < 100  # rows of padding too
    for name, value in expected.items():
        same_kind = [f for f in found if f.shape == value.shape and f.dtype == value.dtype]
        assert len(same_kind) == 1, name
        np.testing.assert_allclose(same_kind[0], value, atol=1e-5, err_msg=name)
