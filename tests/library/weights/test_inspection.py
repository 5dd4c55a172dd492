from __future__ import annotations

import pytest
from weight_files import tf1_arrays, write_checkpoint, write_graph

from keras_mnv2.mobilenet_v2 import BLOCKS, make_divisible
from keras_mnv2.weights import WeightsError, import_model, inspect
from keras_mnv2.weights.importing import model_info
from keras_mnv2.weights.inspection import describe


def backbone_shapes(alpha: float, divisor: int) -> dict:
    width = make_divisible(32 * alpha, divisor)
    shapes = {"Conv1/kernel": (3, 3, 3, width)}
    for block, (filters, _, expansion) in enumerate(BLOCKS):
        prefix = f"block_{block}" if block else "expanded_conv"
        expanded = expansion * width
        if block:
            shapes[f"{prefix}_expand/kernel"] = (1, 1, width, expanded)
            shapes[f"{prefix}_expand_BN/gamma"] = (expanded,)
        shapes[f"{prefix}_depthwise/kernel"] = (3, 3, expanded, 1)
        width = make_divisible(int(filters * alpha), divisor)
        shapes[f"{prefix}_project/kernel"] = (1, 1, expanded, width)
    return shapes


@pytest.mark.parametrize("alpha", [0.35, 0.5, 0.75, 1.0, 1.3, 1.4, 0.25, 2.0])
@pytest.mark.parametrize("divisor", [8, 1])
def test_alpha_and_divisor_give_the_widths_back(alpha, divisor):
    shapes = backbone_shapes(alpha, divisor)
    info = describe(shapes, source="test")
    assert backbone_shapes(info.alpha, info.divisor) == shapes
    # With whole multiples of 8 the divisor cannot be told.
    if divisor == 8 or alpha not in (1.0, 2.0):
        assert (info.alpha, info.divisor) == (alpha, divisor)


def test_extra_layers_tell_multipliers_apart(network):
    # Both round to the same backbone.
    shapes = backbone_shapes(0.35, 8)
    assert shapes == backbone_shapes(0.36, 8)
    for level, filters in enumerate((512, 256, 256, 128), start=2):
        shapes[f"extra_{level}_expand/kernel"] = (1, 1, 64, int(filters * 0.36))
    assert describe(shapes, source="test").alpha == 0.36


def test_description_shows_what_belongs_to_the_family():
    shapes = backbone_shapes(1.0, 8)
    names = tuple(f"name_{number}" for number in range(1000))
    text = str(describe(shapes, source="test", unknown=names))
    assert "aspp" not in text
    assert "name_7 and 992 more" in text and len(text) < 1000
    assert "aspp_branches" in str(describe({**shapes, "logits/bias": (21,)}, source="test"))


def test_widths_of_no_multiplier(tmp_path):
    shapes = backbone_shapes(1.0, 8)
    shapes["block_5_project/kernel"] = (1, 1, 192, 1000)
    assert describe(shapes, source="test").alpha is None


def test_detector(network, tmp_path):
    case = network("SSDLite")
    path = write_graph(tmp_path / "graph.pb", tf1_arrays(case.model, case.arrays))
    info = inspect(path)
    assert (info.family, info.alpha, info.divisor) == ("SSDLite", 0.35, 8)
    assert (info.classes, info.outputs, info.background_class) == (3, 4, 0)
    assert info.anchors_per_cell == (3, 6, 6, 6, 6, 6)
    assert info.last_filters == 1280
    assert info.parameters == case.model.count_params()
    assert "family            SSDLite" in str(info)
    assert info.summary() == "SSDLite, alpha 0.35, 3 classes"


def test_segmentation_with_aspp(network, tmp_path):
    case = network("DeepLabV3", aspp_rates="auto", separable_aspp=True)
    prefix = write_checkpoint(tmp_path / "model.ckpt", tf1_arrays(case.model, case.arrays))
    info = inspect(prefix)
    assert (info.family, info.classes, info.background_class) == ("DeepLabV3", 3, None)
    assert (info.aspp_branches, info.separable_aspp, info.aspp_filters) == (3, True, 16)
    assert info.last_filters is None


def test_classifier_without_top(network):
    info = model_info(network("MobileNetV2", classes=None).model)
    assert (info.family, info.classes, info.outputs) == ("MobileNetV2", None, None)


def test_background_of_imagenet(network):
    shapes = {**backbone_shapes(1.0, 8), "predictions/bias": (1001,)}
    info = describe(shapes, source="test")
    assert (info.classes, info.outputs, info.background_class) == (1000, 1001, 0)


@pytest.mark.parametrize("family", ["MobileNetV2", "SSDLite", "DeepLabV3"])
def test_import_model_builds_what_the_file_holds(network, tmp_path, family):
    case = network(family)
    path = write_graph(tmp_path / "graph.pb", tf1_arrays(case.model, case.arrays))
    model = import_model(path, input_size=(65, 97))
    assert model.input_shape == (None, 65, 97, 3)
    case.model.set_weights(list(case.arrays.values()))
    for here, there in zip(model.get_weights(), case.model.get_weights(), strict=True):
        assert (here == there).all()


def test_model_of_another_network():
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(WeightsError, match="not a MobileNetV2"):
        model_info(model)
