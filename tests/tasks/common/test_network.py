"""What recipes ask of networks of all tasks."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_mnv2
from tasks.common.network import (
    check_initial_weights,
    freeze_batch_normalization,
    initialize,
    kernel_regularizer,
    silence_residual_branches,
)
from tasks.common.recipe import TrainingRecipe


@pytest.fixture(scope="module")
def backbone() -> keras.Model:
    return keras_mnv2.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False)


def test_weight_decay_is_counted_as_slim_counts_it():
    kernel = np.float32([[1.0, 2.0], [3.0, 4.0]])
    penalty = kernel_regularizer(TrainingRecipe(weight_decay=0.1))(kernel)
    assert float(penalty) == pytest.approx(0.1 * np.sum(kernel**2) / 2)
    assert kernel_regularizer(TrainingRecipe(weight_decay=0.0)) is None


def test_silent_blocks_are_the_identity(backbone):
    silence_residual_branches(backbone)
    ends = [layer for layer in backbone.layers if layer.name.endswith("_add")]
    assert len(ends) == 10
    both = keras.Model(backbone.inputs, [[layer.input[0], layer.output] for layer in ends])
    for before, after in both(np.random.default_rng(0).normal(size=(2, 32, 32, 3))):
        np.testing.assert_array_equal(before, after)


def test_frozen_normalization_has_no_trainable_weights(backbone):
    freeze_batch_normalization(backbone)
    names = {variable.path.split("/")[-2] for variable in backbone.trainable_variables}
    assert names and not any("BN" in name or "bn" in name for name in names)


def test_statistics_that_know_nothing_are_not_frozen():
    with pytest.raises(ValueError, match="freeze_bn"):
        check_initial_weights(TrainingRecipe(freeze_bn=True))
    check_initial_weights(TrainingRecipe(freeze_bn=True, init_weights="imagenet"))
    check_initial_weights(TrainingRecipe(freeze_bn=True, backbone_weights="imagenet"))


@pytest.mark.parametrize("field", ["init_weights", "backbone_weights"])
def test_weights_that_are_not_there_are_named(field, tmp_path):
    path = tmp_path / "some.h5"
    recipe = TrainingRecipe(**{field: str(path)})
    with pytest.raises(ValueError, match=r"some.h5'?: no such file or checkpoint"):
        check_initial_weights(recipe)
    path.write_bytes(b"something")
    check_initial_weights(recipe)


def test_initial_weights_are_loaded_or_the_blocks_silenced(backbone, tmp_path):
    path = tmp_path / "trained.weights.h5"
    backbone.get_layer("block_2_project_BN").gamma.assign(np.full([8], 3.0))
    backbone.save_weights(path)
    model = keras.models.clone_model(backbone)
    gamma = model.get_layer("block_2_project_BN").gamma
    initialize(model, TrainingRecipe(init_weights=str(path)))
    np.testing.assert_array_equal(gamma, 3.0)
    initialize(model, TrainingRecipe(zero_init_residual=True))
    np.testing.assert_array_equal(gamma, 0.0)
