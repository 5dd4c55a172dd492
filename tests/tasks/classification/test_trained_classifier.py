"""Classes of models and of data sets, and what model files are taken."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_mnv2 import MobileNetV2
from tasks.classification.inference import make_predictor
from tasks.classification.recipes import ClassificationRecipe
from tasks.classification.trained import TrainedClassifier, load_trained
from tasks.datasets.classification_source import ClassificationSource


def model_of(classes, **options):
    return MobileNetV2((32, 32, 3), alpha=0.35, classes=classes, **options)


def source_of(*names):
    return ClassificationSource(
        name="data",
        label_names=names,
        splits=(),
        count=lambda split: 0,
        read=lambda *_: None,
        read_labels=lambda split: None,
    )


def trained(names, count=None):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(count or len(names))])
    fields = (model, ClassificationRecipe(), names, count or len(names))
    return TrainedClassifier(Path("m.keras"), Path("m"), *fields)


def test_classes_correspond_by_name():
    classifier = trained(("ape", "cat", "dog"))
    classes, names = classifier.match(source_of("dog", "ape"))
    assert classes.tolist() == [2, 0] and names == ("ape", "cat", "dog")
    with pytest.raises(ValueError, match=r"does not know the classes emu of data set data"):
        classifier.match(source_of("ape", "emu", "dog"))
    classes, names = classifier.match(source_of("ape", "emu", "dog"), by_index=True)
    assert classes.tolist() == [0, 1, 2] and names == ("ape", "emu", "dog")


def test_without_names_classes_correspond_by_index():
    classes, names = trained(None, 2).match(source_of("ape", "cat"))
    assert classes.tolist() == [0, 1] and names == ("ape", "cat")
    assert trained(None, 2).shown_names() == ("class 0", "class 1")


def test_slims_background_comes_before_the_classes(capsys):
    imagenet = [f"n{i}" for i in range(1000)]
    classes, names = trained(None, 1001).match(source_of(*imagenet))
    assert classes.tolist() == list(range(1, 1001)) and names == ("background", *imagenet)
    assert "class 0 of m.keras is taken for a background" in capsys.readouterr().out
    assert trained(None, 1000).names_by_index(imagenet, "list") == tuple(imagenet)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("count", [1, 3, 4])
def test_no_background_is_assumed_elsewhere(count):
    with pytest.raises(ValueError, match=f"has {count} classes, data set data has 2"):
        trained(None, count).match(source_of("ape", "cat"))
    named = trained(tuple(f"c{i}" for i in range(1001)))
    with pytest.raises(ValueError, match="has 1001 classes, list has 1000"):
        named.names_by_index([f"n{i}" for i in range(1000)], "list")


def load(path):
    arguments = argparse.Namespace(model=str(path), checkpoint=None, output=None, run_dir=None)
    return load_trained(arguments)


def test_models_for_other_values_are_given_rgb(tmp_path):
    """As scripts/import_weights.py writes them: [-1, 1] in, and no names."""
    model = model_of(7)
    model.save(tmp_path / "imported.keras")
    content = json.dumps({"labels": None, "family": "MobileNetV2"})
    (tmp_path / "imported.keras.labels.json").write_text(content)
    classifier = load(tmp_path / "imported.keras")
    assert classifier.label_names is None and classifier.num_classes == 7
    assert (classifier.recipe.height, classifier.recipe.width) == (32, 32)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    found = make_predictor(classifier.model)(images).numpy()
    expected = model.predict_on_batch(images * (2 / 255) - 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_models_that_scale_stay_as_they_are(tmp_path):
    model = model_of(2, include_preprocessing=True)
    model.save(tmp_path / "own.keras")
    (tmp_path / "own.keras.labels.json").write_text('{"labels": ["cat", "dog"]}')
    classifier = load(tmp_path / "own.keras")
    assert classifier.label_names == ("cat", "dog")
    assert [layer.name for layer in classifier.model.layers] == [x.name for x in model.layers]


def test_a_softmax_may_be_a_layer_of_its_own(tmp_path):
    network = model_of(2, classifier_activation=None)
    outputs = keras.layers.Softmax()(network.output)
    keras.Model(network.input, outputs).save(tmp_path / "m.keras")
    (tmp_path / "m.keras.labels.json").write_text('{"labels": ["cat", "dog"]}')
    images = np.zeros((1, 32, 32, 3), np.uint8)
    probabilities = make_predictor(load(tmp_path / "m.keras").model)(images).numpy()
    assert probabilities.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("size", [(None, None), (48, 64)])
def test_a_free_size_is_that_of_the_recipe(size, tmp_path):
    MobileNetV2((*size, 3), alpha=0.35, classes=2).save(tmp_path / "m.keras")
    (tmp_path / "m.keras.labels.json").write_text('{"labels": ["cat", "dog"]}')
    recipe = load(tmp_path / "m.keras").recipe
    assert (recipe.height, recipe.width) == ((224, 224) if size[0] is None else size)


@pytest.mark.parametrize("kind", ["logits", "features", "vector"])
def test_what_is_no_classifier_is_refused(kind, tmp_path):
    model = {
        "logits": lambda: model_of(3, classifier_activation=None),
        "features": lambda: model_of(3, include_top=False),
        "vector": lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]),
    }[kind]()
    model.save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="m.keras is no image classifier"):
        load(tmp_path / "m.keras")


@pytest.mark.parametrize("labels", [["cat"], "cat", None])
def test_labels_must_be_those_of_the_model(labels, tmp_path):
    model_of(2).save(tmp_path / "m.keras")
    content = json.dumps({"names": labels} if labels is None else {"labels": labels})
    (tmp_path / "m.keras.labels.json").write_text(content)
    with pytest.raises(ValueError, match="must hold 'labels' for the 2 classes"):
        load(tmp_path / "m.keras")
