"""Photos with labels, boxes and masks, as files that the input pipelines of all tasks can read.

The pictures are drawn, with as much detail as gives their JPEGs the size of real ones, or the
user's own; what is annotated in them is random. Each image is stored once for the pipelines of
`tasks` and once, in the same bytes, as a tf.train.Example of tf-models-official.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from benchmarking import InputError
from PIL import Image, ImageDraw

from tasks.common.images import encode_upright
from tasks.common.picture_files import find_pictures

# Of ImageNet, COCO and PASCAL VOC with its background.
CLASSES = {"classification": 1000, "detection": 80, "segmentation": 21}
# COCO has 7.3 in an image.
MOST_OBJECTS = 14


@dataclass(frozen=True)
class Photo:
    """An encoded image and what is annotated in it.

    Attributes:
        name: unique.
        jpeg: the encoded image.
        size: (height, width) in pixels.
        boxes: float32 [n, 4], normalised [ymin, xmin, ymax, xmax].
        labels: int64 [n], from 0 on; below the number of classes of every task.
        mask: encoded PNG of the same size, the objects as ellipses of their label plus 1.
    """

    name: str
    jpeg: bytes
    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray
    mask: bytes


def drawn_photos(count: int, size: tuple[int, int]) -> Iterator[Photo]:
    """The same drawn photos for the same arguments; `size` is (height, width)."""
    for number in range(count):
        generator = np.random.default_rng(number)
        boxes, labels = _objects(generator)
        image = _background(generator, size)
        _draw(image, boxes, [tuple(generator.integers(0, 256, 3).tolist()) for _ in boxes])
        # Surfaces have a texture, and sensors noise.
        pixels = np.asarray(image) + generator.normal(0, 6, (*size, 1))
        jpeg = _encoded(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), "JPEG")
        yield _annotated(f"{number:06}", jpeg, size, boxes, labels)


def own_photos(folder: str | Path, count: int) -> Iterator[Photo]:
    """The first `count` JPEG photos of a folder, with random annotations.

    Raises:
        InputError: there are no readable JPEG photos.
    """
    try:
        paths = find_pictures([str(folder)])
    except ValueError as error:
        raise InputError(error) from None
    found = 0
    for path in paths:
        try:
            jpeg = encode_upright(path)
        except ValueError:
            continue
        if not jpeg.startswith(b"\xff\xd8"):
            continue
        width, height = Image.open(io.BytesIO(jpeg)).size
        boxes, labels = _objects(np.random.default_rng(found))
        yield _annotated(f"{found:06}", jpeg, (height, width), boxes, labels)
        found += 1
        if found == count:
            return
    if not found:
        raise InputError(f"{folder}: there are no readable, upright JPEG photos in this folder")


def write_inputs(folder: Path, tasks: Sequence[str], photos: Sequence[Photo]) -> None:
    """Writes what the pipelines of the tasks read, for both sides; see `input_pipelines`."""
    images = folder / "images"
    images.mkdir()
    for photo in photos:
        (images / f"{photo.name}.jpg").write_bytes(photo.jpeg)
    for task in tasks:
        with tf.io.TFRecordWriter(str(folder / f"{task}.tfrecord")) as writer:
            for photo in photos:
                writer.write(_EXAMPLES[task](photo).SerializeToString())
        _WRITERS[task](folder, photos)


def _objects(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    count = generator.integers(1, MOST_OBJECTS + 1)
    sides = np.exp(generator.uniform(np.log(0.05), np.log(0.7), (count, 2)))
    corners = generator.uniform(0, 1 - sides)
    boxes = np.concatenate([corners, corners + sides], axis=-1).astype(np.float32)
    return boxes, generator.integers(0, min(CLASSES.values()) - 1, count)


def _background(generator: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Smooth noise of all wavelengths; the shorter, the weaker, as in nature."""
    height, width = size
    pixels = np.full((*size, 3), 128.0)
    for octave in range(8):
        cells = 2 ** (octave + 1)
        noise = generator.normal(0, 50 / 1.5**octave, (cells, cells, 3))
        for channel in range(3):
            layer = Image.fromarray(noise[..., channel].astype(np.float32))
            pixels[..., channel] += np.asarray(layer.resize((width, height), Image.BICUBIC))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _draw(image: Image.Image, boxes: np.ndarray, fills: Sequence) -> None:
    draw = ImageDraw.Draw(image)
    scale = np.array([image.height, image.width] * 2)
    for (top, left, bottom, right), fill in zip(boxes * scale, fills, strict=True):
        draw.ellipse((left, top, right, bottom), fill=fill)


def _annotated(
    name: str, jpeg: bytes, size: tuple[int, int], boxes: np.ndarray, labels: np.ndarray
) -> Photo:
    mask = Image.new("L", size[::-1])
    _draw(mask, boxes, (labels + 1).tolist())
    return Photo(name, jpeg, size, boxes, labels, _encoded(mask, "PNG"))


def _encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return file.getvalue()


def _write_classification(folder: Path, photos: Sequence[Photo]) -> None:
    names = [f"class {number}" for number in range(CLASSES["classification"])]
    (folder / "classes.txt").write_text("\n".join(names) + "\n")
    lines = [f"{photo.name}.jpg\t{photo.labels[0]}\n" for photo in photos]
    (folder / "classification.txt").write_text("".join(lines))


def _write_detection(folder: Path, photos: Sequence[Photo]) -> None:
    images, annotations = [], []
    for image_id, photo in enumerate(photos, start=1):
        height, width = photo.size
        file_name = f"{photo.name}.jpg"
        images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        for box, label in zip(photo.boxes.tolist(), photo.labels.tolist(), strict=True):
            top, left, bottom, right = box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": label + 1,
                    "bbox": [
                        left * width,
                        top * height,
                        (right - left) * width,
                        (bottom - top) * height,
                    ],
                    "iscrowd": 0,
                }
            )
    categories = [
        {"id": number, "name": f"category {number}"}
        for number in range(1, CLASSES["detection"] + 1)
    ]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "instances.json").write_text(json.dumps(content))


def _write_segmentation(folder: Path, photos: Sequence[Photo]) -> None:
    names = [f"class {number}" for number in range(CLASSES["segmentation"])]
    (folder / "labels.txt").write_text("\n".join(names) + "\n")
    masks = folder / "masks"
    masks.mkdir()
    for photo in photos:
        (masks / f"{photo.name}.png").write_bytes(photo.mask)


def _classification_example(photo: Photo) -> tf.train.Example:
    return _example(
        {"image/encoded": photo.jpeg, "image/class/label": photo.labels[:1]},
    )


def _detection_example(photo: Photo) -> tf.train.Example:
    sides = dict(zip(("ymin", "xmin", "ymax", "xmax"), photo.boxes.T, strict=True))
    return _example(
        {
            "image/encoded": photo.jpeg,
            "image/source_id": photo.name.encode(),
            "image/height": [photo.size[0]],
            "image/width": [photo.size[1]],
            **{f"image/object/bbox/{side}": values for side, values in sides.items()},
            "image/object/class/label": photo.labels + 1,
        }
    )


def _segmentation_example(photo: Photo) -> tf.train.Example:
    return _example(
        {
            "image/encoded": photo.jpeg,
            "image/height": [photo.size[0]],
            "image/width": [photo.size[1]],
            "image/segmentation/class/encoded": photo.mask,
        }
    )


def _example(values: dict[str, bytes | Sequence[int] | np.ndarray]) -> tf.train.Example:
    def feature(value: bytes | Sequence[int] | np.ndarray) -> tf.train.Feature:
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if np.asarray(value).dtype.kind == "f":
            return tf.train.Feature(float_list=tf.train.FloatList(value=value))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))

    features = {name: feature(value) for name, value in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=features))


_WRITERS = {
    "classification": _write_classification,
    "detection": _write_detection,
    "segmentation": _write_segmentation,
}
_EXAMPLES = {
    "classification": _classification_example,
    "detection": _detection_example,
    "segmentation": _segmentation_example,
}
