"""Names what is on pictures.

    python -m tasks.classification.predict --run-dir runs/mine --output out photo.jpg "*.png"
    python -m tasks.classification.predict --model imagenet.keras \
        --class-names imagenet1000_classes.txt photo.jpg
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.classification.inference import classify, make_predictor
from tasks.classification.trained import load_trained
from tasks.common.atomic_write import write_json
from tasks.common.console import exit_on_bad_input
from tasks.common.images import encode_upright
from tasks.common.picture_files import readable_pictures
from tasks.common.trained import add_model_arguments
from tasks.datasets.class_files import read_class_names


def best_classes(
    probabilities: np.ndarray, label_names: Sequence[str], count: int
) -> list[dict[str, Any]]:
    """The classes of highest probability, the highest first: name, label and probability of each.

    Args:
        probabilities: float32 [classes].
        label_names: of the classes.
        count: how many, or all if there are fewer.
    """
    best = np.argsort(-probabilities, kind="stable")[:count].tolist()
    return [
        {"name": label_names[i], "label": i, "probability": float(probabilities[i])} for i in best
    ]


@exit_on_bad_input
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Classify pictures.")
    parser.add_argument("pictures", nargs="+", help="picture files, folders or globs")
    add_model_arguments(parser)
    parser.add_argument(
        "--class-names",
        help="text file of class names, one a line or at the end of tab-separated columns, for a "
        "model without names or instead of its own",
    )
    parser.add_argument("--top", type=int, default=5, metavar="K", help="classes to name [5]")
    arguments = parser.parse_args(argv)
    if arguments.top < 1:
        parser.error(f"--top {arguments.top} must be at least 1")

    paths = readable_pictures(arguments.pictures)
    trained = load_trained(arguments)
    names = trained.shown_names()
    if arguments.class_names:
        given = read_class_names(arguments.class_names)
        names = trained.names_by_index(given, arguments.class_names)
    predictor = make_predictor(trained.model)
    predictions = []
    for path in paths:
        probabilities = classify(predictor, encode_upright(path), trained.recipe)
        classes = best_classes(probabilities, names, arguments.top)
        predictions.append({"picture": str(path), "classes": classes})
        said = ", ".join(f"{item['name']} {item['probability']:.3f}" for item in classes)
        print(f"{path}: {said}")
    target = trained.folder / "predictions.json"
    write_json(target, predictions)
    print(f"{len(paths)} pictures: {target}")


if __name__ == "__main__":
    main()
