"""Makes a data set of pictures with one class each out of a detection data set in COCO format.

    python scripts/crop_objects.py IMAGES ANNOTATIONS OUTPUT [--min-side 32] [--context 0.1]

Every object that is no crowd becomes a JPEG, OUTPUT/<category>/<image id>_<annotation id>.jpg, cut
out in a square with some context. `class_directory` needs the same classes in training and
validation data, which takes two commands: the first chooses categories that both data sets have,
the second repeats its choice.

    python scripts/crop_objects.py train2017 instances_train2017.json crops/train \
        --min-instances 15 --present-in val2017 instances_val2017.json
    python scripts/crop_objects.py val2017 instances_val2017.json crops/val \
        --categories-from crops/train
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from tqdm.auto import tqdm  # noqa: E402

from tasks.common.console import exit_on_bad_input  # noqa: E402
from tasks.common.images import read_rgb  # noqa: E402
from tasks.datasets.class_files import find_classes  # noqa: E402
from tasks.datasets.coco_annotations import CocoImage, CocoObject, CocoSplit, read_split  # noqa: E402
from tasks.datasets.object_crops import square_windows  # noqa: E402


@exit_on_bad_input
def main(arguments: Sequence[str] | None = None) -> None:
    """Reads, checks, chooses, cuts out and reports."""
    options = _parse(arguments)
    if options.output.exists() and (not options.output.is_dir() or any(options.output.iterdir())):
        raise ValueError(f"{options.output}: exists and is not empty; choose another folder")
    split = _read(options.images, options.annotations, options)
    found = count_objects(split, options.min_side)
    chosen = _choose(found, split, options)
    _write_folder(options.output, split, chosen, options)
    for name in sorted(chosen):
        print(f"{found[name]:6} {name}")
    print(f"{sum(found[name] for name in chosen):6} in {len(chosen)} categories: {options.output}")


def count_objects(split: CocoSplit, min_side: float) -> Counter[str]:
    """Category name -> objects that are large enough and no crowd."""
    return Counter(
        split.categories[item.category_id]
        for image in split.images
        for item in _usable(image, min_side)
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", help="folder of images")
    parser.add_argument("annotations", help="COCO instances JSON")
    parser.add_argument("output", type=Path, help="folder to make, with a folder per category")
    parser.add_argument(
        "--min-side",
        type=float,
        default=32,
        metavar="PIXELS",
        help="leave out objects smaller than this in both directions [32]",
    )
    parser.add_argument(
        "--context",
        type=float,
        default=0.1,
        metavar="FRACTION",
        help="side of the square beyond the longer side of the box, as a fraction of it [0.1]",
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--categories", nargs="+", metavar="NAME", help="take these")
    choice.add_argument(
        "--min-instances",
        type=int,
        default=1,
        metavar="N",
        help="take categories with at least this many objects, after --min-side [1]",
    )
    choice.add_argument(
        "--categories-from", metavar="FOLDER", help="take those of another output of this script"
    )
    parser.add_argument(
        "--present-in",
        nargs=2,
        metavar=("IMAGES", "ANNOTATIONS"),
        help="leave out categories without any object, after --min-side, in this other data set",
    )
    parser.add_argument(
        "--drop-invalid-boxes",
        action="store_true",
        help="leave out boxes without extent or outside of their image",
    )
    options = parser.parse_args(arguments)
    for name, minimum in (("min_side", 1), ("context", 0), ("min_instances", 1)):
        if not getattr(options, name) >= minimum:
            parser.error(f"--{name.replace('_', '-')} must be at least {minimum}")
    return options


def _read(images: str, annotations: str, options: argparse.Namespace) -> CocoSplit:
    return read_split(annotations, images, drop_invalid_boxes=options.drop_invalid_boxes)


def _choose(found: Counter[str], split: CocoSplit, options: argparse.Namespace) -> set[str]:
    if options.categories or options.categories_from:
        chosen = set(options.categories or find_classes(options.categories_from))
        if not chosen:
            raise ValueError(f"{options.categories_from}: has no folders of categories")
        if unknown := chosen - set(split.categories.values()):
            raise ValueError(
                f"{options.annotations}: there are no categories {sorted(unknown)}; it has "
                f"{sorted(split.categories.values())}"
            )
    else:
        chosen = {name for name, number in found.items() if number >= options.min_instances}
    if options.present_in:
        there = count_objects(_read(*options.present_in, options), options.min_side)
        if absent := sorted(chosen - set(there)):
            print(f"left out, as {options.present_in[1]} has none: {', '.join(absent)}")
        chosen &= set(there)
    if missing := sorted(chosen - set(found)):
        raise ValueError(
            f"{options.annotations}: no objects of {', '.join(missing)} with at least "
            f"{options.min_side:g} pixels; choose other --categories, make the folder of "
            "--categories-from with --present-in this data set, or lower --min-side"
        )
    if not chosen:
        raise ValueError(
            f"{options.annotations}: no category has enough objects; lower --min-instances or "
            "--min-side"
        )
    for name in sorted(chosen):
        if "/" in name or name.startswith("."):
            raise ValueError(f"category {name!r} cannot be the name of a folder; rename it")
    return chosen


def _usable(image: CocoImage, min_side: float) -> list[CocoObject]:
    def longer_side(item: CocoObject) -> float:  # that of the square, too
        top, left, bottom, right = item.box
        return max((bottom - top) * image.info.height, (right - left) * image.info.width)

    # A thousandth, as normalised boxes have been rounded.
    return [
        item for item in image.objects if not item.is_crowd and longer_side(item) >= min_side - 1e-3
    ]


def _write_folder(
    output: Path, split: CocoSplit, chosen: set[str], options: argparse.Namespace
) -> None:
    """Fills a temporary folder beside the output, then renames it."""
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        for name in chosen:
            (temporary / name).mkdir(parents=True)

        def cut_out(image: CocoImage) -> None:
            _cut_out(image, temporary, split, chosen, options)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            done = pool.map(cut_out, split.images)
            # disable=None: a bar on a terminal only.
            for _ in tqdm(done, "Cutting out objects", len(split.images), disable=None):
                pass
        temporary.replace(output)  # which may exist as an empty folder
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _cut_out(
    image: CocoImage,
    folder: Path,
    split: CocoSplit,
    chosen: set[str],
    options: argparse.Namespace,
) -> None:
    objects = [
        item
        for item in _usable(image, options.min_side)
        if split.categories[item.category_id] in chosen
    ]
    if not objects:
        return
    pixels = read_rgb(image.path)
    boxes = np.array([item.box for item in objects], np.float32)
    windows = square_windows(boxes, pixels.shape[:2], options.context).numpy()
    for item, (top, left, height, width) in zip(objects, windows, strict=True):
        crop = Image.fromarray(pixels[top : top + height, left : left + width])
        path = folder / split.categories[item.category_id] / f"{image.id}_{item.id}.jpg"
        crop.save(path, quality=95, subsampling=0)


if __name__ == "__main__":
    main()
