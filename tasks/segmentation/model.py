"""The DeepLabV3 model that a recipe describes, ready for `fit`."""

from __future__ import annotations

import keras

from keras_mnv2.segmentation import DeepLabV3, PixelwiseCrossEntropy
from tasks.common.network import (
    check_initial_weights,
    initialize,
    kernel_regularizer,
    set_precision,
)
from tasks.common.optimization import make_optimizer
from tasks.segmentation.recipes import SegmentationRecipe


def build_model(recipe: SegmentationRecipe, num_classes: int) -> keras.Model:
    """DeepLabV3 as the recipe describes it, with its initial weights loaded."""
    check_initial_weights(recipe)
    set_precision(recipe)
    model = DeepLabV3(
        num_classes=num_classes,
        input_shape=(*recipe.size, 3),
        alpha=recipe.alpha,
        divisor=recipe.divisor,
        output_stride=recipe.output_stride,
        aspp_rates="auto" if recipe.aspp else None,
        separable_aspp=recipe.separable_aspp,
        dropout=recipe.dropout,
        backbone_weights=recipe.backbone_weights,
        bn_momentum=recipe.bn_momentum,
        bn_synchronized=recipe.sync_bn,
        head_bn_momentum=recipe.head_bn_momentum,
        kernel_regularizer=kernel_regularizer(recipe),
    )
    initialize(model, recipe)
    return model


def at_crop_size(model: keras.Model, recipe: SegmentationRecipe) -> keras.Model:
    """The same layers, and so the same weights, for training crops in place of whole images."""
    if recipe.crop_size == recipe.size:
        return model
    crop = keras.Input((*recipe.crop_size, 3), dtype=model.inputs[0].dtype)
    return keras.models.clone_model(model, input_tensors=crop, clone_function=lambda layer: layer)


def compile_model(model: keras.Model, recipe: SegmentationRecipe) -> None:
    """Compiles with the recipe's optimizer and loss."""
    kernel, bias = model.get_layer("logits").weights

    def rate_factor(variable: keras.Variable) -> float:
        if variable is kernel:
            return recipe.last_layer_rate
        # As research/deeplab/utils/train_utils.py, get_model_gradient_multipliers.
        return 2.0 * recipe.last_layer_rate if variable is bias else 1.0

    model.compile(
        optimizer=make_optimizer(recipe, rate_factor),
        loss=PixelwiseCrossEntropy(top_k_percent_pixels=recipe.top_k_percent_pixels),
        jit_compile=recipe.jit_compile,
        steps_per_execution=recipe.steps_per_execution,
    )
