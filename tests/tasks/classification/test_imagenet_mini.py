"""Imported ImageNet weights on real photos, against what the original network reaches on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.classification import evaluate, predict

REPOSITORY = Path(__file__).resolve().parents[3]
WEIGHTS = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"


@pytest.fixture(scope="module")
def imported(reference, tmp_path_factory):
    """The classifier as scripts/import_weights.py writes it."""
    path = tmp_path_factory.mktemp("imported") / "imagenet.keras"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPOSITORY / "scripts"))
        import import_weights

        source = reference / "reference" / "classification" / WEIGHTS
        assert import_weights.main([str(source), str(path)]) == 0
    return path


def test_the_accuracy_is_exactly_that_of_the_original(reference, imported, tmp_path):
    folder = reference / "data" / "imagenet_mini"
    evaluate.main(
        [
            *("--model", str(imported), "--images", str(folder)),
            *("--list", str(folder / "labels.txt")),
            *("--class-names", str(folder / "imagenet1000_classes.txt")),
            *("--data-dir", str(tmp_path / "data"), "--output", str(tmp_path), "--worst", "6"),
        ]
    )
    metrics = json.loads(next(tmp_path.glob("metrics_*.json")).read_text())
    assert metrics["num_examples"] == 250
    assert (metrics["top1"], metrics["top5"]) == (0.900, 0.988)
    assert metrics["accuracy_per_class"]["goldfish, Carassius auratus"] is None

    picture = folder / "images" / "n01440764" / "n01440764_tench.JPEG"
    names = ["--class-names", str(folder / "imagenet1000_classes.txt")]
    for more, name in (([], "class 0"), (names, "tench, Tinca tinca")):
        predict.main([str(picture), "--model", str(imported), "--output", str(tmp_path), *more])
        (prediction,) = json.loads((tmp_path / "predictions.json").read_text())
        assert prediction["classes"][0]["name"] == name
