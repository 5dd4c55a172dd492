"""What recipes of all tasks ask of a network beyond the arguments of its builder."""

from __future__ import annotations

import keras

from tasks.common.recipe import TrainingRecipe


def kernel_regularizer(recipe: TrainingRecipe) -> keras.regularizers.Regularizer | None:
    """The recipe's weight decay, for the builders' `kernel_regularizer`."""
    # slim's weight decay w adds w/2 * ||kernel||^2, keras.regularizers.L2(w) w * ||kernel||^2.
    return keras.regularizers.L2(recipe.weight_decay / 2) if recipe.weight_decay else None


def silence_residual_branches(model: keras.Model) -> None:
    """Lets every residual block begin as the identity (Goyal et al., arXiv 1706.02677, 5.1)."""
    for layer in model.layers:
        if layer.name.endswith("_add"):
            normalization = model.get_layer(layer.name.replace("_add", "_project_BN"))
            normalization.gamma.assign(keras.ops.zeros_like(normalization.gamma))


def check_initial_weights(recipe: TrainingRecipe) -> None:
    """Raises ValueError if batch normalization that knows nothing yet is to be frozen."""
    if recipe.freeze_bn and not (recipe.init_weights or recipe.backbone_weights):
        raise ValueError(
            "freeze_bn keeps the batch normalization of trained weights: give init_weights (a file "
            "or a published name) or backbone_weights, or train with --no-freeze-bn"
        )


def freeze_batch_normalization(model: keras.Model) -> None:
    """Keeps statistics, scales and offsets as they are, in training too."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
