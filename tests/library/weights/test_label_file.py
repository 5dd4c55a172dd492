"""What is written beside an imported model."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from weight_files import (
    DETECTOR,
    small_model,
    tf1_arrays,
    write_archive,
    write_checkpoint,
    write_graph,
)

from keras_mnv2.weights import COCO_CATEGORIES, COCO_CATEGORY_IDS, load_weights, registry
from keras_mnv2.weights.download import sha256
from keras_mnv2.weights.label_file import label_file


@pytest.fixture
def imported(network, tmp_path):
    """Function from a family and class counts of file and model to the label file and remark."""

    def run(family, file_classes, classes, names=None, **options):
        case = network(family, classes=file_classes)
        path = write_graph(tmp_path / "graph.pb", tf1_arrays(case.model, case.arrays))
        model = case.model if classes == file_classes else small_model(family, classes)
        report = load_weights(model, path, **options)
        return label_file(model, report, path, names)

    return run


def test_own_detector_with_names_of_coco(imported):
    content, _ = imported("SSDLite", 3, 3, names=["cat", "dog", "cow"])
    assert content["labels"] == ["cat", "dog", "cow"]
    assert content["category_ids"] == [1, 2, 3]


def test_own_detector_without_names(imported):
    content, remark = imported("SSDLite", 3, 3)
    assert content["labels"] == ["class 0", "class 1", "class 2"]
    assert content["category_ids"] == [1, 2, 3]
    assert "no names are known" in remark


def test_coco_detector_as_it_is(imported):
    content, remark = imported("SSDLite", 90, 90)
    assert content["category_ids"] == list(range(1, 91))
    assert content["labels"][:12] == [*list(COCO_CATEGORIES.values())[:11], "unused 12"]
    assert "names of COCO are assumed" in remark


def test_coco_detector_of_the_80_categories(imported):
    content, remark = imported("SSDLite", 90, 80)
    assert content["category_ids"] == list(COCO_CATEGORY_IDS)
    assert content["labels"] == list(COCO_CATEGORIES.values())
    assert "names of COCO are assumed" in remark


def test_chosen_columns(imported):
    content, _ = imported("SSDLite", 90, 2, class_columns=[18, 1])
    assert (content["labels"], content["category_ids"]) == (["dog", "person"], [18, 1])
    content, _ = imported("SSDLite", 90, 2, names=["a", "b"], class_columns=[18, 1])
    assert (content["labels"], content["category_ids"]) == (["a", "b"], [18, 1])


@pytest.mark.parametrize(("family", "classes"), [("SSDLite", 80), ("DeepLabV3", 21)])
def test_untrained_head_has_no_names(imported, family, classes):
    content, remark = imported(family, 3, classes)
    assert content["labels"] == [f"class {label}" for label in range(classes)]
    assert "no names are known" in remark
    if family == "SSDLite":
        assert content["category_ids"] == list(range(1, 81))


def test_segmenter(imported):
    content, remark = imported("DeepLabV3", 21, 21)
    assert content["labels"][:2] == ["background", "aeroplane"]
    assert "PASCAL VOC are assumed" in remark and "category_ids" not in content


def test_classifier(imported):
    content, remark = imported("MobileNetV2", 3, 3)
    assert content["labels"] is None and "give --labels" in remark
    with pytest.raises(ValueError, match="2 names were given for 3 classes"):
        imported("MobileNetV2", 3, 3, names=["a", "b"])


def test_origin(network, tmp_path, monkeypatch):
    case = network("SSDLite")
    graph = write_graph(tmp_path / "g.pb", tf1_arrays(case.model, case.arrays)).read_bytes()
    path = write_archive(tmp_path / "release.tar.gz", {"d/frozen.pb": graph})
    entry = replace(DETECTOR, url="https://example.org/models/release.tar.gz")
    monkeypatch.setattr(registry, "published", lambda: (entry,))
    content, _ = label_file(case.model, load_weights(case.model, path), path)
    assert content["source"] == "release.tar.gz"
    assert content["sha256"] == {"release.tar.gz": sha256(path)}
    assert content["input_size"] == [64, 64] and content["family"] == "SSDLite"
    assert content["published"] == asdict(entry)


@pytest.mark.parametrize("name", ["run/model.ckpt", "run"])
def test_origin_of_a_checkpoint(network, tmp_path, name):
    case = network("MobileNetV2")
    (tmp_path / "run").mkdir()
    write_checkpoint(tmp_path / "run" / "model.ckpt", tf1_arrays(case.model, case.arrays))
    report = load_weights(case.model, tmp_path / name)
    content, _ = label_file(case.model, report, tmp_path / name)
    files = ("model.ckpt.data-00000-of-00001", "model.ckpt.index")
    assert content["sha256"] == {file: sha256(tmp_path / "run" / file) for file in files}
    assert content["published"] is None
