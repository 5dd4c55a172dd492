"""Images with label masks: checked before anything is written, and how TFDS stores them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from tasks.common.images import ImageError, encode_png, encode_upright, inspect
from tasks.datasets.file_checks import look_at_all
from tasks.datasets.mask_labels import MaskLabels
from tasks.datasets.masks import MaskError, read_mask


@dataclass(frozen=True)
class MaskPair:
    """An image file and the file that labels its pixels.

    Attributes:
        name: unique in the split.
        image: any picture.
        mask: what `read` reads.
        read: mask file -> uint8 [height, width].
    """

    name: str
    image: Path
    mask: Path
    read: Callable[[Path], np.ndarray] = read_mask


def check_pairs(pairs: Sequence[MaskPair], labels: MaskLabels, title: str) -> None:
    """Reads all images and masks.

    Args:
        pairs: of a split.
        labels: which values the masks may have.
        title: of the progress bar on a terminal.

    Raises:
        MaskError: the first unusable file, and how many others there are.
    """
    checks = look_at_all(
        lambda pair: _check_pair(pair, labels), pairs, title, (ImageError, MaskError)
    )
    problems = [str(problem) for _, problem in checks if problem]
    if problems:
        others = f" ({len(problems) - 1} more files have problems)" if len(problems) > 1 else ""
        raise MaskError(problems[0] + others)


def _check_pair(pair: MaskPair, labels: MaskLabels) -> None:
    info = inspect(pair.image)
    mask = pair.read(pair.mask)
    if mask.shape != (info.height, info.width):
        turned = info.rotated and mask.shape == (info.width, info.height)
        remedy = (
            "its EXIF tag rotates the image and the mask belongs to the unrotated pixels; remove "
            "the tag from the image (exiftool -Orientation= FILE) or rotate the mask"
            if turned
            else "label the image as it is displayed, or put the right image there"
        )
        raise MaskError(
            f"{pair.mask}: the mask has {mask.shape[1]} x {mask.shape[0]} pixels but its image "
            f"{pair.image} is displayed with {info.width} x {info.height}; {remedy}"
        )
    try:
        labels.class_ids(mask)
    except ValueError as error:
        raise MaskError(
            f"{pair.mask} (mask of {pair.image}): {error}; correct the mask, the class names or "
            "the ignore label"
        ) from error


def mask_features(label_names: Sequence[str]) -> tfds.features.FeaturesDict:
    """Features of a data set of pairs; the mask is an 8-bit grey PNG, 255 = void."""
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(),
            "image/filename": tfds.features.Text(),
            "segmentation_mask": tfds.features.LabeledImage(
                labels=list(label_names), shape=(None, None, 1), encoding_format="png"
            ),
        }
    )


def pair_examples(
    pairs: Sequence[MaskPair], labels: MaskLabels
) -> Iterator[tuple[str, dict[str, str | bytes]]]:
    """Keys and examples, with the features of `mask_features`, of checked pairs."""
    for pair in pairs:
        yield (
            pair.name,
            {
                "image": encode_upright(pair.image),
                "image/filename": pair.image.name,
                "segmentation_mask": encode_png(labels.class_ids(pair.read(pair.mask))),
            },
        )
