from __future__ import annotations

import pytest
from weight_files import tf1_name

from keras_mnv2.weights.names import APPLICATION_LAYERS, translate, weight_name


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("MobilenetV2/Conv/weights", "Conv1/kernel"),
        ("MobilenetV2/Conv/BatchNorm/gamma", "bn_Conv1/gamma"),
        ("MobilenetV2/Conv_1/BatchNorm/moving_mean", "Conv_1_bn/moving_mean"),
        ("MobilenetV2/expanded_conv/project/weights", "expanded_conv_project/kernel"),
        (
            "MobilenetV2/expanded_conv_16/depthwise/depthwise_weights",
            "block_16_depthwise/kernel",
        ),
        (
            "FeatureExtractor/MobilenetV2/expanded_conv_3/expand/BatchNorm/beta",
            "block_3_expand_BN/beta",
        ),
        ("MobilenetV2/Logits/Conv2d_1c_1x1/biases", "predictions/bias"),
        (
            "FeatureExtractor/MobilenetV2/layer_19_2_Conv2d_2_3x3_s2_512_depthwise/"
            "depthwise_weights",
            "extra_2_depthwise/kernel",
        ),
        (
            "FeatureExtractor/MobilenetV2/layer_19_2_Conv2d_2_3x3_s2_512/BatchNorm/gamma",
            "extra_2_expand_BN/gamma",
        ),
        ("BoxPredictor_4/ClassPredictor/weights", "class_head_4/kernel"),
        (
            "BoxPredictor_0/BoxEncodingPredictor_depthwise/BatchNorm/moving_variance",
            "box_head_0_depthwise_BN/moving_variance",
        ),
        ("aspp2_pointwise/weights", "aspp2_pointwise/kernel"),
        ("logits/semantic/biases", "logits/bias"),
        ("block_1_expand/kernel", "block_1_expand/kernel"),
        ("extra_5_reduce_BN/beta", "extra_5_reduce_BN/beta"),
        # of other networks
        ("MobilenetV1/Conv2d_0/weights", None),
        ("MobilenetV2/expanded_conv_0/project/weights", None),
        ("BoxPredictor_6/ClassPredictor/weights", None),
        ("decoder/decoder_conv0_pointwise/weights", None),
        ("Conv1", None),
        ("conv1/kernel", None),
    ],
)
def test_weight_name(variable, expected):
    assert weight_name(variable) == expected


@pytest.mark.parametrize("family", ["MobileNetV2", "SSDLite", "DeepLabV3"])
def test_every_weight_of_every_network_has_an_original_name(network, family):
    for key in network(family).arrays:
        is_depthwise = "_depthwise/" in key
        assert weight_name(tf1_name(key, family, is_depthwise)) == key
        assert weight_name(key) == key


def test_application_layers_are_those_of_keras_applications(network):
    model = network("MobileNetV2").model
    assert [layer.name for layer in model.layers if layer.weights] == list(APPLICATION_LAYERS)


def test_bookkeeping_of_training_is_ignored():
    names = [
        "global_step",
        "train/global_step",
        "beta1_power",
        "MobilenetV2/Conv/weights/Momentum",
        "MobilenetV2/Conv/weights/RMSProp_1",
        "MobilenetV2/Conv/BatchNorm/gamma/Adam",
        "MobilenetV2/Conv/BatchNorm/moving_mean/local_step",
    ]
    result = translate([*names, "MobilenetV2/Conv/weights", "MobilenetV2/Conv/momentum"])
    assert sorted(result.ignored) == sorted(names)
    assert result.names == {"Conv1/kernel": "MobilenetV2/Conv/weights"}
    assert result.unknown == ["MobilenetV2/Conv/momentum"]


@pytest.mark.parametrize("use_ema", [None, True, False])
def test_moving_averages(use_ema):
    raw, shadow = "MobilenetV2/Conv/weights", "MobilenetV2/Conv/weights/ExponentialMovingAverage"
    mean = "MobilenetV2/Conv/BatchNorm/moving_mean"
    result = translate([raw, shadow, mean], use_ema)
    takes_shadow = use_ema is not False
    assert result.names == {
        "Conv1/kernel": shadow if takes_shadow else raw,
        "bn_Conv1/moving_mean": mean,
    }
    assert result.ignored == [raw if takes_shadow else shadow]
    assert result.uses_ema is takes_shadow


def test_two_names_for_one_weight_are_not_taken_silently():
    result = translate(["MobilenetV2/Conv/weights", "Conv1/kernel"])
    assert len(result.names) == len(result.unknown) == 1
