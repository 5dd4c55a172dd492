"""import_model: what is built for a file, and published weights by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from original_networks import segmentation_graph
from weight_files import (
    CLASSIFIER,
    DETECTOR,
    assert_same,
    model_arrays,
    tf1_arrays,
    write_graph,
    write_h5,
)

from keras_mnv2.weights import WeightsError, import_model, inspect, registry

HEAD = {"predictions/kernel", "predictions/bias"}


def test_file_without_head(network, tmp_path):
    case = network("MobileNetV2", classes=None)
    path = write_h5(tmp_path / "no_top.h5", case.model, case.arrays)
    assert_same(import_model(path), case.arrays)
    model = import_model(path, classes=10)
    assert model.output_shape == (None, 10)
    assert set(model_arrays(model)) == set(case.arrays) | HEAD
    assert_same(model, case.arrays, but=HEAD)


@pytest.mark.parametrize("family", ["MobileNetV2", "SSDLite", "DeepLabV3"])
def test_no_classes(network, tmp_path, family):
    case = network(family)
    path = write_graph(tmp_path / "graph.pb", tf1_arrays(case.model, case.arrays))
    with pytest.raises(ValueError, match="classes=0"):
        import_model(path, classes=0)


def test_classes_and_columns_differ(network, tmp_path):
    case = network("MobileNetV2")
    path = write_graph(tmp_path / "graph.pb", tf1_arrays(case.model, case.arrays))
    with pytest.raises(ValueError, match="classes=3 and 2 class_columns"):
        import_model(path, classes=3, class_columns=[0, 1])


@pytest.mark.parametrize("stride", [8, 16])
def test_output_stride_of_the_graph(network, tmp_path, stride):
    case = network("DeepLabV3")
    graph = segmentation_graph(tf1_arrays(case.model, case.arrays), 65, stride)
    path = tmp_path / "graph.pb"
    path.write_bytes(graph.SerializeToString())
    assert inspect(path).output_stride == stride

    def cells(model):
        return model.get_layer("block_16_project_BN").output.shape[1]

    assert cells(import_model(path)) == 64 // stride + 1
    assert cells(import_model(path, output_stride=32)) == 3


@pytest.fixture
def published(network, tmp_path, monkeypatch):
    """A detector and two classifiers in the cache, as if they had been downloaded."""
    cache = tmp_path / "models"
    cache.mkdir()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    entries = []
    for entry, options in ((DETECTOR, {}), (CLASSIFIER, {}), (CLASSIFIER, {"classes": None})):
        case = network(entry.family, **options)
        file = f"{entry.name}_{len(entries)}.h5"
        write_h5(cache / file, case.model, case.arrays)
        classes = options.get("classes", 3)
        entries.append(replace(entry, url=f"https://example.org/{file}", classes=classes))
    monkeypatch.setattr(registry, "published", lambda: tuple(entries))
    return entries


def test_registered_name(published, network):
    assert_same(import_model("coco", alpha=0.35), network("SSDLite").arrays)
    model = import_model("imagenet", alpha=0.35, input_size=(96, 96))
    assert_same(model, network("MobileNetV2").arrays)
    assert model.input_shape == (None, 96, 96, 3)


def test_registered_name_of_another_width(published):
    with pytest.raises(WeightsError, match="published for alpha=0.35, not for 1.0"):
        import_model("coco")
    with pytest.raises(WeightsError, match="no such file"):
        import_model("cocos")


def test_alpha_is_for_names(network, tmp_path):
    case = network("MobileNetV2")
    path = write_h5(tmp_path / "weights.h5", case.model, case.arrays)
    with pytest.raises(WeightsError, match="alpha=0.5 chooses among published weights"):
        import_model(path, alpha=0.5)


def test_default_files():
    entry = registry.default("imagenet", input_size=(160, 160))
    assert (entry.alpha, entry.input_size, entry.classes) == (1.0, (160, 160), 1000)
    assert registry.default("imagenet").input_size == (224, 224)
    assert registry.default("imagenet", input_size=(300, 300)).input_size == (224, 224)
    assert registry.default("pascal_voc", 0.5).divisor == 1
    assert registry.entry_of_file(entry.file_name) == entry
    assert registry.entry_of_file("else.h5") is None
