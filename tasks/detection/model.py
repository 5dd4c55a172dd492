"""The SSDLite model that a recipe describes, ready for `fit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mnv2.deployment.running import DeployedModel
from keras_mnv2.detection import (
    BoxLoss,
    DetectionPostprocessing,
    FocalClassificationLoss,
    HardNegativeClassificationLoss,
    SSDLite,
    detector,
)
from keras_mnv2.weights import COCO_CATEGORIES
from tasks.common.network import (
    check_initial_weights,
    initialize,
    kernel_regularizer,
    set_precision,
)
from tasks.common.optimization import make_optimizer
from tasks.common.replicated_prediction import on_replicas
from tasks.detection.recipes import DetectionRecipe

Detector = Callable[[Any], dict[str, np.ndarray]]


def build_model(recipe: DetectionRecipe, label_names: Sequence[str]) -> keras.Model:
    """SSDLite as the recipe describes it, with its initial weights loaded."""
    check_initial_weights(recipe)
    set_precision(recipe)
    model = SSDLite(
        num_classes=len(label_names),
        input_shape=(recipe.height, recipe.width, 3),
        alpha=recipe.alpha,
        backbone_weights=recipe.backbone_weights,
        class_prior=recipe.class_prior,
        bn_momentum=recipe.bn_momentum,
        bn_synchronized=recipe.sync_bn,
        kernel_regularizer=kernel_regularizer(recipe),
    )
    is_coco = recipe.init_weights == "coco"
    initialize(model, recipe, class_columns=_coco_columns(label_names) if is_coco else None)
    return model


def _coco_columns(label_names: Sequence[str]) -> list[int] | None:
    """Where the class logits of the published COCO detector have these labels, if it has all."""
    ids = {name: category_id for category_id, name in COCO_CATEGORIES.items()}
    return [ids[name] for name in label_names] if set(label_names) <= set(ids) else None


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
        steps_per_execution=recipe.steps_per_execution,
    )


def make_detector(model: keras.Model | DeployedModel, recipe: DetectionRecipe) -> Detector:
    """What finds objects in images, with post-processing as the recipe evaluates it.

    An exported file that holds its post-processing already keeps that.

    Returns:
        Function from uint8 [b, height, width, 3], of the size that `model` takes, to the arrays
        of `DetectionPostprocessing`, by name.
    """
    options = {
        "score_threshold": recipe.score_threshold,
        "iou_threshold": recipe.iou_threshold,
        "max_detections": recipe.max_detections,
    }
    if not isinstance(model, DeployedModel):
        finder = detector(model, **options)
        signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)]
        # Not predict_on_batch, which has every replica of a strategy do all of the batch.
        find = on_replicas(
            tf.function(lambda images: finder(images, training=False), input_signature=signature)
        )

        def detect_with_network(images: Any) -> dict[str, np.ndarray]:
            found = find(tf.cast(images, tf.uint8))
            return {name: value.numpy() for name, value in found.items()}

        return detect_with_network
    if model.description.postprocessing != "none":
        return lambda images: model(np.asarray(images))
    postprocess = DetectionPostprocessing(
        model.description.anchors, scale_factors=model.description.scale_factors, **options
    )

    def detect(images: Any) -> dict[str, np.ndarray]:
        found = postprocess(model(np.asarray(images)))
        return {name: value.numpy() for name, value in found.items()}

    return detect
