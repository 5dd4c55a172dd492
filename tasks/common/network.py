"""What recipes of all tasks ask of a network beyond the arguments of its builder."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from keras_mnv2.weights import load_weights
from keras_mnv2.weights.loading import check_weights
from tasks.common.recipe import TrainingRecipe


def kernel_regularizer(recipe: TrainingRecipe) -> keras.regularizers.Regularizer | None:
    """The recipe's weight decay, for the builders' `kernel_regularizer`."""
    # slim's weight decay w adds w/2 * ||kernel||^2, keras.regularizers.L2(w) w * ||kernel||^2.
    return keras.regularizers.L2(recipe.weight_decay / 2) if recipe.weight_decay else None


def set_precision(recipe: TrainingRecipe) -> None:
    """Sets the dtypes that layers, losses and metrics made from now on compute in."""
    keras.config.set_floatx("float64" if recipe.precision == "float64" else "float32")
    keras.config.set_dtype_policy(recipe.precision)


def check_initial_weights(recipe: TrainingRecipe) -> None:
    """Raises ValueError for weights that are not there, or that freeze_bn would need."""
    weights = recipe.init_weights or recipe.backbone_weights
    if weights:
        check_weights(weights)
    elif recipe.freeze_bn:
        raise ValueError(
            "freeze_bn keeps the batch normalization of trained weights: give init_weights (a file "
            "or a published name) or backbone_weights, or train with --no-freeze-bn"
        )


def initialize(
    model: keras.Model, recipe: TrainingRecipe, class_columns: Sequence[int] | None = None
) -> None:
    """Gives a new network the recipe's initial weights, and freezes what it wants frozen.

    Args:
        model: just built, with its backbone weights.
        recipe: for which `check_initial_weights` has passed.
        class_columns: of `load_weights`.
    """
    if recipe.zero_init_residual:
        silence_residual_branches(model)
    if recipe.init_weights:
        load_weights(model, recipe.init_weights, class_columns=class_columns)
    if recipe.freeze_bn:
        freeze_batch_normalization(model)


def silence_residual_branches(model: keras.Model) -> None:
    """Lets every residual block begin as the identity (Goyal et al., arXiv 1706.02677, 5.1)."""
    for layer in model.layers:
        if layer.name.endswith("_add"):
            normalization = model.get_layer(layer.name.replace("_add", "_project_BN"))
            normalization.gamma.assign(keras.ops.zeros_like(normalization.gamma))


def freeze_batch_normalization(model: keras.Model) -> None:
    """Keeps statistics, scales and offsets as they are, in training too."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
