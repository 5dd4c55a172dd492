"""The confusion matrix and the worst images as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tasks.common.pictures import BACKGROUND, WHITE, Color, contact_sheet, text_color

_RIGHT: Color = (96, 208, 96)
_WRONG: Color = (255, 112, 96)
# With more classes there is no room for names and numbers.
_NAMED_CLASSES = 60
_LONGEST_SIDE = 1024
_TITLE_HEIGHT = 20
# Of so many classes one has its index written, the first that leaves room for the digits.
_TICK_STEPS = (2, 5, 10, 20, 50)
_TICK_DISTANCE = 24


def draw_confusion(confusion: np.ndarray, label_names: Sequence[str]) -> np.ndarray:
    """A confusion matrix, true classes downwards and predicted classes to the right.

    The brightness of a cell is the share of the true class that it has; the diagonal is green,
    errors are red. Classes that no example has and that none is taken for are left out. Up to 60
    classes have their names and counts written; of more, each is a line of a few pixels, and some
    have their indices beside it.

    Args:
        confusion: int [n, n].
        label_names: of the n classes.

    Returns:
        uint8 [height, width, 3].
    """
    found = np.flatnonzero(confusion.sum(axis=0) + confusion.sum(axis=1))
    confusion, label_names = confusion[np.ix_(found, found)], [label_names[i] for i in found]
    count = len(confusion)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    colors = np.where(np.eye(count, dtype=bool)[..., np.newaxis], _RIGHT, _WRONG)
    # The root lets a single error in a hundred be seen.
    strength = np.sqrt(shares)[..., np.newaxis]
    cells = (BACKGROUND + strength * (colors - np.array(BACKGROUND))).round().astype(np.uint8)
    font = ImageFont.load_default(size=13)
    if count > _NAMED_CLASSES:
        side = max(1, _LONGEST_SIDE // count)
        every = next(step for step in _TICK_STEPS if step * side >= _TICK_DISTANCE)
        indices = {i: str(found[i]) for i in range(0, count, every)}
        canvas, _ = _with_axes(cells, side, indices, " (index of the class)", font)
        return np.array(canvas)

    side = max(24, round(max(font.getlength(str(n)) for n in confusion.flat)) + 8)
    names = {i: _shortened(name, font, 160) for i, name in enumerate(label_names)}
    canvas, margin = _with_axes(cells, side, names, "", font)
    draw = ImageDraw.Draw(canvas)
    for (row, column), number in np.ndenumerate(confusion):
        if number:
            center = (margin + column * side + side // 2, margin + row * side + side // 2)
            fill = text_color(tuple(cells[row, column].tolist()))
            draw.text(center, str(number), font=font, fill=fill, anchor="mm")
    return np.array(canvas)


def _with_axes(
    cells: np.ndarray,
    side: int,
    labels: Mapping[int, str],
    what: str,
    font: ImageFont.FreeTypeFont,
) -> tuple[Image.Image, int]:
    """A matrix of cells with titles and labels on its left and above it.

    Args:
        cells: uint8 [n, n, 3], the colours.
        side: of a cell, in pixels.
        labels: texts of some rows, which are those of the columns, too.
        what: the labels are, for the titles.

    Returns:
        The picture, and the width of the margins.
    """
    strip = round(max(font.getlength(text) for text in labels.values())) + 14
    margin, length = _TITLE_HEIGHT + strip, len(cells) * side
    canvas = Image.new("RGB", (margin + length + 1,) * 2, BACKGROUND)
    grid = Image.fromarray(cells).resize((length,) * 2, Image.Resampling.NEAREST)
    canvas.paste(grid, (margin, margin))
    draw = ImageDraw.Draw(canvas)
    for i, text in labels.items():
        middle = margin + i * side + side // 2
        draw.text((margin - 8, middle), text, font=font, fill=WHITE, anchor="rm")
        draw.line((margin - 3, middle, margin - 1, middle), fill=WHITE)
        canvas.paste(_upright(text, font, strip), (middle - 8, _TITLE_HEIGHT))
        draw.line((middle, margin - 3, middle, margin - 1), fill=WHITE)
    rows, columns = f"annotated{what}", f"predicted{what}"
    width = round(max(font.getlength(text) for text in (rows, columns))) + 14
    # In the middle, unless a small matrix has too little room to the right.
    begin = min(margin + (length - width) // 2, canvas.width - width)
    draw.text((begin + 8, 2), columns, font=font, fill=WHITE)
    canvas.paste(_upright(rows, font, width), (2, begin))
    return canvas, margin


def captioned(image: np.ndarray, lines: Sequence[tuple[str, Color]], side: int) -> np.ndarray:
    """A picture fitted into a square, with lines of text below it.

    Args:
        image: uint8 [height, width, 3].
        lines: texts and their colours; what is too long is shortened.
        side: of the square, in pixels.

    Returns:
        uint8 [side + text, side, 3].
    """
    font = ImageFont.load_default(size=13)
    line = sum(font.getmetrics()) + 2
    canvas = Image.new("RGB", (side, side + line * len(lines)), BACKGROUND)
    picture = Image.fromarray(image)
    scale = side / max(picture.size)
    size = tuple(max(1, round(scale * length)) for length in picture.size)
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    canvas.paste(picture, ((side - size[0]) // 2, (side - size[1]) // 2))
    draw = ImageDraw.Draw(canvas)
    for i, (text, color) in enumerate(lines):
        draw.text((2, side + i * line), _shortened(text, font, side - 4), font=font, fill=color)
    return np.array(canvas)


def draw_examples(
    images: Sequence[np.ndarray],
    true_names: Sequence[str],
    true_probabilities: Sequence[float],
    names: Sequence[str],
    probabilities: Sequence[float],
) -> np.ndarray:
    """A contact sheet of pictures with their true and their predicted class.

    Returns:
        uint8 [height, width, 3].
    """
    tiles = [
        captioned(
            image,
            [
                (f"{true_share:.2f} {true}", WHITE),
                (f"{share:.2f} {name}", _RIGHT if name == true else _WRONG),
            ],
            side=176,
        )
        for image, true, true_share, name, share in zip(
            images, true_names, true_probabilities, names, probabilities, strict=True
        )
    ]
    return contact_sheet(tiles, columns=6)


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def _upright(text: str, font: ImageFont.FreeTypeFont, length: int) -> Image.Image:
    """Text that reads from the bottom to the top, and ends a little above the bottom."""
    strip = Image.new("RGB", (length, 16), BACKGROUND)
    ImageDraw.Draw(strip).text((8, 8), text, font=font, fill=WHITE, anchor="lm")
    return strip.rotate(90, expand=True)
