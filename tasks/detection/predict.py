"""Detects objects in pictures.

python -m tasks.detection.predict --run-dir runs/shapes --output out photo.jpg folder "*.png"
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks.common.atomic_write import write_json
from tasks.common.console import exit_on_bad_input
from tasks.common.images import read_rgb
from tasks.common.picture_files import readable_pictures
from tasks.common.pictures import write_picture
from tasks.common.trained import add_model_arguments
from tasks.detection.coco_evaluation import coco_results
from tasks.detection.data import resized
from tasks.detection.drawing import draw_detections
from tasks.detection.model import Detector, make_detector
from tasks.detection.trained import TrainedDetector, load_trained

DRAWN_SCORE = 0.5


def detect(
    trained: TrainedDetector, image: np.ndarray, detector: Detector
) -> dict[str, np.ndarray]:
    """Detections in one picture of any size, best first.

    Args:
        image: uint8 [height, width, 3], RGB.
        detector: of `make_detector(trained.model, trained.recipe)`.

    Returns:
        boxes float32 [n, 4] normalised [ymin, xmin, ymax, xmax], scores float32 [n] and classes
        int32 [n], 0-based labels.
    """
    found = detector(resized(image, trained.recipe)[None])
    count = int(found["num_detections"][0])
    return {key: np.asarray(found[key][0])[:count] for key in ("boxes", "scores", "classes")}


def image_ids(paths: Sequence[Path]) -> list[int]:
    """COCO names its files by image id (000000000139.jpg); other files are numbered from 1."""
    stems = [path.stem for path in paths]
    if all(stem.isdecimal() for stem in stems) and len(set(map(int, stems))) == len(stems):
        return [int(stem) for stem in stems]
    return list(range(1, len(stems) + 1))


@exit_on_bad_input
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Detect objects in pictures and draw them.")
    parser.add_argument("pictures", nargs="+", help="picture files, folders or globs")
    add_model_arguments(parser)
    parser.add_argument(
        "--min-score",
        type=float,
        default=DRAWN_SCORE,
        help=f"detections below it are not drawn [{DRAWN_SCORE}]",
    )
    arguments = parser.parse_args(argv)

    paths = readable_pictures(arguments.pictures)
    trained = load_trained(arguments)
    detector = make_detector(trained.model, trained.recipe)
    folder = trained.folder if arguments.output else trained.folder / "predictions"
    results = []
    for image_id, path in zip(image_ids(paths), paths, strict=True):
        image = read_rgb(path)
        found = detect(trained, image, detector)
        results += [
            {"file_name": path.name, **result}
            for result in coco_results(
                image_id,
                image.shape[:2],
                found["boxes"],
                found["classes"],
                found["scores"],
                trained.category_ids,
            )
        ]
        picture = draw_detections(
            image, **found, label_names=trained.label_names, min_score=arguments.min_score
        )
        write_picture(folder / f"{image_id}_{path.stem}.png", picture)
    write_json(folder / "detections.json", results, indent=None)
    print(f"{len(paths)} annotated pictures and detections.json (COCO results): {folder}")


if __name__ == "__main__":
    main()
