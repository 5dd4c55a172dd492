"""From a classification source to batches: decode a part, resize, distort, batch, mix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from tasks.classification.augmentation import (
    color_distortion,
    learned_policy,
    mixup,
    random_window,
)
from tasks.classification.recipes import ClassificationRecipe
from tasks.common.chance import apply_if, coin
from tasks.common.images import decode, decode_window, decoded_size, whole_grey_levels
from tasks.common.pipeline import WHOLE, map_on_all_cores, training_batches
from tasks.datasets.classification_source import ClassificationSource, open_classification_source

# Fields of the recipe with the paths of a class_directory.
FILE_FIELDS = (
    "train_images",
    "validation_images",
    "train_list",
    "validation_list",
    "class_names",
)


def open_source(recipe: ClassificationRecipe) -> ClassificationSource:
    """The recipe's data set; prepares it where it is not prepared yet."""
    fields = ("data_dir", *FILE_FIELDS, "skip_broken")
    return open_classification_source(
        recipe.dataset, **{name: getattr(recipe, name) for name in fields}
    )


def skipped_files(
    source: ClassificationSource, recipe: ClassificationRecipe
) -> dict[str, list[str]]:
    """Paths of the unreadable files that the recipe's data set leaves out, by split."""
    return {
        split: [str(Path(getattr(recipe, f"{split}_images"), name)) for name in names]
        for split, names in source.skipped.items()
    }


def training_dataset(
    source: ClassificationSource,
    recipe: ClassificationRecipe,
    first_step: int = 0,
    context: tf.distribute.InputContext = WHOLE,
) -> tf.data.Dataset:
    """Endless shuffled batches for `fit`.

    The recipe's seed decides order and augmentation.

    Args:
        source: opened data set.
        first_step: steps that an interrupted run has behind it, see `seeded_examples`.
        context: which of how many input pipelines this is, see there; its batches are for one
            replica.

    Returns:
        Dataset of (images uint8 [batch, height, width, 3], labels float32 [batch, classes]); with
        class weights a third, float32 [batch], the weight of each example.
    """
    num_classes = len(source.label_names)
    distort = learned_policy(recipe) if recipe.policy != "none" else None
    weights = (
        balanced_weights(source, recipe.train_split) if recipe.class_weights != "none" else None
    )

    def prepare(example: dict[str, tf.Tensor], seed: tf.Tensor):
        label = checked_label(example, num_classes)
        image = random_view(example["image"], recipe, seed)
        if distort:
            # Draws that views do not use, as those of mixup below.
            image = distort(image, tf.random.experimental.stateless_fold_in(seed, 2))
        # The library forgets the shape.
        image = tf.ensure_shape(image, [recipe.height, recipe.width, 3])
        return image, tf.one_hot(label, num_classes), seed

    def finish(images: tf.Tensor, labels: tf.Tensor, seeds: tf.Tensor):
        if recipe.mixup_alpha:
            # A draw that no image has had: folded in is a number that views do not use.
            seed = tf.random.experimental.stateless_fold_in(seeds[0], 1)
            images, labels = mixup(images, labels, recipe.mixup_alpha, seed)
        return (
            (images, labels)
            if weights is None
            else (images, labels, tf.linalg.matvec(labels, weights))
        )

    return training_batches(source, recipe, prepare, first_step, context, finish)


def random_view(encoded: tf.Tensor, recipe: ClassificationRecipe, seed: tf.Tensor) -> tf.Tensor:
    """A random part of an encoded image at the recipe's input size, of a JPEG decoded alone.

    Resizing is bilinear without antialias, in evaluation too: so slim's weights were trained.

    Returns:
        uint8 [height, width, 3].
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    window = random_window(decoded_size(encoded), seeds[0], recipe.min_area, recipe.aspect_ratio)
    image = _resize(decode_window(encoded, window, fast=True), recipe.height, recipe.width)
    if recipe.flip:
        image = apply_if(coin(seeds[1], 0.5), lambda x: tf.reverse(x, axis=[1]), image)
    if recipe.color_distortion == "none":
        return image
    return color_distortion(image, seeds[2], recipe.color_distortion)


def central_part(encoded: tf.Tensor, recipe: ClassificationRecipe) -> tf.Tensor:
    """The middle of an encoded image, which evaluation shows the network, in its own size."""
    return tf.image.central_crop(decode(encoded, fast=True), recipe.central_crop)


def central_view(encoded: tf.Tensor, recipe: ClassificationRecipe) -> tf.Tensor:
    """The middle of an encoded image at the recipe's input size, uint8 [height, width, 3]."""
    return _resize(central_part(encoded, recipe), recipe.height, recipe.width)


def evaluation_dataset(
    source: ClassificationSource,
    recipe: ClassificationRecipe,
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
        Dataset of (images uint8 [batch, height, width, 3], labels int32 [batch]).
    """
    num_classes = len(source.label_names)

    def prepare(example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return central_view(example["image"], recipe), checked_label(example, num_classes)

    examples = map_on_all_cores(source.examples(split).shard(*share), prepare)
    return examples.batch(recipe.evaluation_batch_size).prefetch(tf.data.AUTOTUNE)


def checked_label(example: dict[str, tf.Tensor], num_classes: int) -> tf.Tensor:
    """The label of an element; an error that names the file where there is no such class."""
    label = example["label"]
    check = tf.debugging.Assert(
        (label >= 0) & (label < num_classes),
        [
            "label",
            label,
            f"where there are {num_classes} classes, counted from 0:",
            example["filename"],
        ],
    )
    with tf.control_dependencies([check]):
        return tf.identity(label)


def balanced_weights(source: ClassificationSource, split: str) -> np.ndarray:
    """Weights that make all classes count alike and are 1 on the average example.

    Returns:
        float32 [classes]: examples / (classes * examples of the class); 0 for a class without.
    """
    counts = np.zeros([len(source.label_names)], np.int64)
    for batch in source.labels(split).batch(1024).as_numpy_iterator():
        counts += np.bincount(batch, minlength=len(counts))
    weights = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1)) * (counts > 0)
    return weights.astype(np.float32)


def _resize(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
    return whole_grey_levels(tf.image.resize(image, (height, width)))
