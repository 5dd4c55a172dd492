"""Turns a trained model into a file that runs without Keras: LiteRT, SavedModel or ONNX.

    python scripts/export.py detector.keras --format litert
    python scripts/export.py --run-dir runs/mine --format litert --precision int8 --evaluate 500
    python scripts/export.py segmenter.keras --format onnx --size 257 257

MODEL is a .keras file with MODEL.labels.json beside it (scripts/import_weights.py). What the file
is, with its labels and the accuracy that --evaluate measures, is written into it, and for people
beside it as OUTPUT.json. Before it appears under its name it is run and compared with the Keras
model, on --compare-images; without these, on images of the calibration (int8) or made-up ones.
Made-up ones are changed until the model's answers differ, and follow where those for the others
hardly do. A SavedModel also takes encoded pictures, by its signature serving_encoded.

With a MODEL or --run-dir, --help also shows the options of its task.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
from answer_comparison import comparison_for  # noqa: E402
from export_options import parse_arguments  # noqa: E402
from export_splitting import with_split_blocks  # noqa: E402

from keras_mnv2.deployment.describing import add_accuracy  # noqa: E402
from keras_mnv2.deployment.description import sidecar_path  # noqa: E402
from keras_mnv2.deployment.litert.arena import arena_bytes  # noqa: E402
from keras_mnv2.deployment.programs import Program  # noqa: E402
from keras_mnv2.deployment.quantization.representative import evenly_spread  # noqa: E402
from keras_mnv2.deployment.running import load  # noqa: E402
from keras_mnv2.deployment.staging import Export, check_names  # noqa: E402
from keras_mnv2.deployment.telling import (
    made_up_images,  # noqa: E402
    with_telling_ones,  # noqa: E402
)
from tasks.common.console import exit_on_bad_input  # noqa: E402
from tasks.common.export import TaskExport, read_pictures, spread  # noqa: E402
from tasks.common.picture_files import readable_pictures  # noqa: E402
from tasks.datasets.source import Source  # noqa: E402

_ENDINGS = {"litert": ".tflite", "saved_model": "_saved_model", "onnx": ".onnx"}
# Images on which the file is compared with the Keras model; and pictures among which a detector's
# are looked for.
_COMPARED = 4
_SEARCHED = 100


@exit_on_bad_input
def main(argv: Sequence[str] | None = None) -> None:
    task_class, options = parse_arguments(argv, __doc__)
    task = task_class(options)
    path = Path(options.output) if options.output else default_output(task)
    check_names(path, options.format)
    source = task.source()
    if options.split_expansion or options.activation_memory:
        task.model, source["split_expansion"] = with_split_blocks(task)
    program, calibration = task.program().described(source=source), None
    if options.precision == "int8":
        calibration = calibration_images(task)
        program = program.described(quantization=calibration_data(task))
    compared = compared_images(task, program, calibration)
    # What is wrong with names and data is found before anything is written; what is wrong with
    # other options, before an evaluation that may take long.
    data = evaluated_data(task) if options.evaluate else None
    try:
        export = write(task, program, path, compared.images, calibration)
    except ImportError as error:
        raise ValueError(str(error)) from error
    accuracy = keras_accuracy(task, *data) if data else {}
    if data:
        accuracy["file"] = task.measure(load(export.path), *data)
        add_accuracy(export.path, accuracy)
    report(export, program, compared, accuracy)
    if options.format == "litert" and not (options.any_batch or options.resizable):
        size = arena_bytes(export.path) / 1e6
        print(f"memory for activations, arena of LiteRT's own kernels: {size:.2f} MB")
    if options.layer_report:
        from keras_mnv2.deployment.quantization.layer_report import (
            format_layer_errors,
            layer_errors,
        )

        print(format_layer_errors(layer_errors(export.quantized)))


def calibration_images(task: TaskExport) -> list[np.ndarray]:
    """Images by which the ranges of activations are found, uint8 [1, height, width, 3] each."""
    options = task.arguments
    if options.calibration_images:
        paths = readable_pictures(options.calibration_images)
        encoded = read_pictures(paths, options.calibration_count)
    else:
        source, recipe = task.data
        split = options.calibration_split or recipe.train_split
        examples = spread(source, split, options.calibration_count).examples(split)
        encoded = examples.map(lambda example: example["image"])
    images = list(task.images(encoded))
    print(f"calibration: {len(images)} images")
    return images


def calibration_data(task: TaskExport) -> dict[str, Any]:
    """Where `calibration_images` are from, for the description."""
    options = task.arguments
    if options.calibration_images:
        return {"pictures": [Path(pattern).name for pattern in options.calibration_images]}
    source, recipe = task.data
    return {"dataset": source.name, "split": options.calibration_split or recipe.train_split}


class Compared(NamedTuple):
    """Images on which file and Keras model are compared, uint8 [B, height, width, 3].

    Attributes:
        images: some of what the user gave, or made-up ones.
        kind: what they are, for people.
    """

    images: np.ndarray
    kind: str


def compared_images(
    task: TaskExport, program: Program, calibration: Sequence[np.ndarray] | None
) -> Compared:
    """The pictures that the options name, else images of the calibration, else made-up ones.

    Made-up ones follow where the answers for the others hardly differ.

    Raises:
        ValueError: if a detector finds nothing in any of them, or there is no picture.
    """
    if task.arguments.compare_images:
        paths = readable_pictures(task.arguments.compare_images)
        images = list(task.images(read_pictures(paths, _SEARCHED)))
        kind = "pictures"
    elif calibration:
        images, kind = calibration, "calibration images"
    else:
        images, kind = made_up_images(program), "made-up pictures"
        return Compared(telling_images(program, np.split(images, len(images)), kind), kind)
    given = telling_images(program, images, kind)
    images = with_telling_ones(program, given)
    return Compared(images, kind if len(images) == len(given) else f"{kind} and made-up pictures")


def telling_images(program: Program, images: Sequence[np.ndarray], kind: str) -> np.ndarray:
    """Some images, evenly spread; if a detector finds nothing in these, those in which it does.

    Args:
        images: uint8 [1, height, width, 3] each.
        kind: what they are, for the message.

    Raises:
        ValueError: if there are none.
    """
    chosen = [images[index] for index in evenly_spread(len(images), _COMPARED)]
    if program.description.postprocessing in (None, "none"):
        return np.concatenate(chosen)

    def finds(image: np.ndarray) -> bool:
        return bool(program.predict(image)["num_detections"].any())

    if not any(map(finds, chosen)):
        chosen = list(itertools.islice(filter(finds, images), _COMPARED))
    if not chosen:
        raise ValueError(
            f"nothing scores more than {program.description.score_threshold} in any of the "
            f"{len(images)} {kind}, so that the exported file cannot be compared: give photos of "
            "what the detector is for (--compare-images), or a lower --score-threshold"
        )
    return np.concatenate(chosen)


def evaluated_data(task: TaskExport) -> tuple[Source, str]:
    """The data set on which accuracy is measured, and its split."""
    source, recipe = task.data
    split = task.arguments.split or recipe.validation_split
    is_part = task.arguments.evaluate < source.num_examples(split)
    return (spread(source, split, task.arguments.evaluate) if is_part else source), split


def keras_accuracy(task: TaskExport, source: Source, split: str) -> dict[str, Any]:
    """What is measured, and the figures of the Keras model."""
    return {
        "dataset": source.name,
        "split": split,
        "images": min(task.arguments.evaluate, source.num_examples(split)),
        "keras": task.measure(task.trained.model, source, split),
    }


def write(
    task: TaskExport,
    program: Program,
    path: Path,
    images: np.ndarray,
    calibration: list[np.ndarray] | None,
) -> Export:
    """Exports as the options say, all or nothing."""
    options = task.arguments
    common = {"input_dtype": options.input_dtype, "images": images}
    if options.format == "saved_model":
        from keras_mnv2.deployment.saved_model.export import export_saved_model

        return export_saved_model(program, path, decoder=task.decode, **common)
    if options.format == "onnx":
        from keras_mnv2.deployment.onnx.export import export_onnx

        return export_onnx(program, path, **common)
    from keras_mnv2.deployment.litert.export import export_litert

    return export_litert(
        program,
        path,
        options.precision,
        output_dtype=options.output_dtype,
        batch_size=None if options.any_batch else 1,
        resizable=options.resizable,
        representative=calibration,
        float_layers=options.float_layers,
        bias_correction=not options.no_bias_correction,
        **common,
    )


def default_output(task: TaskExport) -> Path:
    """Beside the model, with its name and whatever makes the file another one than by default."""
    options, path = task.arguments, task.trained.path
    words = {
        options.precision: options.precision != "float32",
        f"in_{options.input_dtype}": options.input_dtype != "float32",
        f"out_{options.output_dtype}": options.output_dtype != "float32",
        "any_batch": options.any_batch,
        "any_size": options.resizable,
        f"memory{options.activation_memory}": options.activation_memory,
        f"split{options.split_expansion}": options.split_expansion,
    }
    name = "_".join([path.stem, *(word for word, given in words.items() if given), *task.variant()])
    return path.with_name(f"{name}{_ENDINGS[options.format]}")


def report(export: Export, program: Program, compared: Compared, accuracy: dict) -> None:
    """Prints what was written and how it compares with the Keras model."""
    path = export.path
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    print(f"wrote {path} ({size / 1e6:.2f} MB), described in {sidecar_path(path)}")
    if export.operators:
        counts = sorted(export.operators.items(), key=lambda item: (-item[1], item[0]))
        print("operators: " + ", ".join(f"{name} {count}" for name, count in counts))
    images, kind = compared
    print(
        f"agreement with the Keras model on {len(images)} {kind}: {export.agreement:.6f} "
        "(1 is equal)"
    )
    if not export.is_telling:
        print(
            "  which proves nothing: the model's own answers for different images agree as well, "
            "also for made-up ones (was it never trained?)"
        )
    comparison, exported = comparison_for(export.description), load(path)
    for image in np.split(images, len(images)):
        comparison.add(program.predict(image), exported(image), None)
    for name, figure in comparison.figures().items():
        print(f"  {name}: {figure}")
    if accuracy:
        print(f"on {accuracy['images']} images of {accuracy['dataset']}, {accuracy['split']}:")
        print(f"  {'':<26} Keras   file")
        for name, value in accuracy["keras"].items():
            print(f"  {name:<26} {value:.4f}  {accuracy['file'][name]:.4f}")


if __name__ == "__main__":
    main()
