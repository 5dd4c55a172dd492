"""From a detection source to batches: decode, augment, resize, encode targets, batch."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_mnv2.detection import encode_targets
from tasks.common.color import photometric_distortion
from tasks.common.images import decode, decode_window, decoded_size, whole_grey_levels
from tasks.common.pipeline import WHOLE, map_on_all_cores, seeded_examples, training_batches
from tasks.datasets.category_selection import select_categories
from tasks.datasets.detection_source import DetectionSource, open_detection_source
from tasks.detection.augmentation import (
    random_expand,
    random_horizontal_flip,
    resize,
    ssd_random_crop,
    ssd_random_window,
)
from tasks.detection.recipes import DetectionRecipe


def open_source(recipe: DetectionRecipe) -> DetectionSource:
    """The recipe's data set; prepares it where it is not prepared yet."""
    files = (
        "train_images",
        "train_annotations",
        "train_records",
        "validation_images",
        "validation_annotations",
        "validation_records",
        "drop_invalid_boxes",
    )
    source = open_detection_source(
        recipe.dataset,
        data_dir=recipe.data_dir,
        **{name: getattr(recipe, name) for name in files},
    )
    return select_categories(source, recipe.categories) if recipe.categories else source


def check_has_objects(source: DetectionSource, split: str) -> None:
    """Raises ValueError if no image of the split has an object, crowds not counted."""
    for example in source.examples(split):
        if not example["is_crowd"].numpy().all():
            return
    raise ValueError(
        f"data set {source.name}, split {split}: no image has an annotated object (crowd regions "
        "do not count), there is nothing to learn or to measure"
    )


def training_dataset(
    source: DetectionSource,
    recipe: DetectionRecipe,
    anchors: np.ndarray,
    first_step: int = 0,
    context: tf.distribute.InputContext = WHOLE,
) -> tf.data.Dataset:
    """Endless shuffled batches for `fit`; the recipe's seed decides order and augmentation.

    Args:
        source: opened data set.
        anchors: float32 [A, 4] of the model.
        first_step: steps that an interrupted run has behind it, see `seeded_examples`.
        context: which of how many input pipelines this is, see there; its batches are for one
            replica.

    Returns:
        Dataset of (images uint8 [batch, height, width, 3], targets as `encode_targets` gives
        them, with a leading batch axis).
    """

    def prepare(example: dict[str, tf.Tensor], seed: tf.Tensor):
        augmented = augment(example, recipe, seed)
        targets = encode_targets(
            tf.constant(anchors), *(augmented[name] for name in ("boxes", "labels", "is_crowd"))
        )
        return augmented["image"], targets

    return training_batches(source, recipe, prepare, first_step, context)


def augmented_examples(source: DetectionSource, recipe: DetectionRecipe) -> tf.data.Dataset:
    """Endless shuffled examples, augmented and resized, before targets are encoded.

    Returns:
        Dataset of dicts: image uint8 [height, width, 3], boxes float32 [n, 4], labels int32 [n],
        is_crowd bool [n].
    """
    examples = seeded_examples(source, recipe)
    return map_on_all_cores(examples, lambda example, seed: augment(example, recipe, seed))


def decoded(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """`example` with its picture decoded."""
    return {**example, "image": decode(example["image"])}


def augment(
    example: dict[str, tf.Tensor], recipe: DetectionRecipe, seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Decodes one example, augments it as the recipe says and resizes it to the input size."""
    encoded, boxes = example["image"], example["boxes"]
    labels, is_crowd = example["labels"], example["is_crowd"]
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
    if recipe.random_crop and not recipe.expand_probability:
        window, boxes, labels, is_crowd = ssd_random_window(
            decoded_size(encoded), boxes, labels, is_crowd, seeds[1]
        )
        image = decode_window(encoded, window)
    else:
        image = decode(encoded)
        if recipe.expand_probability:
            image, boxes = random_expand(
                image, boxes, seeds[0], probability=recipe.expand_probability
            )
        if recipe.random_crop:
            image, boxes, labels, is_crowd = ssd_random_crop(
                image, boxes, labels, is_crowd, seeds[1]
            )
    if recipe.flip:
        image, boxes = random_horizontal_flip(image, boxes, seeds[2])
    image = resized(image, recipe, antialias=recipe.antialias)
    if recipe.photometric:
        image = photometric_distortion(image, seeds[3])
    return {"image": image, "boxes": boxes, "labels": labels, "is_crowd": is_crowd}


def evaluation_dataset(
    source: DetectionSource,
    recipe: DetectionRecipe,
    split: str,
    share: tuple[int, int] = (1, 0),
) -> tf.data.Dataset:
    """Batches for evaluation, in the order of the split, each image once, without distortion.

    Args:
        source: opened data set.
        split: of the source.
        share: (n, i): of n workers that share the split the worker i, which gets the images i,
            i + n, ...

    Returns:
        Dataset of (images uint8 [batch, height, width, 3], truth), truth being a dict of
        image_id [batch], size int32 [batch, 2] (height, width of the original), num_objects
        [batch], and, padded to the batch's longest, boxes, labels, areas, is_crowd.
    """

    def prepare(example: dict[str, tf.Tensor]):
        image = decode(example["image"])
        truth = {
            "image_id": example["image_id"],
            "size": tf.shape(image)[:2],
            "num_objects": tf.shape(example["labels"])[0],
            **{key: example[key] for key in ("boxes", "labels", "areas", "is_crowd")},
        }
        return resized(image, recipe), truth

    examples = map_on_all_cores(source.examples(split).shard(*share), prepare)
    return examples.padded_batch(recipe.evaluation_batch_size).prefetch(tf.data.AUTOTUNE)


def resized(image: tf.Tensor, recipe: DetectionRecipe, antialias: bool = True) -> tf.Tensor:
    """Any uint8 picture to uint8 of the recipe's input size."""
    size = (recipe.height, recipe.width)
    return tf.ensure_shape(whole_grey_levels(resize(image, size, antialias)), (*size, 3))
