from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from keras_mnv2.weights import WeightsError, published
from keras_mnv2.weights.importing import model_info
from keras_mnv2.weights.registry import names, select

APPLICATIONS = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
DOWNLOADS = "https://download.tensorflow.org/models/"


@pytest.fixture
def classifier(network):
    return replace(model_info(network("MobileNetV2").model), alpha=1.0, classes=1000)


@pytest.fixture
def backbone(classifier):
    return replace(classifier, classes=None)


def test_what_is_published():
    entries = published()
    assert names() == ("imagenet", "coco", "pascal_voc", "pascal_voc_trainval")
    assert len(entries) == 2 * 22 + 1 + 4
    assert len({entry.url for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.licence and entry.metric and entry.protocol and entry.recipe
        assert entry.url.startswith("https://") and entry.url.endswith(entry.file_name)


@pytest.mark.parametrize("alpha", [0.35, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("size", [96, 128, 160, 192, 224])
def test_imagenet_address(classifier, alpha, size):
    entry = select("imagenet", replace(classifier, alpha=alpha), (size, size))
    stem = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}"
    assert entry.url == f"{APPLICATIONS}{stem}.h5"


def test_imagenet_without_top(backbone):
    entry = select("imagenet", replace(backbone, alpha=1.4), (224, 224))
    assert entry.url.endswith("kernels_1.4_224_no_top.h5")


@pytest.mark.parametrize("size", [(320, 320), (None, None), (96, 128), None])
def test_unpublished_size_takes_224_and_says_so(backbone, size, caplog):
    with caplog.at_level(logging.WARNING, "keras_mnv2"):
        assert select("imagenet", backbone, size).input_size == (224, 224)
    assert "loading those of 224x224" in caplog.text


@pytest.mark.parametrize(
    ("name", "alpha", "divisor", "file"),
    [
        ("pascal_voc", 1.0, 8, "deeplabv3_mnv2_pascal_train_aug_2018_01_29.tar.gz"),
        ("pascal_voc", 0.5, 1, "deeplabv3_mnv2_dm05_pascal_trainaug_2018_10_01.tar.gz"),
        ("pascal_voc_trainval", 1.0, 8, "deeplabv3_mnv2_pascal_trainval_2018_01_29.tar.gz"),
        ("pascal_voc_trainval", 0.5, 1, "deeplabv3_mnv2_dm05_pascal_trainval_2018_10_01.tar.gz"),
    ],
)
def test_pascal_voc_address(classifier, name, alpha, divisor, file):
    model = replace(classifier, family="DeepLabV3", alpha=alpha, divisor=divisor)
    assert select(name, model, (513, 513)).url == DOWNLOADS + file


def test_coco_address(classifier, backbone):
    model = replace(classifier, family="SSDLite", classes=80)
    url = DOWNLOADS + "object_detection/ssdlite_mobilenet_v2_coco_2018_05_09.tar.gz"
    assert select("coco", model, (300, 300)).url == url
    assert select("coco", backbone, (224, 224)).url == url


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("imagenet", {"alpha": 0.6}, "alpha=0.35 with divisor=8"),
        ("imagenet", {"family": "SSDLite"}, "backbone_weights='imagenet'"),
        ("imagenet", {"family": "DeepLabV3"}, "backbone_weights='imagenet'"),
        ("coco", {}, "those of SSDLite, the model is a MobileNetV2"),
        ("coco", {"family": "DeepLabV3"}, "those of SSDLite"),
        ("coco", {"family": "SSDLite", "alpha": 0.5}, "published for alpha=1.0"),
        ("pascal_voc", {"classes": None}, "those of DeepLabV3"),
        ("pascal_voc", {"family": "DeepLabV3", "alpha": 0.5}, "alpha=0.5 with divisor=1"),
    ],
)
def test_nothing_fits(classifier, name, changes, message):
    with pytest.raises(WeightsError, match=message):
        select(name, replace(classifier, **changes), (224, 224))
