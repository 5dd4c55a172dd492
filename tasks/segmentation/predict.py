"""Segments pictures.

python -m tasks.segmentation.predict --run-dir runs/shapes_masks --output out photo.jpg "*.png"
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tasks.common.console import exit_on_bad_input
from tasks.common.images import read_rgb
from tasks.common.picture_files import readable_pictures
from tasks.common.pictures import write_picture
from tasks.common.trained import add_model_arguments
from tasks.segmentation.drawing import draw_overlay, write_mask
from tasks.segmentation.inference import segment
from tasks.segmentation.trained import add_inference_arguments, load_trained, predictor_of


def file_names(paths: Sequence[Path]) -> list[str]:
    """A name for the results of each picture: its own without extension, numbered if not unique."""
    stems = [path.stem for path in paths]
    return [
        f"{number}_{stem}" if stems.count(stem) > 1 else stem
        for number, stem in enumerate(stems, start=1)
    ]


@exit_on_bad_input
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Segment pictures: masks as palette PNGs, and overlays with a legend."
    )
    parser.add_argument("pictures", nargs="+", help="picture files, folders or globs")
    add_model_arguments(parser)
    add_inference_arguments(parser)
    arguments = parser.parse_args(argv)

    paths = readable_pictures(arguments.pictures)
    trained = load_trained(arguments)
    predictor = predictor_of(trained, arguments)
    folder = trained.folder if arguments.output else trained.folder / "predictions"
    names = file_names(paths)
    for name, path in zip(names, paths, strict=True):
        image = read_rgb(path)
        mask = segment(predictor, image, trained.recipe.size)
        write_mask(folder / "masks" / f"{name}.png", mask)
        write_picture(
            folder / "overlays" / f"{name}.png", draw_overlay(image, mask, trained.label_names)
        )
    print(f"{len(paths)} pictures: palette PNGs in {folder / 'masks'}, {folder / 'overlays'}")


if __name__ == "__main__":
    main()
