"""All or nothing, and the exceptions that are said."""

from __future__ import annotations

import logging

import keras
import numpy as np
import pytest
from weight_files import (
    assert_same,
    graph_def,
    model_arrays,
    random_arrays,
    small_model,
    tf1_arrays,
    write_archive,
    write_checkpoint,
    write_graph,
    write_h5,
)

import keras_mnv2
from keras_mnv2.weights import (
    COCO_CATEGORIES,
    COCO_CATEGORY_IDS,
    WeightsError,
    inspect,
    load_weights,
)
from keras_mnv2.weights.importing import canonical_arrays
from keras_mnv2.weights.names import BACKBONE_LAYERS
from keras_mnv2.weights.tensors import NamedTensors

SHADOW = "/ExponentialMovingAverage"
BACKBONE = {
    f"{layer}/{weight}"
    for layer in BACKBONE_LAYERS
    for weight in ("kernel", "gamma", "beta", "moving_mean", "moving_variance")
}
HEADS = {
    "MobileNetV2": {"predictions/kernel", "predictions/bias"},
    "SSDLite": {f"class_head_{i}/{w}" for i in range(6) for w in ("kernel", "bias")},
    "DeepLabV3": {"logits/kernel", "logits/bias"},
}


def test_one_error_lists_everything_and_changes_nothing(network, tmp_path):
    case = network("SSDLite")
    arrays = tf1_arrays(case.model, case.arrays)
    del arrays["BoxPredictor_1/BoxEncodingPredictor/biases"]
    arrays["somebody/elses/weights"] = np.ones((2, 2), "float32")
    arrays["FeatureExtractor/MobilenetV2/Conv_1/weights"] = np.ones((1, 1, 112, 7), "float32")
    with pytest.raises(WeightsError) as error:
        load_weights(case.model, write_graph(tmp_path / "graph.pb", arrays))
    message = str(error.value)
    assert "missing in the file (1): box_head_1/bias" in message
    assert "left over in the file (1): somebody/elses/weights" in message
    assert "[1, 1, 112, 7]" in message and "[1, 1, 112, 1280]" in message
    assert case.is_unchanged()


def test_wrong_alpha_names_the_remedy(network, tmp_path):
    case = network("MobileNetV2")
    path = write_graph(tmp_path / "graph.pb", tf1_arrays(case.model, case.arrays))
    model = keras_mnv2.MobileNetV2((64, 64, 3), alpha=0.5, classes=3)
    with pytest.raises(WeightsError, match="build the model with alpha=0.35, divisor=8"):
        load_weights(model, path)


@pytest.mark.parametrize("family", ["SSDLite", "DeepLabV3"])
def test_another_family_names_the_remedy(network, tmp_path, family):
    case = network(family)
    path = write_graph(tmp_path / "graph.pb", tf1_arrays(case.model, case.arrays))
    other = network("MobileNetV2")
    with pytest.raises(WeightsError, match=f"build a {family} for this file"):
        load_weights(other.model, path)
    assert other.is_unchanged()


@pytest.mark.parametrize("family", list(HEADS))
def test_another_class_count_leaves_the_head(network, tmp_path, family, caplog):
    case = network(family)
    path = write_graph(tmp_path / "graph.pb", tf1_arrays(case.model, case.arrays))
    model = small_model(family, classes=5)
    before = model_arrays(model)
    with caplog.at_level(logging.WARNING, "keras_mnv2"):
        report = load_weights(model, path)
    assert set(report.skipped) == HEADS[family]
    assert_same(model, {**case.arrays, **{key: before[key] for key in HEADS[family]}})
    assert "the class head keeps its own values" in caplog.text
    assert next(iter(HEADS[family])).partition("_")[0].partition("/")[0] in caplog.text


@pytest.mark.parametrize("family", list(HEADS))
def test_skip_head(network, tmp_path, family):
    case = network(family)
    before = model_arrays(case.model)
    path = write_graph(tmp_path / "graph.pb", tf1_arrays(case.model, case.arrays))
    report = load_weights(case.model, path, skip_head=True)
    assert set(report.skipped) == HEADS[family]
    assert_same(case.model, {**case.arrays, **{key: before[key] for key in HEADS[family]}})


@pytest.mark.parametrize("family", ["MobileNetV2", "SSDLite"])
def test_bare_backbone_takes_its_part(network, tmp_path, family):
    case = network(family)
    backbone = network("MobileNetV2", classes=None)
    path = write_graph(tmp_path / "graph.pb", tf1_arrays(case.model, case.arrays))
    report = load_weights(backbone.model, path)
    assert_same(backbone.model, case.arrays)
    assert set(report.unused) == set(case.arrays) - set(backbone.arrays)


def test_backbone_weights_of_the_builders(network, tmp_path):
    backbone = network("MobileNetV2", classes=None)
    path = write_h5(tmp_path / "no_top.h5", backbone.model, backbone.arrays)
    for family in ("SSDLite", "DeepLabV3"):
        found = model_arrays(small_model(family, backbone_weights=path))
        shared = set(found) & set(backbone.arrays)
        assert len(shared) > 250
        for key in shared:
            np.testing.assert_array_equal(found[key], backbone.arrays[key])


@pytest.mark.parametrize("family", ["MobileNetV2", "SSDLite", "DeepLabV3"])
def test_backbone_of_deeplab_from_any_family(network, tmp_path, family):
    case = network(family)
    path = write_graph(tmp_path / "graph.pb", tf1_arrays(case.model, case.arrays))
    found = model_arrays(small_model("DeepLabV3", classes=5, backbone_weights=path))
    shared = {key for key in found if key in BACKBONE}
    assert len(shared) == 255
    for key in shared:
        np.testing.assert_array_equal(found[key], case.arrays[key])


def test_backbone_with_last_convolution_from_deeplab(network, tmp_path):
    case, backbone = network("DeepLabV3"), network("MobileNetV2", classes=None)
    path = write_graph(tmp_path / "graph.pb", tf1_arrays(case.model, case.arrays))
    with pytest.raises(WeightsError, match="DeepLabV3 files lack the last convolution Conv_1"):
        load_weights(backbone.model, path)
    assert backbone.is_unchanged()


def test_file_without_head_needs_skip_head(network, tmp_path):
    case, backbone = network("MobileNetV2"), network("MobileNetV2", classes=None)
    path = write_h5(tmp_path / "no_top.h5", backbone.model, backbone.arrays)
    with pytest.raises(WeightsError, match="skip_head=True"):
        load_weights(case.model, path)
    assert case.is_unchanged()
    report = load_weights(case.model, path, skip_head=True)
    assert set(report.skipped) == HEADS["MobileNetV2"]
    assert_same(case.model, backbone.arrays, but=HEADS["MobileNetV2"])


def test_background_of_imagenet_is_dropped(network, tmp_path):
    with_background = network("MobileNetV2", classes=1001)
    arrays = with_background.arrays
    path = write_graph(tmp_path / "g.pb", tf1_arrays(with_background.model, arrays))
    case = network("MobileNetV2", classes=1000)
    report = load_weights(case.model, path)
    found = model_arrays(case.model)
    np.testing.assert_array_equal(found["predictions/kernel"], arrays["predictions/kernel"][:, 1:])
    np.testing.assert_array_equal(found["predictions/bias"], arrays["predictions/bias"][1:])
    assert "background" in report.remark and not report.skipped
    load_weights(with_background.model, path)
    assert_same(with_background.model, arrays)


def test_coco_ids_become_contiguous_labels(network, tmp_path):
    # The bias of a class is its category id, and 1000 times the anchor.
    case = network("SSDLite", classes=90)
    arrays = dict(case.arrays)
    for level, anchors in enumerate((3, 6, 6, 6, 6, 6)):
        bias = np.arange(91)[None] + 1000 * np.arange(anchors)[:, None]
        arrays[f"class_head_{level}/bias"] = bias.astype("float32").ravel()
    path = write_graph(tmp_path / "graph.pb", tf1_arrays(case.model, arrays))
    eighty = small_model("SSDLite", classes=80)
    report = load_weights(eighty, path)
    assert "80 COCO categories" in report.remark and not report.skipped
    bias = eighty.get_layer("class_head_1").bias.numpy().reshape(6, 81)
    expected = [0, *COCO_CATEGORY_IDS]
    np.testing.assert_array_equal(bias % 1000, np.tile(expected, (6, 1)))
    np.testing.assert_array_equal(bias[:, 0], 1000 * np.arange(6))
    load_weights(case.model, path)
    assert_same(case.model, arrays)


def test_coco_categories():
    assert len(COCO_CATEGORIES) == 80 and len(set(COCO_CATEGORIES.values())) == 80
    assert min(COCO_CATEGORY_IDS) == 1 and max(COCO_CATEGORY_IDS) == 90
    unused = set(range(1, 91)) - set(COCO_CATEGORY_IDS)
    assert unused == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def test_class_columns(network, tmp_path):
    case = network("SSDLite")
    path = write_graph(tmp_path / "graph.pb", tf1_arrays(case.model, case.arrays))
    model = small_model("SSDLite", classes=2)
    load_weights(model, path, class_columns=[3, 1])
    kernel = case.arrays["class_head_2/kernel"]
    expected = kernel.reshape(-1, 6, 4)[..., [0, 3, 1]].reshape(1, 1, -1, 18)
    np.testing.assert_array_equal(model.get_layer("class_head_2").kernel.numpy(), expected)
    with pytest.raises(ValueError, match="class_columns has 1 entries for a model with 2"):
        load_weights(model, path, class_columns=[3])
    with pytest.raises(ValueError, match="1 to 3"):
        load_weights(model, path, class_columns=[3, 4])
    for columns in ([0, 1], [1, 1]):
        with pytest.raises(ValueError, match="different columns"):
            load_weights(model, path, class_columns=columns)
    with pytest.raises(ValueError, match="give one"):
        load_weights(model, path, class_columns=[3, 1], skip_head=True)


@pytest.mark.parametrize("use_ema", [None, True, False])
def test_moving_averages_of_a_checkpoint(network, tmp_path, use_ema):
    case = network("MobileNetV2")
    averages = random_arrays(case.model, seed=1)
    arrays = tf1_arrays(case.model, case.arrays)
    for name, array in tf1_arrays(case.model, averages).items():
        arrays[name + SHADOW] = array
        arrays[name + "/RMSProp"] = array
    arrays["global_step"] = np.int64(5)
    prefix = write_checkpoint(tmp_path / "model.ckpt", arrays)
    report = load_weights(case.model, prefix, use_ema=use_ema)
    assert_same(case.model, case.arrays if use_ema is False else averages)
    assert len(report.ignored) == 1 + 2 * len(case.arrays)
    assert report.file.uses_ema is (use_ema is not False)


def test_use_ema_takes_the_checkpoint_of_an_archive(network, tmp_path):
    case = network("MobileNetV2")
    averages = random_arrays(case.model, seed=1)
    arrays = tf1_arrays(case.model, case.arrays)
    graph = graph_def(arrays).SerializeToString()
    for name, array in tf1_arrays(case.model, averages).items():
        arrays[name + SHADOW] = array
    write_checkpoint(tmp_path / "model.ckpt", arrays)
    members = {file.name: file.read_bytes() for file in tmp_path.glob("model.ckpt.*")}
    path = write_archive(tmp_path / "r.tgz", {**members, "r/frozen_inference_graph.pb": graph})
    load_weights(case.model, path)
    assert_same(case.model, case.arrays)
    for use_ema, expected in ((True, averages), (False, case.arrays)):
        info = inspect(path, use_ema)
        assert "checkpoint" in info.format and info.uses_ema is use_ema
        load_weights(case.model, path, use_ema=use_ema)
        assert_same(case.model, expected)


@pytest.mark.parametrize("use_ema", [True, False])
def test_frozen_graph_does_not_tell_what_it_holds(network, tmp_path, use_ema):
    case = network("MobileNetV2")
    path = write_graph(tmp_path / "graph.pb", tf1_arrays(case.model, case.arrays))
    with pytest.raises(WeightsError, match="no moving averages"):
        load_weights(case.model, path, use_ema=use_ema)
    with pytest.raises(WeightsError, match="no moving averages"):
        inspect(path, use_ema)
    assert case.is_unchanged()


def test_use_ema_without_averages(network, tmp_path):
    case = network("MobileNetV2")
    prefix = write_checkpoint(tmp_path / "model.ckpt", tf1_arrays(case.model, case.arrays))
    with pytest.raises(WeightsError, match="no moving averages"):
        load_weights(case.model, prefix, use_ema=True)
    assert case.is_unchanged()


def test_numbers_of_a_whole_file_are_bounded():
    shapes = {"Conv1/kernel": (2**25,), "Conv_1/kernel": (2**25,), "predictions/bias": (1,)}
    tensors = NamedTensors("file", "test", shapes, fetch=lambda name: pytest.fail("was read"))
    with pytest.raises(WeightsError, match="announces 67,108,865 numbers"):
        canonical_arrays(tensors)


def test_model_on_top_of_a_network(network, tmp_path):
    case = network("MobileNetV2", classes=None)
    path = write_h5(tmp_path / "no_top.h5", case.model, case.arrays)
    image = keras.Input((64, 64, 3))
    wrapped = keras.Model(image, case.model(image))
    load_weights(wrapped, path)
    assert_same(case.model, case.arrays)


def test_mixed_precision_variables_stay_float32(network, tmp_path):
    case = network("DeepLabV3")
    path = write_graph(tmp_path / "graph.pb", tf1_arrays(case.model, case.arrays))
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small_model("DeepLabV3", weights=path)
    finally:
        keras.config.set_dtype_policy(policy)
    assert_same(model, case.arrays)
