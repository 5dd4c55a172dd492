"""Draws an augmented training batch with its boxes and matched anchors.

python -m tasks.detection.show_batch --recipe shapes --output batch.png
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_mnv2.detection import encode_targets, feature_grid_sizes, ssd_anchors
from tasks.common.command_line import parse_recipe
from tasks.common.console import exit_on_bad_input
from tasks.common.pictures import contact_sheet, write_picture
from tasks.detection.data import augmented_examples, open_source
from tasks.detection.drawing import draw_anchors, draw_ground_truth
from tasks.detection.recipes import RECIPES, DetectionRecipe


def draw_batch(recipe: DetectionRecipe, columns: int = 4) -> np.ndarray:
    """One training batch as a picture: for each example its labels, then its matched anchors.

    Returns:
        uint8 [height, width, 3].
    """
    source = open_source(recipe)
    size = (recipe.height, recipe.width)
    anchors = ssd_anchors(feature_grid_sizes(size), size)
    pictures = []
    for example in augmented_examples(source, recipe).take(recipe.batch_size):
        example = {key: value.numpy() for key, value in example.items()}
        targets = encode_targets(anchors, example["boxes"], example["labels"], example["is_crowd"])
        positive = targets["class_logits"].numpy() > 0
        labelled = draw_ground_truth(
            example["image"],
            example["boxes"],
            example["labels"],
            source.label_names,
            example["is_crowd"],
        )
        matched = draw_anchors(example["image"], example["boxes"], anchors[positive])
        pictures.append(np.concatenate([labelled, matched], axis=1))
    return contact_sheet(pictures, columns)


@exit_on_bad_input
def main(argv: Sequence[str] | None = None) -> None:
    recipe, arguments = parse_recipe(
        "Draw an augmented training batch: labels on the left, matched anchors on the right.",
        RECIPES,
        argv,
        default="shapes",
        add_arguments=lambda parser: parser.add_argument(
            "--output", required=True, help="picture to write (.png or .jpg)"
        ),
    )
    write_picture(arguments.output, draw_batch(recipe))
    print(f"{recipe.batch_size} training examples: {arguments.output}")


if __name__ == "__main__":
    main()
