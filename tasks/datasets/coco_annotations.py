"""Reads one split of a COCO-format data set and checks every record before anything uses it."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from tasks.common.images import ImageError, ImageInfo, inspect
from tasks.datasets.coco_json import (
    AnnotationError,
    Problems,
    check_categories,
    is_id,
    is_number,
    load_json,
    unique_ids,
)
from tasks.datasets.file_checks import look_at_all

# Boxes may stick out of the image by the rounding of an annotation tool; they are clipped.
ROUNDING_PIXELS = 2.0


@dataclass(frozen=True)
class CocoObject:
    """One annotation: `box` is normalised yxyx in [0, 1], `area` is in pixels."""

    id: int
    category_id: int
    box: tuple[float, float, float, float]
    area: float
    is_crowd: bool


@dataclass(frozen=True)
class CocoImage:
    """One image of a split, checked to be readable."""

    id: int
    file_name: str
    path: Path
    info: ImageInfo
    objects: tuple[CocoObject, ...]


@dataclass(frozen=True)
class CocoSplit:
    """Categories (id -> name, ascending ids) and images of one split."""

    categories: dict[int, str]
    images: tuple[CocoImage, ...]


def read_split(
    annotations: str | os.PathLike,
    images: str | os.PathLike,
    *,
    drop_invalid_boxes: bool = False,
) -> CocoSplit:
    """Reads and checks annotations and all image files.

    Args:
        annotations: JSON file with `images`, `annotations` and `categories`.
        images: folder to which the `file_name`s are relative.
        drop_invalid_boxes: leave out boxes without extent or outside of their image (COCO's own
            train2017 has two without height) instead of refusing the data set.

    Raises:
        AnnotationError: with up to ten of the problems found in this split.
    """
    if not Path(images).is_dir():
        raise AnnotationError(f"{images}: there is no such folder of images; check the path")
    content = load_json(annotations)
    categories = check_categories(annotations, content["categories"])
    if not content["images"]:
        raise AnnotationError(f"{annotations}: 'images' is empty; a split needs at least one image")
    problems = Problems(annotations)
    records = _image_records(content["images"], problems)
    problems.raise_any()  # all else refers to the images
    infos = _inspect_files(records, Path(images), problems)
    objects = defaultdict(list)
    known = unique_ids(content["annotations"], "annotation", problems)
    for record in known.values():
        _check_annotation(record, records, infos, categories, drop_invalid_boxes, objects, problems)
    problems.raise_any()
    return CocoSplit(
        categories,
        tuple(
            CocoImage(
                image_id,
                record["file_name"],
                Path(images) / record["file_name"],
                infos[image_id],
                tuple(objects[image_id]),
            )
            for image_id, record in records.items()
        ),
    )


def _image_records(images: list[dict], problems: Problems) -> dict[int, dict]:
    records = unique_ids(images, "image", problems)
    for image_id, record in records.items():
        if not isinstance(record.get("file_name"), str) or not record["file_name"]:
            problems.add(
                f"image id {image_id}: 'file_name' must be a text, not {record.get('file_name')!r}"
            )
    return records


def _inspect_files(
    records: dict[int, dict], folder: Path, problems: Problems
) -> dict[int, ImageInfo]:
    """Decodes all files."""
    infos = {}
    for (image_id, record), look in look_at_all(
        lambda item: inspect(folder / item[1]["file_name"]),
        list(records.items()),
        f"Checking images of {folder}",
        ImageError,
    ):
        if isinstance(look, ImageError):
            problems.add(f"image id {image_id}: {look}")
            continue
        infos[image_id] = look
        _check_size(image_id, record, look, problems)
    return infos


def _check_size(image_id: int, record: dict, info: ImageInfo, problems: Problems) -> None:
    """Compares with the size in the annotations, where it is given."""
    size = (record.get("height", info.height), record.get("width", info.width))
    if size == (info.height, info.width):
        return
    told = (
        f"image id {image_id} ({record['file_name']}): 'height', 'width' are {size[0]}, {size[1]} "
        f"but the file is displayed with {info.height}, {info.width}"
    )
    if info.rotated and size == (info.width, info.height):
        problems.add(
            f"{told}: its EXIF tag rotates it and the boxes belong to the unrotated pixels; "
            "remove the tag from the file (exiftool -Orientation= FILE) or annotate it as displayed"
        )
    else:
        problems.add(f"{told}; put the annotated file there or export the annotations again")


def _check_annotation(
    record: dict,
    images: dict[int, dict],
    infos: dict[int, ImageInfo],
    categories: dict[int, str],
    drop_invalid_boxes: bool,
    objects: dict[int, list[CocoObject]],
    problems: Problems,
) -> None:
    """Appends the annotation to the objects of its image or tells what is wrong with it."""
    image_id, category_id = record.get("image_id"), record.get("category_id")
    name = f"annotation id {record['id']} (image id {image_id!r})"
    if not is_id(image_id) or image_id not in images:
        problems.add(f"{name}: no image has this 'image_id'; add the image or drop the annotation")
        return
    if not is_id(category_id) or category_id not in categories:
        problems.add(
            f"{name}: 'category_id' {category_id!r} is not among the categories; add or correct it"
        )
        return
    bbox, crowd = record.get("bbox"), record.get("iscrowd", 0)
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, bbox)):
        problems.add(f"{name}: 'bbox' must be four numbers [x, y, width, height], not {bbox!r}")
        return
    area = record.get("area", bbox[2] * bbox[3])
    if not is_number(area) or area < 0:
        problems.add(f"{name}: 'area' must be a number >= 0, not {area!r}; correct or remove it")
        return
    if crowd not in (0, 1):
        problems.add(f"{name}: 'iscrowd' must be 0 or 1, not {crowd!r}")
        return
    if image_id not in infos:
        return  # its file is a problem already
    try:
        box = _normalised(bbox, infos[image_id])
    except ValueError as error:
        if not drop_invalid_boxes:
            problems.add(
                f"{name}: 'bbox' {bbox} {error}; correct it, or leave out all such boxes "
                "with drop_invalid_boxes (--drop-invalid-boxes)"
            )
        return
    objects[image_id].append(CocoObject(record["id"], category_id, box, float(area), bool(crowd)))


def _normalised(bbox: list[float], info: ImageInfo) -> tuple[float, float, float, float]:
    x, y, width, height = bbox
    if width <= 0 or height <= 0:
        raise ValueError("has no positive width and height")
    slack = ROUNDING_PIXELS
    if (
        x < -slack
        or y < -slack
        or x + width > info.width + slack
        or y + height > info.height + slack
    ):
        raise ValueError(f"lies outside of its image of {info.width} x {info.height} pixels")
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = min(x + width, info.width), min(y + height, info.height)
    if right <= left or bottom <= top:
        raise ValueError(f"lies outside of its image of {info.width} x {info.height} pixels")
    return (top / info.height, left / info.width, bottom / info.height, right / info.width)
