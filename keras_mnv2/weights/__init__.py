"""Published weights: reading them, checking them, loading them into our models."""

from keras_mnv2.weights.building import import_model
from keras_mnv2.weights.importing import LoadReport
from keras_mnv2.weights.inspection import WeightsInfo, inspect
from keras_mnv2.weights.labels import COCO_CATEGORIES, COCO_CATEGORY_IDS, VOC_CLASSES, label_map
from keras_mnv2.weights.loading import load_weights
from keras_mnv2.weights.registry import PublishedWeights, published
from keras_mnv2.weights.tensors import WeightsError

__all__ = [
    "COCO_CATEGORIES",
    "COCO_CATEGORY_IDS",
    "LoadReport",
    "PublishedWeights",
    "VOC_CLASSES",
    "WeightsError",
    "WeightsInfo",
    "import_model",
    "inspect",
    "label_map",
    "load_weights",
    "published",
]
