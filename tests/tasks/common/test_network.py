"""What recipes ask of networks of all tasks."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_mnv2
from tasks.common.network import (
    freeze_batch_normalization,
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
