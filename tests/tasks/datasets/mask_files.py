"""Small data sets with label masks on disk, to be damaged by tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

PALETTE = [value for k in range(256) for value in (255 - k, k // 2, 7 * k % 256)]


def write_image(path: Path, size: tuple[int, int] = (8, 12), seed: int = 0) -> np.ndarray:
    """A picture of size (height, width) with random pixels; returns them as they were drawn."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def write_mask(path: Path, mask: np.ndarray, palette: bool = False) -> None:
    """A uint8 mask as PNG in 8-bit grey or with a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(mask)
    if palette:
        picture.putpalette(PALETTE)
    picture.save(path)


def mask_of(*values: int, size: tuple[int, int] = (8, 12)) -> np.ndarray:
    """A mask [height, width] in which exactly these values occur, in vertical stripes."""
    return np.broadcast_to(np.resize(np.array(values, np.uint8), size[1]), size).copy()


def write_folders(folder: Path) -> dict[str, Path]:
    """Two images and masks of three classes and 9 = void; returns the folders and the labels."""
    write_image(folder / "images/a.jpg", seed=1)
    write_image(folder / "images/b.png", (10, 6), seed=2)
    write_mask(folder / "masks/a.png", mask_of(0, 1, 9))
    write_mask(folder / "masks/b.png", mask_of(2, 9, 0, size=(10, 6)), palette=True)
    (folder / "labels.txt").write_text("road\ncar\nsky\n")
    return {key: folder / key for key in ("images", "masks")} | {"labels": folder / "labels.txt"}


def write_voc(folder: Path, train: list[str], val: list[str], others: list[str] = ()) -> Path:
    """A VOCdevkit: images and masks of the lists train, val and trainval, and other images."""
    voc = folder / "VOCdevkit/VOC2012"
    lists = voc / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for name, members in {"train": train, "val": val, "trainval": sorted(train + val)}.items():
        (lists / f"{name}.txt").write_text("\n".join(members) + "\n")
    for number, name in enumerate([*train, *val, *others]):
        write_image(voc / f"JPEGImages/{name}.jpg", seed=number)
        if name not in others:
            mask = mask_of(0, number + 1, 255)
            write_mask(voc / f"SegmentationClass/{name}.png", mask, palette=True)
    return voc.parent


def write_sbd(folder: Path, train: list[str], val: list[str]) -> Path:
    """A benchmark_RELEASE whose annotations hold the classes 0 and 20 where VOC has others."""
    dataset = folder / "benchmark_RELEASE/dataset"
    (dataset / "cls").mkdir(parents=True)
    for name, members in {"train": train, "val": val}.items():
        (dataset / f"{name}.txt").write_text("".join(f"{member}\n" for member in members))
        for member in members:
            content = {"Segmentation": mask_of(0, 20), "CategoriesPresent": [20]}
            savemat(dataset / f"cls/{member}.mat", {"GTcls": content})
    return dataset.parent
