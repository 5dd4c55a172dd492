"""Accuracy figures against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.classification.results import collect

NAMES = ("a", "b", "c", "d", "e", "f", "g")


def test_figures_by_hand():
    """Seven classes; the true class is first, second, fifth and sixth in turn."""
    ranked = np.array([0.4, 0.2, 0.12, 0.1, 0.09, 0.05, 0.04], np.float32)
    probabilities = np.stack(
        [
            ranked,  # a is first
            ranked,  # b is second
            ranked[[4, 0, 1, 2, 3, 5, 6]],  # a is fifth
            ranked[[5, 0, 1, 2, 3, 4, 6]],  # a is sixth
        ]
    )
    labels = np.array([0, 1, 0, 0])
    batches = [(probabilities[:3], labels[:3]), (probabilities[3:], labels[3:])]
    results = collect(batches, NAMES)
    np.testing.assert_array_equal(results.best[0], [0, 1, 2, 3, 4])
    np.testing.assert_allclose(results.true_probability, [0.4, 0.2, 0.09, 0.05])
    np.testing.assert_allclose(results.best_probability, 0.4)
    confusion = np.zeros([7, 7], int)
    confusion[0, 0], confusion[0, 1], confusion[1, 0] = 1, 2, 1
    np.testing.assert_array_equal(results.confusion(), confusion)
    metrics = results.metrics()
    assert metrics["top1"] == 0.25 and metrics["top5"] == 0.75 and metrics["num_examples"] == 4
    assert metrics["balanced_accuracy"] == pytest.approx((1 / 3 + 0) / 2)
    per_class = results.accuracy_per_class()
    assert per_class == {"a": pytest.approx(1 / 3), "b": 0.0} | dict.fromkeys("cdefg")
    assert results.largest_confusions() == [("a", "b", 2), ("b", "a", 1)]
    assert results.largest_confusions(1) == [("a", "b", 2)]
    losses = -np.log([0.4, 0.2, 0.09, 0.05])
    np.testing.assert_allclose(results.losses, losses, rtol=1e-6)
    assert metrics["cross_entropy"] == pytest.approx(losses.mean())


def test_of_equal_probabilities_the_lower_class_comes_first():
    results = collect([(np.full([2, 7], 1 / 7, np.float32), np.array([4, 5]))], NAMES)
    np.testing.assert_array_equal(results.best, [[0, 1, 2, 3, 4]] * 2)
    assert results.metrics()["top5"] == 0.5


def test_with_fewer_than_five_classes_all_are_among_the_best():
    results = collect([(np.array([[0.2, 0.8]], np.float32), np.array([0]))], NAMES[:2])
    assert results.best.shape == (1, 2)
    assert results.metrics()["top5"] == 1.0 and results.metrics()["top1"] == 0.0


def test_a_probability_of_zero_has_a_finite_loss():
    results = collect([(np.array([[0.0, 1.0]], np.float32), np.array([0]))], NAMES[:2])
    assert 80 < results.losses[0] < 90
