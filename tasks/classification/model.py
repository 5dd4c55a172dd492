"""The MobileNetV2 classifier that a recipe describes, ready for `fit`."""

from __future__ import annotations

import keras

from keras_mnv2 import MobileNetV2
from keras_mnv2.weights import load_weights
from tasks.classification.recipes import HEAD, ClassificationRecipe
from tasks.common.network import (
    check_initial_weights,
    initialize,
    kernel_regularizer,
    set_precision,
)
from tasks.common.optimization import make_optimizer


def build_model(recipe: ClassificationRecipe, num_classes: int) -> keras.Model:
    """MobileNetV2 as the recipe describes it, with its initial weights loaded.

    It takes RGB values 0..255 and returns float32 class probabilities [batch, num_classes].
    """
    check_initial_weights(recipe)
    set_precision(recipe)
    stddev = recipe.initial_stddev
    initializer = keras.initializers.TruncatedNormal(stddev=stddev) if stddev else "glorot_uniform"
    model = MobileNetV2(
        input_shape=(recipe.height, recipe.width, 3),
        alpha=recipe.alpha,
        classes=num_classes,
        dropout=recipe.dropout,
        include_preprocessing=True,
        bn_momentum=recipe.bn_momentum,
        bn_synchronized=recipe.sync_bn,
        kernel_regularizer=kernel_regularizer(recipe),
        kernel_initializer=initializer,
    )
    if stddev:  # the builder has it for convolutions only; in slim the classifier is one of them
        classifier = model.get_layer(HEAD).kernel
        classifier.assign(initializer.clone()(classifier.shape))
    if recipe.backbone_weights:
        backbone = keras.Model(model.inputs, model.get_layer("out_relu").output)
        load_weights(backbone, recipe.backbone_weights)
    initialize(model, recipe)
    if recipe.train_from:
        freeze_before(model, recipe.train_from)
    return model


def freeze_before(model: keras.Model, block: str) -> None:
    """Keeps the weights of all layers before a block; their batch normalization only infers.

    Args:
        model: a MobileNetV2.
        block: name of a layer, or what the names of a block's layers begin with: "block_13".
    """
    for layer in model.layers:
        if layer.name == block or layer.name.startswith(f"{block}_"):
            return
        layer.trainable = False


def compile_model(model: keras.Model, recipe: ClassificationRecipe) -> None:
    """Compiles with the recipe's optimizer and loss."""
    model.compile(
        optimizer=make_optimizer(recipe),
        # Keras computes it from the logits that it finds behind the softmax.
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        jit_compile=recipe.jit_compile,
        steps_per_execution=recipe.steps_per_execution,
    )
