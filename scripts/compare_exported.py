"""Whether an exported file gives the answers of the model that it is from, on your own data.

    python scripts/compare_exported.py detector.keras detector_int8.tflite --pictures photos
    python scripts/compare_exported.py runs/mine runs/mine/best.onnx --split test

MODEL is a .keras file with MODEL.labels.json beside it, or the folder of a training run; EXPORTED
is what scripts/export.py made of it. Both see the same images, prepared as for an evaluation:
pictures, which need no annotations, or a split of a data set. What is printed is how far the
answers agree; how good they are is for `python -m tasks.<task>.evaluate`.

With EXPORTED, --help also shows the options of its task.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from answer_comparison import Comparison, comparison_for  # noqa: E402
from export_options import TASKS, arguments_of_any_task, data_options  # noqa: E402

from keras_mnv2.deployment.fixed_network import INPUT_NAME  # noqa: E402
from keras_mnv2.deployment.quantization.representative import evenly_spread  # noqa: E402
from keras_mnv2.deployment.running import DeployedModel, load  # noqa: E402
from tasks.common.console import exit_on_bad_input  # noqa: E402
from tasks.common.export import TaskExport, spread  # noqa: E402
from tasks.common.exported import is_exported  # noqa: E402
from tasks.common.images import encode_upright  # noqa: E402
from tasks.common.picture_files import readable_pictures  # noqa: E402
from tasks.common.trained import CHECKPOINTS  # noqa: E402


@exit_on_bad_input
def main(argv: Sequence[str] | None = None) -> None:
    task, exported = parse_arguments(argv)
    made_from = (exported.description.source or {}).get("sha256")
    if made_from not in (None, task.source()["sha256"]):
        print(f"{exported.path} was exported from another file than {task.trained.path}")
    images, comparison = compare(task, exported)
    print(f"{images} images, {task.trained.path} and {exported.path}:")
    for name, figure in comparison.figures().items():
        print(f"  {name}: {figure}")


def parse_arguments(argv: Sequence[str] | None) -> tuple[TaskExport, DeployedModel]:
    """The model, as its export knows it, and the exported file.

    Raises:
        ValueError: if one of them is missing, damaged, or of another kind.
    """
    found = arguments_of_any_task(_parser, argv)
    if found.exported is None:
        # Shows the help, or says what is missing.
        _parser((), description=__doc__).parse_args(argv)
    try:
        exported = load(found.exported)
    except ImportError as error:
        raise ValueError(f"{found.exported} cannot be run: {error}") from error
    task = TASKS[exported.description.task]
    parser = _parser([task], description=__doc__)
    # What the options of the export were; an option of the data has the last word.
    parser.set_defaults(**task.options_of(exported.description))
    options = parser.parse_args(argv)
    if options.count is not None and options.count < 1:
        parser.error(f"--count {options.count} must be at least 1")
    if options.pictures and (names := data_options(options, task)):
        parser.error(f"give either --pictures or data by {', '.join(names)}")
    return task(_with_model(options)), exported


def _parser(tasks: Iterable[type[TaskExport]], **settings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings
    )
    parser.add_argument("model", metavar="MODEL", help=".keras file, or folder of a training run")
    parser.add_argument("exported", metavar="EXPORTED", help="file or SavedModel folder")
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, help="which of the run's [best]")
    parser.add_argument("--pictures", nargs="+", help="picture files, folders or globs")
    parser.add_argument("--count", type=int, metavar="N", help="images, evenly spread [all]")
    for task in tasks:
        task.add_data_arguments(parser)
    return parser


def _with_model(options: argparse.Namespace) -> argparse.Namespace:
    """The options as those of `tasks.common.trained.add_model_arguments`."""
    options.run_dir = options.output = None
    if (Path(options.model) / "config.json").is_file():
        options.run_dir, options.model = options.model, None
    elif is_exported(Path(options.model)):
        raise ValueError(f"{options.model} is exported already: give the .keras file it is from")
    return options


def compare(task: TaskExport, exported: DeployedModel) -> tuple[int, Comparison]:
    """Runs both on all images.

    Returns:
        The number of images, and how far the answers agree.

    Raises:
        ValueError: if the data are unusable, or the file takes images of another size.
    """
    program = task.program()
    size = program.description.input_size
    if exported.description.input_size != size:
        raise ValueError(
            f"{task.trained.path} takes images of {size[0]}x{size[1]} (height x width), "
            f"{exported.path} of {'x'.join(map(str, exported.description.input_size))}"
        )
    signature = [tf.TensorSpec((1, *size, 3), tf.uint8, INPUT_NAME)]
    predict = tf.function(
        lambda images: program(images), input_signature=signature, autograph=False
    )
    comparison, number = comparison_for(program.description), 0
    for image, valid in _images(task):
        expected = {name: value.numpy() for name, value in predict(image).items()}
        comparison.add(expected, exported(image), valid)
        number += 1
    return number, comparison


def _images(task: TaskExport) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """uint8 [1, height, width, 3], and the part of it that is picture where the rest is padding."""
    options = task.arguments
    if options.pictures:
        paths = readable_pictures(options.pictures)
        chosen = evenly_spread(len(paths), options.count or len(paths))
        encoded = (tf.constant(encode_upright(paths[index])) for index in chosen)
    else:
        source, recipe = task.data
        split = options.split or recipe.validation_split
        if options.count:
            source = spread(source, split, options.count)
        encoded = (example["image"] for example in source.examples(split))
    for picture in encoded:
        image, more = task.decode(picture)
        yield image.numpy()[np.newaxis], more["valid"].numpy() if "valid" in more else None


if __name__ == "__main__":
    main()
