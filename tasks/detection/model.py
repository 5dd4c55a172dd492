"""The SSDLite model that a recipe describes, ready for `fit`."""

from __future__ import annotations

import keras

from keras_mnv2.detection import (
    BoxLoss,
    FocalClassificationLoss,
    HardNegativeClassificationLoss,
    SSDLite,
    detector,
)
from keras_mnv2.weights import load_weights
from tasks.common.optimization import make_optimizer
from tasks.detection.recipes import DetectionRecipe


def build_model(recipe: DetectionRecipe, num_classes: int) -> keras.Model:
    """SSDLite as the recipe describes it, with its initial weights loaded."""
    keras.config.set_dtype_policy(recipe.precision)
    model = SSDLite(
        num_classes=num_classes,
        input_shape=(recipe.height, recipe.width, 3),
        alpha=recipe.alpha,
        backbone_weights=recipe.backbone_weights,
        class_prior=recipe.class_prior,
        bn_momentum=recipe.bn_momentum,
        # slim's weight decay w adds w/2 * ||kernel||^2, keras.regularizers.L2(w) w * ||kernel||^2.
        kernel_regularizer=(
            keras.regularizers.L2(recipe.weight_decay / 2) if recipe.weight_decay else None
        ),
    )
    if recipe.init_weights:
        load_weights(model, recipe.init_weights)
    if recipe.freeze_bn:
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    return model


def compile_model(model: keras.Model, recipe: DetectionRecipe) -> None:
    """Compiles with the recipe's optimizer and losses."""
    if recipe.classification_loss == "focal":
        classification = FocalClassificationLoss(recipe.focal_alpha, recipe.focal_gamma)
    else:
        classification = HardNegativeClassificationLoss()
    model.compile(
        optimizer=make_optimizer(recipe),
        loss={"box_encodings": BoxLoss(), "class_logits": classification},
        loss_weights={"box_encodings": recipe.box_loss_weight, "class_logits": 1.0},
        jit_compile=recipe.jit_compile,
    )


def make_detector(model: keras.Model, recipe: DetectionRecipe) -> keras.Model:
    """`model` with post-processing as the recipe evaluates it."""
    return detector(
        model,
        score_threshold=recipe.score_threshold,
        iou_threshold=recipe.iou_threshold,
        max_detections=recipe.max_detections,
    )
