"""Recipes of classification: what they refuse and what they say of the original training."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest

from keras_mnv2.weights import published
from tasks.classification.recipes import (
    PUBLISHED_TOP1,
    RECIPES,
    ClassificationRecipe,
    head_phase,
    published_top1,
)
from tasks.common.linear_scaling import for_replicas
from tasks.common.optimization import learning_rate_schedule, make_optimizer


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"height": 31}, "height=31 must be at least 32"),
        ({"width": 16}, "width=16 must be at least 32"),
        ({"warmup_steps": 9, "train_steps": 9}, "warmup_steps=9 must be fewer than train_steps=9"),
        ({"class_weights": "inverse"}, "class_weights='inverse' must be one of none, balanced"),
        ({"color_distortion": "hue"}, "color_distortion='hue' must be one of none, fast, full"),
        ({"initial_stddev": 0.0}, "initial_stddev=0.0"),
        ({"policy": "cutout"}, "policy='cutout' must be one of none, randaugment, autoaugment"),
        ({"policy_magnitude": 11.0}, "policy_magnitude=11.0"),
        ({"policy_layers": 0}, "policy_layers=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing=-0.1"),
        ({"min_area": 0.0}, "min_area=0.0"),
        ({"central_crop": 1.1}, "central_crop=1.1"),
        ({"aspect_ratio": 0.75}, "aspect_ratio=0.75"),
        ({"mixup_alpha": 0.001}, "mixup_alpha=0.001 must be 0 or at least 0.01"),
        ({"train_from": "block_17", "init_weights": "a"}, "train_from='block_17' must be one of"),
        ({"train_from": "block_13"}, "for a network with initial weights"),
        ({"head_steps": 5}, "for a network with initial weights"),
        ({"head_learning_rate": 0.0}, "head_learning_rate=0.0"),
    ],
)
def test_values_out_of_range_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        ClassificationRecipe(**fields)


def test_the_paper_recipe_is_the_original_one():
    recipe = RECIPES["imagenet_paper"]
    schedule = learning_rate_schedule(recipe)
    epoch = 1_281_167 // 96
    rates = [float(schedule(step)) for step in (0, epoch - 1, epoch, 10 * epoch)]
    np.testing.assert_allclose(rates, [0.045, 0.045, 0.045 * 0.98, 0.045 * 0.98**10], rtol=1e-5)
    optimizer = make_optimizer(recipe)
    assert (optimizer.rho, optimizer.momentum, optimizer.epsilon) == (0.9, 0.9, 1.0)
    expected = {
        "batch_size": 96,
        "weight_decay": 4e-5,
        "label_smoothing": 0.1,
        "dropout": 0.2,
        "moving_average_decay": 0.9999,
        "bn_momentum": 0.997,
        "central_crop": 0.875,
        "initial_stddev": 0.09,
        # slim's preprocess_image: fast_mode, and crops that cover a tenth of the image.
        "color_distortion": "fast",
        "min_area": 0.1,
        "aspect_ratio": 4 / 3,
        "flip": True,
        "policy": "none",
        "mixup_alpha": 0.0,
        # What slim's README tells of training on one GPU.
        "train_steps": 5_500_000,
    }
    assert {name: getattr(recipe, name) for name in expected} == expected


def test_the_paper_recipe_on_sixteen_replicas():
    """The workers of the paper: five epochs of warm-up, then where one replica would be."""
    recipe = RECIPES["imagenet_paper"]
    scaled = for_replicas(recipe, 16)
    assert scaled.warmup_steps == 5 * math.ceil(1_281_167 // 96 / 16)
    one, many = learning_rate_schedule(recipe), learning_rate_schedule(scaled)
    for epoch in (6, 50, 300):
        expected = 16 * float(one(epoch * recipe.decay_steps))
        assert float(many(epoch * scaled.decay_steps)) == pytest.approx(expected, rel=1e-5)


def test_replicas_scale_the_modern_recipe_to_the_usual_large_batch():
    recipe = for_replicas(RECIPES["imagenet_modern"], 8)
    assert (recipe.batch_size, recipe.learning_rate) == (1024, 0.4)
    assert recipe.train_steps == 750_675 and recipe.evaluate_every == 1252  # 600 epochs
    assert recipe.warmup_steps == 6256 and recipe.warmup_learning_rate == 0.0


def test_published_figures_are_those_of_the_weights():
    figures = {}
    for entry in published():
        if entry.name == "imagenet":
            top1 = re.match(r"top-1 ([\d.]+) %", entry.metric)[1]
            figures[entry.alpha, entry.input_size[0]] = pytest.approx(float(top1) / 100)
    assert figures == PUBLISHED_TOP1 and len(figures) == 22


def test_a_published_figure_goes_with_the_papers_training_only():
    paper = RECIPES["imagenet_paper"]
    assert published_top1(paper) == 0.718
    small = dataclasses.replace(paper, alpha=0.35, height=96, width=96, seed=3, data_dir="data")
    assert published_top1(small) == published_top1(for_replicas(small, 16)) == 0.455
    for fields in (
        {"width": 128},
        {"alpha": 0.4},
        {"dataset": "imagenette"},
        {"validation_split": "validation[:1000]"},
        {"train_steps": 1000},
        {"batch_size": 128},
        {"color_distortion": "full"},
    ):
        assert published_top1(dataclasses.replace(small, **fields)) is None
    assert published_top1(RECIPES["imagenet_modern"]) is None


def test_the_phase_of_the_head():
    recipe = dataclasses.replace(
        RECIPES["fine_tune"], head_steps=10, head_learning_rate=0.5, warmup_steps=20
    )
    head = head_phase(recipe)
    assert (head.train_from, head.train_steps, head.learning_rate) == ("predictions", 10, 0.5)
    assert (head.head_steps, head.warmup_steps, head.evaluate_every) == (0, 9, 10)
    same_rate = head_phase(dataclasses.replace(recipe, head_learning_rate=None))
    assert same_rate.learning_rate == recipe.learning_rate
