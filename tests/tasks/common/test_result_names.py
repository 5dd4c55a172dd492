"""Names of result files: as many as there are evaluations, and readable."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.common.trained import data_name, result_name


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("test", "test"),
        ("train_aug", "train_aug"),
        ("test[:100]", "test_to_100"),
        ("test[100:]", "test_100_to"),
        ("test[-100:]", "test_minus100_to"),
        ("test[:-100]", "test_to_minus100"),
        ("test[10:20]", "test_10_to_20"),
        ("test[:100%]", "test_to_100pct"),
        ("validation+test", "validation_and_test"),
        ("train-clean", "train_clean"),
    ],
)
def test_splits_are_told_apart(split, expected):
    assert result_name(Path("best.keras"), "shapes", split) == f"best_shapes_{expected}"


def test_signs_outside_of_splits_are_no_words():
    name = result_name(Path("last.keras"), "imagenette/320px-v2", "test", "crop 0.5")
    assert name == "last_imagenette_320px_v2_test_crop_0_5"


def test_exported_files_of_one_network_are_told_apart():
    names = [result_name(Path(f"m.{kind}"), "shapes", "test") for kind in ("keras", "onnx")]
    assert names == ["m_shapes_test", "m_onnx_shapes_test"]


def test_folders_of_the_same_name_are_told_apart(tmp_path):
    names = {data_name("coco_directory", str(tmp_path / top / "x" / "val")) for top in "ab"}
    assert len(names) == 2
    assert all(name.startswith("coco_directory x val ") for name in names)
    with_list = data_name("class_directory", str(tmp_path), str(tmp_path / "first.txt"))
    assert " first " in with_list and with_list != data_name("class_directory", str(tmp_path))
    assert data_name("shapes", None, None) == "shapes"
