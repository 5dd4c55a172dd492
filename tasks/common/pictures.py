"""Pictures out: class colours, contact sheets, files."""

from __future__ import annotations

import colorsys
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tasks.common.atomic_write import write_bytes

Color = tuple[int, int, int]

WHITE, BLACK, BACKGROUND = (255, 255, 255), (0, 0, 0), (32, 32, 32)


def contact_sheet(images: Sequence[np.ndarray], columns: int, gap: int = 4) -> np.ndarray:
    """Puts images, which may differ in size, side by side, row by row.

    Args:
        images: uint8 [height, width, 3] each; at least one.
        columns: images in a row.
        gap: pixels between and around them.

    Returns:
        uint8 [sheet height, sheet width, 3].

    Raises:
        ValueError: if there is no image or no column.
    """
    if not len(images) or columns < 1:
        raise ValueError(
            f"a contact sheet needs an image and a column, got {len(images)} images "
            f"and {columns} columns"
        )
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height, width = np.max([image.shape[:2] for image in images], axis=0) + gap
    sheet = np.full([rows * height + gap, columns * width + gap, 3], BACKGROUND, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * height + gap, i % columns * width + gap
        sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    return sheet


def write_picture(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes uint8 [height, width, 3] in the format of the file's extension, all or nothing.

    Raises:
        ValueError: if the extension is not that of a picture format.
    """
    extension = Path(path).suffix.lower()
    if extension not in Image.registered_extensions():
        raise ValueError(f"{path}: no picture format {extension!r}, use .png or .jpg")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=Image.registered_extensions()[extension])
    write_bytes(path, buffer.getvalue())


def class_color(label: int) -> Color:
    """A bright RGB colour for each label; neighbouring labels differ clearly."""
    # Steps of the golden ratio never come back to a hue, and spread any number of them evenly.
    hue = label * 0.618033988749895 % 1.0
    saturation, value = ((0.95, 1.0), (0.55, 1.0), (0.9, 0.75))[label // 12 % 3]
    red, green, blue = (round(255 * x) for x in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def text_color(plate: Color) -> Color:
    """Black or white, whichever can be read on a plate of this colour."""
    return BLACK if np.dot(plate, (0.299, 0.587, 0.114)) > 128 else WHITE


def canvas_of(image: np.ndarray) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A copy of uint8 [height, width, 3] to draw on, and what draws on it.

    Raises:
        ValueError: for any other array.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"cannot draw on {image.dtype} {list(image.shape)}: needs uint8 [height, width, 3]"
        )
    canvas = Image.fromarray(image).copy()
    return canvas, ImageDraw.Draw(canvas)
