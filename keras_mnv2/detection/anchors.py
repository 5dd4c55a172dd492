"""SSD anchors: which boxes each cell of each feature map predicts relative to.

Source: Liu et al., "SSD: Single Shot MultiBox Detector" (arXiv 1512.02325), section 2.2, in the
arithmetic of the TensorFlow Object Detection API's `ssd_anchor_generator`, whose values these
functions give bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Width / height. The fifth is the literal 0.3333 of the original configuration, not 1/3.
ASPECT_RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333)

FIRST_STRIDE = 16


def feature_grid_sizes(image_size: Sequence[int], num_levels: int = 6) -> list[tuple[int, int]]:
    """Sizes of SSDLite's feature maps under TF `SAME` padding: stride 16, 32, then halvings.

    Any size of at least 1 pixel is valid. A map of one cell stays one cell: on a side of 256 pixels
    or fewer the last two of six levels have one cell each and differ only in their anchors' scale.

    Args:
        image_size: (height, width) of the network's input, pixels.
        num_levels: number of feature maps.

    Returns:
        One (rows, columns) a level, finest first.

    Raises:
        ValueError: if a side or `num_levels` is not a positive integer.
    """
    height, width = _positive_pair(image_size, "image_size")
    if int(num_levels) != num_levels or num_levels < 1:
        raise ValueError(f"num_levels must be a positive integer, got {num_levels!r}.")
    # Halving with rounding up, repeated, is one division with rounding up.
    strides = [FIRST_STRIDE << level for level in range(num_levels)]
    return [(-(-height // stride), -(-width // stride)) for stride in strides]


def anchors_per_cell(
    num_levels: int = 6,
    aspect_ratios: Sequence[float] = ASPECT_RATIOS,
    reduce_boxes_in_lowest_layer: bool = True,
) -> list[int]:
    """Number of anchors a cell of each level has: [3, 6, 6, 6, 6, 6] by default."""
    levels = _scales_and_ratios(num_levels, 0.2, 0.95, aspect_ratios, reduce_boxes_in_lowest_layer)
    return [len(level) for level in levels]


def ssd_anchors(
    grid_sizes: Sequence[Sequence[int]],
    image_size: Sequence[int] = (300, 300),
    min_scale: float = 0.2,
    max_scale: float = 0.95,
    aspect_ratios: Sequence[float] = ASPECT_RATIOS,
    reduce_boxes_in_lowest_layer: bool = True,
) -> np.ndarray:
    """Anchors of all feature maps, in the order in which SSDLite's heads are flattened.

    The index is level offset + (row x columns + column) x anchors per cell + anchor. Centres are
    ((row + 0.5) / rows, (column + 0.5) / columns): spread over the image, not multiples of a
    stride. Scales run linearly from `min_scale` to `max_scale` over the levels, relative to the
    shorter side of the image. A cell has one anchor an aspect ratio, and one of ratio 1 at the
    geometric mean of its own and the next level's scale.

    Args:
        grid_sizes: (rows, columns) of each feature map, finest first; see `feature_grid_sizes`.
        image_size: (height, width) of the network's input; only its proportions matter.
        min_scale: scale of the first level.
        max_scale: scale of the last level.
        aspect_ratios: width / height of the anchors of a cell.
        reduce_boxes_in_lowest_layer: give the first level three anchors a cell only: scale 0.1 with
            ratio 1, and `min_scale` with ratios 2 and 0.5.

    Returns:
        float32 [A, 4], normalised [ymin, xmin, ymax, xmax], not clipped to the image.

    Raises:
        ValueError: if a size, scale or ratio is not positive, or the scales are not ascending.
    """
    height, width = _positive_pair(image_size, "image_size")
    grids = [_positive_pair(grid, "grid_sizes") for grid in grid_sizes]
    levels = _scales_and_ratios(
        len(grids), min_scale, max_scale, aspect_ratios, reduce_boxes_in_lowest_layer
    )
    shorter = min(height, width)
    # Anchors are squares in pixels where the ratio is 1, so normalised sizes carry the proportions.
    unit = np.array([shorter / height, shorter / width], np.float32)
    return np.concatenate(
        [_grid_anchors(grid, level, unit) for grid, level in zip(grids, levels, strict=True)]
    )


def _grid_anchors(
    grid: tuple[int, int], scales_and_ratios: list[tuple[float, float]], unit: np.ndarray
) -> np.ndarray:
    rows, columns = grid
    scales = np.array([scale for scale, _ in scales_and_ratios], np.float32)
    roots = np.sqrt(np.array([ratio for _, ratio in scales_and_ratios], np.float32))
    sizes = np.stack([scales / roots * unit[0], scales * roots * unit[1]], axis=-1)
    centres = np.stack(np.meshgrid(_centres(rows), _centres(columns), indexing="ij"), axis=-1)
    centres = centres[:, :, None, :]
    half = np.float32(0.5) * sizes
    return np.concatenate([centres - half, centres + half], axis=-1).reshape(-1, 4)


def _centres(cells: int) -> np.ndarray:
    stride = np.float32(1.0 / cells)
    return np.arange(cells, dtype=np.float32) * stride + np.float32(0.5 / cells)


def _scales_and_ratios(
    num_levels: int,
    min_scale: float,
    max_scale: float,
    aspect_ratios: Sequence[float],
    reduce_boxes_in_lowest_layer: bool,
) -> list[list[tuple[float, float]]]:
    """(scale, width / height) of the anchors of a cell, one list a level."""
    if num_levels < 1:
        raise ValueError("At least one feature map is needed, got none.")
    if not 0 < min_scale <= max_scale:
        raise ValueError(
            f"Scales must satisfy 0 < min_scale <= max_scale, got {min_scale} and {max_scale}."
        )
    if not len(aspect_ratios) or min(aspect_ratios) <= 0:
        raise ValueError(f"aspect_ratios must be positive numbers, got {aspect_ratios!r}.")
    # The original reads the scales from a float32 message and interpolates in double precision;
    # starting from Python's 0.2 would move one interpolated anchor by one bit.
    low, high = float(np.float32(min_scale)), float(np.float32(max_scale))
    steps = max(num_levels - 1, 1)
    scales = [low + (high - low) * level / steps for level in range(num_levels)] + [1.0]
    levels = []
    for level, scale in enumerate(scales[:-1]):
        if level == 0 and reduce_boxes_in_lowest_layer:
            levels.append([(0.1, 1.0), (scale, 2.0), (scale, 0.5)])
        else:
            between = float(np.sqrt(scale * scales[level + 1]))
            levels.append([(scale, ratio) for ratio in aspect_ratios] + [(between, 1.0)])
    return levels


def _positive_pair(values: Sequence[int], name: str) -> tuple[int, int]:
    try:
        first, second = values
        valid = int(first) == first >= 1 and int(second) == second >= 1
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(
            f"{name} must hold a pair of positive integers (height, width), got {values!r}."
        )
    return int(first), int(second)
