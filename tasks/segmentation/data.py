"""From a segmentation source to batches: decode, scale, pad, crop, flip, batch."""

from __future__ import annotations

import tensorflow as tf

from tasks.common.color import photometric_distortion
from tasks.common.images import decode
from tasks.common.pipeline import WHOLE, map_on_all_cores, training_batches
from tasks.datasets.masks import VOID, decode_mask
from tasks.datasets.segmentation_source import SegmentationSource, open_segmentation_source
from tasks.segmentation.augmentation import random_crop, random_flip, random_scale
from tasks.segmentation.geometry import fit
from tasks.segmentation.recipes import SegmentationRecipe


def open_source(recipe: SegmentationRecipe) -> SegmentationSource:
    """The recipe's data set; prepares it where it is not prepared yet."""
    fields = (
        "data_dir",
        "voc_root",
        "sbd_root",
        "train_images",
        "train_masks",
        "validation_images",
        "validation_masks",
        "labels",
        "ignore_label",
    )
    return open_segmentation_source(
        recipe.dataset, **{name: getattr(recipe, name) for name in fields}
    )


def check_has_labels(source: SegmentationSource, split: str) -> None:
    """Raises ValueError if all pixels of the split are void."""
    for example in source.examples(split):
        if (decode_mask(example["mask"]).numpy() != VOID).any():
            return
    raise ValueError(
        f"data set {source.name}, split {split}: all pixels of all masks are void, there is "
        "nothing to learn or to measure; check the masks and the ignore label"
    )


def training_dataset(
    source: SegmentationSource,
    recipe: SegmentationRecipe,
    first_step: int = 0,
    context: tf.distribute.InputContext = WHOLE,
) -> tf.data.Dataset:
    """Endless shuffled batches for `fit`; the recipe's seed decides order and augmentation.

    Args:
        source: opened data set.
        first_step: steps that an interrupted run has behind it, see `seeded_examples`.
        context: which of how many input pipelines this is, see there; its batches are for one
            replica.

    Returns:
        Dataset of (images uint8 [batch, *crop_size, 3], masks uint8 [batch, *crop_size, 1]).
    """

    def prepare(example: dict[str, tf.Tensor], seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return augment(decode(example["image"]), decode_mask(example["mask"]), recipe, seed)

    return training_batches(source, recipe, prepare, first_step, context)


def augment(
    image: tf.Tensor, mask: tf.Tensor, recipe: SegmentationRecipe, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Augments one decoded example as the recipe says and cuts a training crop out of it."""
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
    image, mask = random_scale(
        image, mask, seeds[0], recipe.size, recipe.min_scale, recipe.max_scale, recipe.scale_step
    )
    if recipe.photometric:  # before the crop, whose padding is to stay the network's zero
        image = photometric_distortion(image, seeds[3])
    image, mask = random_crop(image, mask, seeds[1], recipe.crop_size, recipe.foreground_crops)
    if recipe.flip:
        image, mask = random_flip(image, mask, seeds[2])
    return image, mask


def evaluation_dataset(
    source: SegmentationSource,
    recipe: SegmentationRecipe,
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
        Dataset of (images uint8 [batch, height, width, 3], truth), truth being a dict of mask
        [batch], the encoded masks at the images' original sizes, and valid int32 [batch, 2], the
        part of each image that is not padding.
    """

    def prepare(example: dict[str, tf.Tensor]):
        image, valid = fit(decode(example["image"]), recipe.size)
        return image, {"mask": example["mask"], "valid": valid}

    examples = map_on_all_cores(source.examples(split).shard(*share), prepare)
    return examples.batch(recipe.evaluation_batch_size).prefetch(tf.data.AUTOTUNE)
