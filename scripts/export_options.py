"""The command line of export.py: options that all tasks share, and those of the model's task."""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from keras_mnv2.deployment.description import FORMATS, INPUT_DTYPES, PRECISIONS
from tasks.classification.export import ClassifierExport
from tasks.common.export import TaskExport
from tasks.common.exported import is_exported
from tasks.common.run_folder import read_json
from tasks.common.trained import CHECKPOINTS
from tasks.detection.export import DetectorExport
from tasks.segmentation.export import SegmenterExport

TASKS: dict[str, type[TaskExport]] = {
    "classification": ClassifierExport,
    "detection": DetectorExport,
    "segmentation": SegmenterExport,
}
# Options that only one format, or one precision, has a use for; all others leave them empty.
_OF_LITERT = ("precision", "output_dtype", "any_batch", "resizable", "float_layers")
_OF_INT8 = (
    "float_layers",
    "no_bias_correction",
    "layer_report",
    "calibration_images",
    "calibration_split",
    "calibration_count",
)


def parse_arguments(
    argv: Sequence[str] | None, description: str
) -> tuple[type[TaskExport], argparse.Namespace]:
    """The options, and what exports models of their task.

    Raises:
        ValueError: if the task cannot be told.
    """
    found = arguments_of_any_task(_parser, argv)
    if bool(found.model) == bool(found.run_dir):
        parser = _parser((), description=description)
        parser.parse_known_args(argv)
        parser.error("give either a MODEL or --run-dir")
    task = TASKS[_task_of(found)]
    parser = _parser([task], description=description)
    options = parser.parse_args(argv)
    if options.precision == "float32":
        options.precision = None  # As not given, since other formats have no other.
    if problem := _problem(options) or _unused_data(options, task):
        parser.error(problem)
    options.precision = options.precision or "float32"
    options.output_dtype = options.output_dtype or "float32"
    options.calibration_count = options.calibration_count or 100
    options.float_layers = tuple(options.float_layers or ())
    return task, options


def arguments_of_any_task(
    make_parser: Callable[..., argparse.ArgumentParser], argv: Sequence[str] | None
) -> argparse.Namespace:
    """The arguments while it is still unknown which task they are for; nothing is an error.

    Every option must be known to find the paths among their values.

    Args:
        make_parser: from tasks, and settings of the parser, to what knows the options of these.
        argv: the command line.
    """
    finder = make_parser(TASKS.values(), add_help=False, conflict_handler="resolve")
    for action in finder._actions:
        action.required = False
    return finder.parse_known_args(argv)[0]


def _parser(tasks: Iterable[type[TaskExport]], **settings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help=".keras file")
    parser.add_argument("--run-dir", help="folder of a training run, in place of MODEL")
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, help="which of the run's [best]")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--output", help="file or folder to write [beside the model]")
    parser.add_argument(
        "--input-dtype",
        choices=INPUT_DTYPES,
        default="float32",
        help="float32 or uint8, RGB 0..255; int8 with --precision int8 [float32]",
    )
    parser.add_argument(
        "--compare-images",
        nargs="+",
        metavar="PICTURE",
        help="picture files, folders or globs: some are shown to file and model before the file "
        "gets its name [made-up ones; with --precision int8, those of the calibration]",
    )
    group = parser.add_argument_group("less memory, more time (section 5.1 of the paper)")
    group.add_argument(
        "--activation-memory",
        type=int,
        metavar="BYTES",
        help="compute inverted residual blocks in as few parts as keep activations within BYTES, "
        "at 1 byte a value with --precision int8 (images that go in as float32 come on top), "
        "else 4",
    )
    group.add_argument(
        "--split-expansion",
        type=int,
        metavar="WAYS",
        help="compute every inverted residual block in WAYS parts, which costs more time",
    )
    parser.add_argument(
        "--evaluate",
        type=int,
        nargs="?",
        const=sys.maxsize,
        metavar="N",
        help="measure the accuracy of model and file on N images, evenly spread [all]",
    )
    group = parser.add_argument_group("LiteRT")
    group.add_argument("--precision", choices=PRECISIONS, help="[float32]")
    group.add_argument(
        "--output-dtype", choices=INPUT_DTYPES, help="uint8 or int8 with --precision int8 [float32]"
    )
    group.add_argument(
        "--any-batch", action="store_true", default=None, help="take any number of images, not 1"
    )
    group.add_argument(
        "--resizable",
        action="store_true",
        default=None,
        help="take any image size, compared at that of the model; not for detectors and int8",
    )
    group = parser.add_argument_group("LiteRT with --precision int8")
    group.add_argument("--calibration-images", nargs="+", help="picture files, folders or globs")
    group.add_argument(
        "--calibration-split", help="in place of pictures, a split of the data [that of training]"
    )
    group.add_argument("--calibration-count", type=int, help="images, evenly spread [100]")
    group.add_argument(
        "--float-layers", nargs="+", metavar="LAYER", help="names of layers that stay in float"
    )
    group.add_argument(
        "--no-bias-correction",
        action="store_true",
        default=None,
        help="leave the mean errors of quantization in the biases",
    )
    group.add_argument(
        "--layer-report", action="store_true", default=None, help="print where the error arises"
    )
    for task in tasks:
        task.add_arguments(parser)
        task.add_data_arguments(parser)
    return parser


def _task_of(options: argparse.Namespace) -> str:
    if options.run_dir:
        content = read_json(Path(options.run_dir) / "config.json")
        task = content.get("task") if isinstance(content, dict) else None
        if task not in TASKS:
            raise ValueError(f"{options.run_dir} is not the folder of a training run")
        return task
    if is_exported(Path(options.model)):
        raise ValueError(f"{options.model} is exported already: give the .keras file it is from")
    try:
        with zipfile.ZipFile(options.model) as archive:
            network = json.loads(archive.read("config.json"))["config"]
        if isinstance(network["output_layers"], dict):
            return "detection"
        names = {layer["name"] for layer in network["layers"]}
        return "segmentation" if "upsampled_logits" in names else "classification"
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError):
        # The message comes from who loads it.
        return "classification"


def data_options(options: argparse.Namespace, task: type[TaskExport]) -> list[str]:
    """The options that were given and name a data set or its split, as on the command line."""
    parser = argparse.ArgumentParser(add_help=False)
    task.add_data_arguments(parser)
    unset = vars(parser.parse_args([]))
    # Pictures that are no data set are shown by it, too.
    unset.pop("central_crop", None)
    given = [name for name, value in unset.items() if getattr(options, name) != value]
    return [f"--{name.replace('_', '-')}" for name in given]


def _unused_data(options: argparse.Namespace, task: type[TaskExport]) -> str | None:
    """Which options name data that would not be read, if any."""
    names = [] if options.evaluate else data_options(options, task)
    if "--split" in names:
        return "--split: only with --evaluate (see --calibration-split)"
    if names and (options.precision != "int8" or options.calibration_images):
        return (
            f"{', '.join(names)}: only with --evaluate, or with --precision int8 without "
            "--calibration-images"
        )
    return None


def _problem(options: argparse.Namespace) -> str | None:
    """What is wrong with the options together, if anything."""

    def given(names: Sequence[str]) -> str:
        return ", ".join(f"--{x.replace('_', '-')}" for x in names if getattr(options, x))

    if options.format != "litert" and given(_OF_LITERT):
        return f"{given(_OF_LITERT)}: only for --format litert"
    if options.precision != "int8" and given(_OF_INT8):
        return f"{given(_OF_INT8)}: only for --precision int8"
    if options.calibration_images and options.calibration_split:
        return "give either --calibration-images or --calibration-split"
    if options.activation_memory and options.split_expansion:
        return "give either --activation-memory or --split-expansion"
    for name in ("calibration_count", "activation_memory", "split_expansion"):
        value = getattr(options, name)
        if value is not None and value < 1:
            return f"--{name.replace('_', '-')} {value} must be at least 1"
    if options.evaluate is not None and options.evaluate < 1:
        return f"--evaluate {options.evaluate} must be at least 1; without a number, all images"
    return None
