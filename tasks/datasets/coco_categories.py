"""The 80 categories of COCO as labels of data sets.

Labels are the positions in the table of categories, whose ids 1..90 have ten holes; this is also
the order of the labels in TFDS `coco/2014` and `coco/2017`.
"""

from __future__ import annotations

from keras_mnv2.weights import COCO_CATEGORIES, COCO_CATEGORY_IDS

COCO_LABEL_NAMES = tuple(COCO_CATEGORIES.values())

__all__ = ["COCO_CATEGORIES", "COCO_CATEGORY_IDS", "COCO_LABEL_NAMES"]
