"""TFDS builder `shapes`: an object detection data set that is drawn in seconds, not downloaded.

Importing this module registers it: `tfds.load("shapes")`, `tfds.load("shapes/320")`, ...
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tasks.common.images import encode_png
from tasks.datasets.shapes_scene import LABEL_NAMES, draw_scene

_SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(eq=False)
class ShapesConfig(tfds.core.BuilderConfig):
    """What to draw. Without a `name` it gets one that tells all values, so no copy goes stale.

    Attributes:
        image_size: image side in pixels.
        train: images of the split, as `validation` and `test`.
        noise: standard deviation of Gaussian pixel noise, a fraction of the brightness range.
        seed: of all randomness; the splits draw from disjoint streams.
    """

    name: str = ""
    image_size: int = 192
    train: int = 3000
    validation: int = 500
    test: int = 500
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self):
        if min(self.train, self.validation, self.test) < 1:
            raise ValueError(
                f"each split needs at least one image; got train={self.train}, "
                f"validation={self.validation}, test={self.test}"
            )
        self.name = self.name or (
            f"{self.image_size}-{self.train}-{self.validation}-{self.test}"
            f"-noise{self.noise}-seed{self.seed}"
        )


class Shapes(tfds.core.GeneratorBasedBuilder):
    """Ten classes told apart by shape, on textured backgrounds, with boxes and instance masks."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = [
        ShapesConfig("192", description="192 x 192 pixels, the default."),
        ShapesConfig("192_noise", description="192 x 192 pixels with noise.", noise=0.1),
        ShapesConfig("96", description="96 x 96 pixels.", image_size=96),
        ShapesConfig("320", description="320 x 320 pixels.", image_size=320),
        ShapesConfig(
            "tiny",
            description="A few dozen pictures of 96 x 96 pixels, to try a program.",
            image_size=96,
            train=64,
            validation=32,
            test=32,
        ),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        side = self.builder_config.image_size
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(side, side, 3), encoding_format="jpeg"),
                "image/filename": tfds.features.Text(),
                "image/id": np.int64,
                "objects": tfds.features.Sequence(
                    {
                        "bbox": tfds.features.BBoxFeature(),
                        "label": tfds.features.ClassLabel(names=LABEL_NAMES),
                        "area": np.float32,
                        "is_crowd": np.bool_,
                        "id": np.int64,
                    }
                ),
                "instance_mask": tfds.features.Image(
                    shape=(side, side, 1),
                    encoding_format="png",
                    doc="0 = background, k = visible pixels of the k-th object (from 1)",
                ),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, description=self.__doc__)

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        del dl_manager  # nothing to download
        return {split: self._generate_examples(split) for split in _SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        config = self.builder_config
        stream = _SPLITS.index(split)
        for number in range(1, getattr(config, split) + 1):
            rng = np.random.default_rng((config.seed, stream, number))
            scene = draw_scene(rng, config.image_size, noise=config.noise)
            # Unique over the splits, so that results of several can be put into one file.
            image_id = stream * 1_000_000 + number
            yield (
                image_id,
                {
                    "image": _encode_jpeg(scene.image),
                    "image/filename": f"{split}_{number:06d}.jpg",
                    "image/id": image_id,
                    "objects": [
                        {
                            "bbox": tfds.features.BBox(*map(float, box)),
                            "label": int(label),
                            "area": area,
                            "is_crowd": False,
                            # From 1: the COCO evaluation takes 0 for "no object".
                            "id": image_id * 256 + k,
                        }
                        for k, (box, label, area) in enumerate(
                            zip(scene.boxes, scene.labels, scene.areas, strict=True), start=1
                        )
                    ],
                    "instance_mask": encode_png(scene.instance_mask),
                },
            )


def _encode_jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()
