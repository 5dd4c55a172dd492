"""A data set seen through some of its categories."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tasks.datasets.detection_source import DetectionSource


def select_categories(source: DetectionSource, names: Sequence[str]) -> DetectionSource:
    """Keeps the objects of the named categories; all images stay, also those left without any.

    Args:
        names: label names of the source; their order is that of the new labels.

    Returns:
        A source with labels 0..len(names) - 1 and the category ids that belong to them.

    Raises:
        ValueError: if a name is not a label of the source, or is repeated.
    """
    unknown = [name for name in names if name not in source.label_names]
    if unknown or len(set(names)) != len(names) or not names:
        raise ValueError(
            f"categories {list(names)}: {f'{unknown} are not' if unknown else 'repeated or none'} "
            f"in data set {source.name}, which has {', '.join(source.label_names)}"
        )
    old_labels = [source.label_names.index(name) for name in names]
    new_labels = np.full(len(source.label_names), -1, np.int32)
    new_labels[old_labels] = np.arange(len(names))

    def select(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        labels = tf.gather(new_labels, example["labels"])
        objects = {key: example[key] for key in ("boxes", "areas", "is_crowd")}
        kept = {
            key: tf.boolean_mask(value, labels >= 0)
            for key, value in {**objects, "labels": labels}.items()
        }
        return {**example, **kept}

    return dataclasses.replace(
        source,
        label_names=tuple(names),
        category_ids=tuple(source.category_ids[label] for label in old_labels),
        read=lambda *arguments: source.read(*arguments).map(select),
    )
