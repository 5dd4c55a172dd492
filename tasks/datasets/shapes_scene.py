"""Draws scenes of coloured shapes on textured backgrounds, with exact boxes and masks.

The classes differ by shape only: colour, shading, size, stretch and rotation are random for all of
them, so that a network has to look at the outline.
"""

from __future__ import annotations

import colorsys
import functools
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

LABEL_NAMES = (
    "circle",
    "square",
    "triangle",
    "star",
    "cross",
    "ring",
    "crescent",
    "heart",
    "arrow",
    "hourglass",
)
# Largest rotation either way, in degrees: things in photographs stand upright, more or less.
_MAX_ROTATION = 15
_MIN_SIDE, _MAX_SIDE = 0.08, 0.60
_MIN_VISIBLE = 0.75
_MIN_CONTRAST = 100.0
_SUPERSAMPLING = 4


@dataclass(frozen=True)
class Scene:
    """A drawn picture and what is on it.

    Attributes:
        image: uint8 [size, size, 3].
        instance_mask: uint8 [size, size], 0 = background, k = visible pixels of the k-th object.
        labels: int32 [n], index into `LABEL_NAMES`.
        boxes: float32 [n, 4], the tight boxes of the visible pixels, normalised yxyx.
        areas: float32 [n], visible pixels.
    """

    image: np.ndarray
    instance_mask: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray


def draw_scene(
    rng: np.random.Generator, size: int, *, max_objects: int = 8, noise: float = 0.0
) -> Scene:
    """Draws one square scene with 1 to `max_objects` objects.

    The larger side of each object's visible box is 8 to 60 % of the image side; at least 75 % of
    its pixels are visible. An object for which no such place is found is left out.

    Args:
        rng: source of all randomness; the same state gives the same scene.
        size: image side in pixels, at least 48.
        max_objects: 1 to 255.
        noise: standard deviation of Gaussian pixel noise, as a fraction of the brightness range.
    """
    if size < 48 or not 1 <= max_objects <= 255 or not 0 <= noise <= 1:
        raise ValueError(
            "size must be >= 48, max_objects in 1..255, noise in 0..1; "
            f"got {size}, {max_objects}, {noise}"
        )
    canvas = _background(rng, size)
    instance_mask = np.zeros((size, size), np.uint8)
    labels, full_areas = [], []
    count = rng.integers(1, max_objects + 1)
    # A first object always fits; the bound on the attempts only ends crowded scenes.
    attempts = 0
    while len(labels) < count and (attempts < 4 * count or not labels):
        attempts += 1
        label = int(rng.integers(len(LABEL_NAMES)))
        coverage, border = _shape(rng, LABEL_NAMES[label], size)
        height, width = coverage.shape
        row = int(rng.integers(size - height + 1))
        column = int(rng.integers(size - width + 1))
        window = (slice(row, row + height), slice(column, column + width))
        own = coverage >= 0.5
        if not _fits(instance_mask, window, own, full_areas):
            continue
        _paint(rng, canvas[(slice(None), *window)], coverage, border)
        labels.append(label)
        full_areas.append(np.count_nonzero(own))
        instance_mask[window][own] = len(labels)
    if noise:
        canvas += rng.standard_normal(canvas.shape, np.float32) * np.float32(255 * noise)
    pixels = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
    boxes = [_box(instance_mask == k) for k in range(1, len(labels) + 1)]
    return Scene(
        image=np.ascontiguousarray(pixels.transpose(1, 2, 0)),
        instance_mask=instance_mask,
        labels=np.array(labels, np.int32),
        boxes=(np.array(boxes) / size).astype(np.float32),
        areas=np.bincount(instance_mask.ravel())[1:].astype(np.float32),
    )


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


def _has_legal_side(mask: np.ndarray, size: int) -> bool:
    if not mask.any():
        return False
    top, left, bottom, right = _box(mask)
    return _MIN_SIDE * size <= max(bottom - top, right - left) <= _MAX_SIDE * size


def _fits(
    instance_mask: np.ndarray,
    window: tuple[slice, slice],
    own: np.ndarray,
    full_areas: list[int],
) -> bool:
    """Whether the new object and all those it would partly hide obey the rules of `draw_scene`."""
    size = len(instance_mask)
    if not _has_legal_side(own, size):
        return False
    for k in np.unique(instance_mask[window][own]):
        if k == 0:
            continue
        visible = instance_mask == k
        visible[window] &= ~own
        if np.count_nonzero(visible) < _MIN_VISIBLE * full_areas[k - 1]:
            return False
        if not _has_legal_side(visible, size):
            return False
    return True


# --- shapes -------------------------------------------------------------------------------------


def _arc(radius: float, start: float, stop: float, points: int, x: float = 0.0) -> np.ndarray:
    angles = np.radians(np.linspace(start, stop, points))
    return np.stack([x + radius * np.cos(angles), radius * np.sin(angles)], axis=-1)


@functools.cache
def _outlines() -> dict[str, np.ndarray]:
    """Closed polygons [n, 2] in (x, y), y downwards, centred and about two units wide."""
    spikes = np.radians(np.arange(10) * 36 - 90)
    radii = np.where(np.arange(10) % 2, 0.42, 1.0)
    arm = 0.3
    t = np.linspace(0, 2 * math.pi, 64)
    # The horns of the crescent lie where the circle of radius 0.8 around (0.45, 0) cuts the unit
    # circle.
    horn_x = (1 - 0.8**2 + 0.45**2) / (2 * 0.45)
    horn_outer = math.degrees(math.acos(horn_x))
    horn_inner = math.degrees(math.acos((horn_x - 0.45) / 0.8))
    heart = [16 * np.sin(t) ** 3, -13 * np.cos(t) + 5 * np.cos(2 * t) + 2 * np.cos(3 * t)]
    heart[1] = heart[1] + np.cos(4 * t)
    polygons = {
        "circle": _arc(1, 0, 360, 64),
        "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
        "triangle": [(0, -1), (1.1, 0.9), (-1.1, 0.9)],
        "star": np.stack([radii * np.cos(spikes), radii * np.sin(spikes)], axis=-1),
        "cross": [
            *[(-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm)],
            *[(arm, 1), (-arm, 1), (-arm, arm), (-1, arm), (-1, -arm), (-arm, -arm)],
        ],
        "ring": _arc(1, 0, 360, 64),
        "crescent": np.concatenate(
            [
                _arc(1, horn_outer, 360 - horn_outer, 48),
                _arc(0.8, 360 - horn_inner, horn_inner, 48, x=0.45),
            ]
        ),
        "heart": np.stack(heart, axis=-1) / 16,
        "arrow": [
            *[(-1, -0.3), (0.05, -0.3), (0.05, -0.85), (1, 0)],
            *[(0.05, 0.85), (0.05, 0.3), (-1, 0.3)],
        ],
        "hourglass": [(-0.85, -1), (0.85, -1), (0.12, 0), (0.85, 1), (-0.85, 1), (-0.12, 0)],
    }
    return {name: np.asarray(points, np.float64) for name, points in polygons.items()}


def _shape(rng: np.random.Generator, name: str, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    """A random shape of the class: coverage and coverage of its border, if it has one.

    Returns:
        Two arrays float32 0..1 [h, w]; half of the shapes have None for the second.
    """
    angle = math.radians(rng.uniform(-_MAX_ROTATION, _MAX_ROTATION))
    stretch = math.exp(rng.uniform(-0.12, 0.12))
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    points = _outlines()[name] * (stretch, 1 / stretch) @ turn
    side = size * rng.uniform(_MIN_SIDE, _MAX_SIDE)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = side / (high - low).max()
    width, height = (math.ceil(value) for value in (high - low) * scale)
    corner = np.array([width, height]) / 2
    polygons = [(points - (low + high) / 2) * scale]
    if name == "ring":
        polygons.append(0.55 * polygons[0])
    # Flat lists x0, y0, x1, ... in pixels of the supersampled patch, whose centres are integers.
    polygons = [((p + corner) * _SUPERSAMPLING - 0.5).ravel().tolist() for p in polygons]
    patch_size = (width * _SUPERSAMPLING, height * _SUPERSAMPLING)
    patch = Image.new("L", patch_size)
    for fill, polygon in zip((255, 0), polygons, strict=False):
        ImageDraw.Draw(patch).polygon(polygon, fill=fill)
    coverage = np.asarray(patch.reduce(_SUPERSAMPLING), np.float32) / 255
    if rng.uniform() < 0.5:
        return coverage, None
    patch = Image.new("L", patch_size)
    line = max(2, round(0.045 * side * _SUPERSAMPLING))
    for polygon in polygons:
        ImageDraw.Draw(patch).line(polygon + polygon[:2], fill=255, width=line)
    border = np.asarray(patch.reduce(_SUPERSAMPLING), np.float32) / 255
    return coverage, np.minimum(coverage, border)


# --- colours and textures -----------------------------------------------------------------------


def _colour(rng: np.random.Generator, saturation: tuple[float, float]) -> np.ndarray:
    rgb = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(0.15, 1.0))
    return np.array(rgb, np.float32) * 255


def _paint(
    rng: np.random.Generator, canvas: np.ndarray, coverage: np.ndarray, border: np.ndarray | None
) -> None:
    """Blends a shaded shape into the canvas (float32 [3, h, w], changed in place)."""
    behind = canvas.mean(axis=(1, 2))
    for _ in range(20):
        colour = _colour(rng, (0.0, 1.0))
        if np.linalg.norm(colour - behind) > _MIN_CONTRAST:
            break
    height, width = coverage.shape
    angle, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0, 45)
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, np.newaxis] * math.sin(angle)
    columns = np.linspace(-1, 1, width, dtype=np.float32) * math.cos(angle)
    shade = ((rows + columns) * strength).astype(np.float32)
    if border is not None:  # clearly darker or lighter than the filling
        shade += border * (-70 if colour.mean() > 110 else 70)
    filled = np.clip(colour[:, np.newaxis, np.newaxis] + shade, 0, 255)
    canvas += coverage * (filled - canvas)


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Two muted colours mixed by a random texture, plus fine grain: float32 [3, size, size]."""
    first = _colour(rng, (0.0, 0.6))
    second = first + rng.uniform(-55, 55, 3).astype(np.float32)
    texture = _TEXTURES[rng.integers(len(_TEXTURES))](rng, size)
    canvas = (second - first)[:, np.newaxis, np.newaxis] * texture
    canvas += first[:, np.newaxis, np.newaxis]
    canvas += rng.integers(-6, 7, (size, size), np.int8)
    return np.clip(canvas, 0, 255, out=canvas)


def _ramp(rng: np.random.Generator, size: int) -> np.ndarray:
    """A plane over the image that rises from 0 to 1 in a random direction."""
    angle = rng.uniform(0, 2 * math.pi)
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    plane = axis[:, np.newaxis] * math.sin(angle) + axis * math.cos(angle)
    return ((plane - plane.min()) / np.ptp(plane)).astype(np.float32)


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    hardness = rng.uniform(0.5, 4)
    waves = np.sin(_ramp(rng, size) * np.float32(rng.uniform(8, 90)))
    return np.clip(0.5 + hardness * waves, 0, 1)


def _smooth_noise(rng: np.random.Generator, size: int) -> np.ndarray:
    cells = int(rng.integers(3, 24))
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells), np.uint8))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32) / 255


def _blobs(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.clip(8 * (_smooth_noise(rng, size) - rng.uniform(0.4, 0.6)), 0, 1)


def _checks(rng: np.random.Generator, size: int) -> np.ndarray:
    return (_stripes(rng, size) + _stripes(rng, size)) / 2


_TEXTURES = (_ramp, _stripes, _smooth_noise, _blobs, _checks)
