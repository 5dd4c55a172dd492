"""Masks as palette PNGs, and laid over the picture with a legend.

Masks are uint8 [height, width] of class ids, 255 for void.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from tasks.common.atomic_write import write_atomically
from tasks.common.pictures import BACKGROUND, WHITE, canvas_of, text_color
from tasks.segmentation.mean_iou import VOID


def palette() -> np.ndarray:
    """Colours of the masks of PASCAL VOC, for all 256 values; 255, void, is (224, 224, 192).

    From the lowest bits of the class id upwards, every third one goes to red, green and blue
    each, beginning with the highest bit of the colour (VOClabelcolormap.m of the VOC kit).

    Returns:
        uint8 [256, 3], RGB.
    """
    ids = np.arange(256)
    colors = np.zeros([256, 3], np.uint8)
    for bit in range(8):
        channel, step = bit % 3, bit // 3
        colors[:, channel] |= ((ids >> bit & 1) << 7 - step).astype(np.uint8)
    return colors


def write_mask(path: str | os.PathLike, mask: np.ndarray) -> None:
    """Writes a mask as a PNG with the palette of VOC, all or nothing; class ids are kept.

    Args:
        path: ends in .png.
        mask: uint8 [height, width].

    Raises:
        ValueError: for another array or another extension.
    """
    _check_mask(mask)
    if not os.fspath(path).lower().endswith(".png"):
        raise ValueError(f"{path}: masks are PNG files, use a name that ends in .png")
    image = Image.fromarray(mask).convert("L")
    image.putpalette(palette().tobytes())
    write_atomically(path, lambda temporary: image.save(temporary, format="PNG"))


def draw_overlay(
    image: np.ndarray, mask: np.ndarray, label_names: Sequence[str], opacity: float = 0.6
) -> np.ndarray:
    """The picture with its classes in colour, outlined, and below it a legend of those that occur.

    Pixels of class 0 stay as they are if its name is "background". The outline is the colour of
    the class, lightened where that is dark and darkened where it is light.

    Args:
        image: uint8 [height, width, 3], RGB.
        mask: uint8 [height, width]; 255 is drawn as "void".
        label_names: name of each class.
        opacity: of the colours, 0..1.

    Returns:
        uint8 [height + legend, width, 3], a new array; wider than the picture where a name in the
        legend is, and without legend if all is background.

    Raises:
        ValueError: if picture and mask are not of these types or of different size, a class has
            no name, or the opacity is out of range.
    """
    picture, _ = canvas_of(image)
    _check_mask(mask)
    if mask.shape != image.shape[:2]:
        raise ValueError(
            f"mask of {mask.shape[0]} x {mask.shape[1]} for a picture of {image.shape[0]} x "
            f"{image.shape[1]} (height x width): they must have the same size"
        )
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity={opacity!r} must be from 0 (invisible) to 1")
    names = _names_that_occur(mask, label_names)
    if not names:
        return np.array(picture)
    drawn = np.isin(mask, list(names))
    colors = palette()
    side = np.sqrt(image.shape[0] * image.shape[1])

    blended = Image.blend(picture, Image.fromarray(colors[mask]), opacity)
    picture.paste(blended, mask=Image.fromarray(drawn))
    # None on tiny pictures, whose regions would be all outline.
    outlined = drawn & _borders(mask, width=round(0.003 * side))
    outline = Image.fromarray(_outline_colors(colors)[mask])
    picture.paste(outline, mask=Image.fromarray(outlined))

    font = ImageFont.load_default(size=max(10, round(0.03 * side)))
    legend = _legend([(names[i], tuple(colors[i].tolist())) for i in names], picture.width, font)
    canvas = Image.new("RGB", (legend.width, picture.height + legend.height), BACKGROUND)
    canvas.paste(picture, (0, 0))
    canvas.paste(legend, (0, picture.height))
    return np.array(canvas)


def _names_that_occur(mask: np.ndarray, label_names: Sequence[str]) -> dict[int, str]:
    names = {}
    for class_id in np.unique(mask).tolist():
        if class_id != VOID and class_id >= len(label_names):
            raise ValueError(
                f"no name for class {class_id} of the mask: there are {len(label_names)} label "
                f"names, and {VOID} is void"
            )
        name = "void" if class_id == VOID else label_names[class_id]
        if (class_id, name) != (0, "background"):
            names[class_id] = name
    return names


def _borders(mask: np.ndarray, width: int) -> np.ndarray:
    """Whether another class is within `width` pixels, bool [height, width]."""
    # Not Pillow's filters, whose time grows with the square of the width.
    size = 2 * width + 1
    return ndimage.maximum_filter(mask, size) != ndimage.minimum_filter(mask, size)


def _outline_colors(colors: np.ndarray) -> np.ndarray:
    is_dark = np.array([text_color(color) == WHITE for color in colors])
    return (colors // 2 + 127 * is_dark[:, np.newaxis]).astype(np.uint8)


def _legend(
    entries: Sequence[tuple[str, tuple[int, int, int]]], width: int, font: ImageFont.FreeTypeFont
) -> Image.Image:
    """Swatch and name of every entry in rows; wider than `width` only where a single name is."""
    line = sum(font.getmetrics())
    gap = line // 2
    text_left = line + gap // 2
    cell_width = text_left + max(round(font.getlength(name)) for name, _ in entries) + 2 * gap
    row_height = line + gap // 2
    columns = max(1, min(width // cell_width, len(entries)))
    rows = -(-len(entries) // columns)
    size = (max(width, columns * cell_width), rows * row_height + 2 * gap)
    legend = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(legend)
    for i, (name, color) in enumerate(entries):
        left, top = gap + i % columns * cell_width, gap + i // columns * row_height
        draw.rectangle((left, top, left + line - 1, top + line - 1), fill=color, outline=WHITE)
        draw.text((left + text_left, top), name, font=font, fill=WHITE)
    return legend


def _check_mask(mask: np.ndarray) -> None:
    if mask.dtype != np.uint8 or mask.ndim != 2 or not mask.size:
        raise ValueError(
            f"not a mask: {mask.dtype} {list(mask.shape)}, expected uint8 [height, width]"
        )
