"""A small data set in COCO format on disk, to be damaged by tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}, {"id": 90, "name": "cup"}]


def content() -> dict:
    """Two images, the second without objects; ids are sparse and in no order."""
    return {
        "images": [
            {"id": 7, "file_name": "b.png", "height": 40, "width": 60},
            {"id": 5, "file_name": "a.jpg", "height": 50, "width": 100},
        ],
        "categories": [dict(category) for category in CATEGORIES],
        "annotations": [
            annotation(11, category_id=90, bbox=[10, 5, 20, 30], area=321.5),
            annotation(12, category_id=3, bbox=[0, 0, 100, 50], iscrowd=1),
        ],
    }


def annotation(identity: int, **fields) -> dict:
    """An annotation of image 5 that is fine unless told otherwise."""
    return {
        "id": identity,
        "image_id": 5,
        "category_id": 18,
        "bbox": [1, 2, 3, 4],
        "area": 12,
        "iscrowd": 0,
        "segmentation": [],
    } | fields


def write(folder: Path, data: dict | None = None) -> tuple[Path, Path]:
    """Writes the images and the JSON; returns (folder of images, JSON)."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0)
    Image.fromarray(noise.integers(0, 256, (50, 100, 3), np.uint8)).save(images / "a.jpg")
    Image.fromarray(noise.integers(0, 256, (40, 60, 3), np.uint8)).save(images / "b.png")
    path = folder / "instances.json"
    path.write_text(json.dumps(content() if data is None else data))
    return images, path
