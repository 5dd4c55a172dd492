"""Which images and masks the splits of PASCAL VOC 2012 and of its SBD augmentation consist of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from tasks.common.wording import first_of
from tasks.datasets.file_digest import file_digest, folder_digest
from tasks.datasets.mask_pairs import MaskPair
from tasks.datasets.masks import MaskError, read_mask

_LISTS = ("train", "val", "trainval")


def find_voc(root: str | os.PathLike) -> Path:
    """The folder VOC2012, given it or the VOCdevkit around it.

    Raises:
        MaskError: it has not the folders of VOC's segmentation data.
    """
    needed = ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass")
    return _find(Path(root), "VOC2012", needed, "VOCdevkit")


def find_sbd(root: str | os.PathLike) -> Path:
    """The folder with SBD's lists and the folder `cls`, given it or benchmark_RELEASE around it.

    Raises:
        MaskError: it has not the folder of SBD's annotations.
    """
    return _find(Path(root), "dataset", ("cls",), "benchmark_RELEASE")


def _find(root: Path, inner: str, needed: tuple[str, ...], archive: str) -> Path:
    folder = root / inner if (root / inner).is_dir() else root
    for name in needed:
        if not (folder / name).is_dir():
            raise MaskError(
                f"{folder}: there is no folder {name} in it; give the extracted {archive}, "
                "which has it"
            )
    return folder


def voc_digest(voc: Path) -> str:
    """Changes with the split lists and with the names, sizes and times of images and masks."""
    lists = (voc / "ImageSets/Segmentation" / f"{name}.txt" for name in _LISTS)
    folders = (voc / name for name in ("JPEGImages", "SegmentationClass"))
    return " ".join([*_digests(lists), *map(folder_digest, folders)])


def sbd_digest(sbd: Path) -> str:
    """Changes with the split lists and with the names, sizes and times of the annotations."""
    lists = (sbd / f"{name}.txt" for name in ("train", "val"))
    return " ".join([*_digests(lists), folder_digest(sbd / "cls")])


def _digests(files: Iterable[Path]) -> list[str]:
    return [f"{path.name} {file_digest(path)}" for path in files if path.is_file()]


def read_sbd_mask(path: str | os.PathLike) -> np.ndarray:
    """Class indices of an SBD annotation (`GTcls.Segmentation`), uint8 [height, width].

    Raises:
        MaskError: the file is missing or no such annotation.
    """
    try:
        content = loadmat(path, variable_names=["GTcls"], simplify_cells=True)
        mask = np.asarray(content["GTcls"]["Segmentation"])
        if mask.ndim != 2 or mask.dtype.kind not in "ui" or mask.max() > 255:
            raise ValueError(f"{mask.dtype} {list(mask.shape)} are no class indices")
    except FileNotFoundError:
        raise MaskError(f"{path}: there is no such annotation; check the path") from None
    except Exception as error:  # SciPy raises errors of many types for damaged files.
        raise MaskError(
            f"{path}: cannot read GTcls.Segmentation of the SBD annotation ({error}); extract the "
            "archive again"
        ) from error
    return mask.astype(np.uint8)


def split_parts(voc: Path, sbd: Path | None) -> dict[str, tuple[MaskPair, ...]]:
    """Disjoint parts of which the splits consist, see `splits_of_parts`.

    Args:
        voc: of `find_voc`. Some of the lists train, val and trainval may be absent.
        sbd: of `find_sbd`, or None. It needs VOC's train and val.

    Returns:
        "train", "val"; "trainval_rest": images of trainval.txt that are in neither, of which VOC
        has none; "train_aug_rest": images of SBD that are in neither, with VOC's mask where there
        is one. Without empty parts.

    Raises:
        MaskError: no list, images or masks that a list names are missing, or the lists disagree.
    """
    folder = voc / "ImageSets/Segmentation"
    paths = {name: folder / f"{name}.txt" for name in _LISTS}
    lists = {name: _read_list(path) for name, path in paths.items() if path.is_file()}
    if not lists:
        raise MaskError(f"{folder}: there is no train.txt, val.txt or trainval.txt; add the lists")
    train, val = lists.get("train", []), lists.get("val", [])
    if both := sorted(set(train) & set(val)):
        raise MaskError(
            f"{paths['train']} and {paths['val']} both name {both[0]}; remove it from one of them"
        )
    if "trainval" in lists and (lost := sorted({*train, *val} - {*lists["trainval"]})):
        raise MaskError(
            f"{paths['trainval']}: misses {lost[0]} of train.txt or val.txt; correct the list or "
            "remove it"
        )
    known = {*train, *val}
    trainval_rest = [name for name in lists.get("trainval", []) if name not in known]
    parts = {
        "train": _voc_pairs(voc, paths["train"], train),
        "val": _voc_pairs(voc, paths["val"], val),
        "trainval_rest": _voc_pairs(voc, paths["trainval"], trainval_rest),
    }
    if sbd:
        if not train or not val:
            raise MaskError(f"{folder}: train_aug needs train.txt and val.txt; add the lists")
        parts["train_aug_rest"] = _sbd_pairs(voc, sbd, known)
    return {name: pairs for name, pairs in parts.items() if pairs}


def splits_of_parts(parts: Iterable[str]) -> dict[str, str]:
    """Names of the splits with what to read for each: {"trainval": "train+val", ...}."""
    parts = set(parts)
    splits = {name: name for name in ("train", "val") if name in parts}
    if {"train", "val"} <= parts or "trainval_rest" in parts:
        splits["trainval"] = "+".join(
            name for name in ("train", "val", "trainval_rest") if name in parts
        )
    if "train_aug_rest" in parts:
        splits["train_aug"] = "train+train_aug_rest"
    return splits


def _read_list(path: Path) -> list[str]:
    try:
        names = path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise MaskError(f"{path}: cannot read the split list ({error}); extract it again") from None
    if not names:
        raise MaskError(f"{path}: the split list is empty; fill or remove it")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise MaskError(f"{path}: names {twice} more than once; remove the repetition")
    return names


def _voc_pairs(voc: Path, path: Path, names: list[str]) -> tuple[MaskPair, ...]:
    _check_exist(path, voc / "JPEGImages", names, ".jpg")
    _check_exist(path, voc / "SegmentationClass", names, ".png")
    return tuple(_pair(voc, name, voc / "SegmentationClass" / f"{name}.png") for name in names)


def _sbd_pairs(voc: Path, sbd: Path, known: set[str]) -> tuple[MaskPair, ...]:
    """Images of SBD without the known ones."""
    own = {path.stem for path in (voc / "SegmentationClass").iterdir()}
    pairs = {}
    for path in (sbd / "train.txt", sbd / "val.txt"):
        if not path.is_file():
            raise MaskError(f"{path}: there is no such split list; extract SBD completely")
        names = [name for name in _read_list(path) if name not in known]
        _check_exist(path, voc / "JPEGImages", names, ".jpg")
        without = [name for name in names if name not in own]
        _check_exist(path, sbd / "cls", without, ".mat")
        pairs |= {
            name: _pair(voc, name, voc / "SegmentationClass" / f"{name}.png")
            for name in names
            if name in own
        }
        pairs |= {
            name: _pair(voc, name, sbd / "cls" / f"{name}.mat", read_sbd_mask) for name in without
        }
    if not pairs:
        raise MaskError(
            f"{sbd}: its lists name no image that is not in VOC's train.txt or val.txt, so there "
            "is nothing to add; leave it out"
        )
    return tuple(pairs.values())


def _pair(
    voc: Path, name: str, mask: Path, read: Callable[[Path], np.ndarray] = read_mask
) -> MaskPair:
    return MaskPair(name, voc / "JPEGImages" / f"{name}.jpg", mask, read)


def _check_exist(path: Path, folder: Path, names: list[str], extension: str) -> None:
    there = set(os.listdir(folder))
    missing = [f"{name}{extension}" for name in names if f"{name}{extension}" not in there]
    if missing:
        raise MaskError(
            f"{path}: names {len(missing)} files that are not in {folder} "
            f"({first_of(missing)}); extract the archive again or correct the list"
        )
