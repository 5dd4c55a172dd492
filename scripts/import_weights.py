"""Turns released weights into a ready Keras file with its label map.

    python scripts/import_weights.py SOURCE OUTPUT [--verify [IMAGE ...]]

SOURCE is a frozen graph (.pb), a TensorFlow 1 checkpoint (its prefix or folder), a .tar.gz/.tgz as
downloaded, a Keras file, or the name of published weights (imagenet, coco, pascal_voc,
pascal_voc_trainval); OUTPUT ends in .keras (network and weights) or .weights.h5. The label map and
the origin of the weights are written beside it as <OUTPUT>.labels.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
from original_graph import (  # noqa: E402
    TOLERANCES,
    OriginalGraph,
    differences,
    frozen_graph,
    sample_images,
)

from keras_mnv2.weights import LoadReport, inspect  # noqa: E402
from keras_mnv2.weights.building import build, build_and_load, local_file  # noqa: E402
from keras_mnv2.weights.download import temporary_beside  # noqa: E402
from keras_mnv2.weights.graph_def import input_size, output_stride  # noqa: E402
from keras_mnv2.weights.label_file import label_file  # noqa: E402

_EXTENSIONS = (".keras", ".weights.h5")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 unless something is wrong with the file or the comparison."""
    options = _parse(arguments)
    try:
        _check_output(options.output)
        names = _names(options.labels)
        source = local_file(options.source, input_size=options.input_size, alpha=options.alpha)
        info = inspect(source, options.use_ema)
        print(info)
        settings = {}
        if options.output_stride is not None:
            settings["output_stride"] = options.output_stride
        model, report = build_and_load(
            source,
            info,
            input_size=options.input_size,
            classes=options.classes,
            class_columns=options.class_columns,
            use_ema=options.use_ema,
            **settings,
        )
        if info.family == "DeepLabV3":
            print(f"output stride: {options.output_stride or info.output_stride or 16}")
        labels, remark = label_file(model, report, source, names, options.use_ema is not None)
        if options.verify is not None:
            _verify(source, model, report, options.verify)
        _write(model, options.output)
        _write_labels(labels, options.output)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{report}\n{remark}\nwrote {options.output} and {_label_path(options.output)}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="weight file, or name of published weights")
    parser.add_argument("output", type=Path, help="file to write: .keras or .weights.h5")
    parser.add_argument(
        "--input-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"),
        help="input size of the model (default: that of the file, or the usual one)",
    )  # fmt: skip
    parser.add_argument(
        "--alpha", type=float, help="width multiplier of published weights given by name [1.0]"
    )
    parser.add_argument(
        "--output-stride", type=int, choices=(8, 16, 32),
        help="of a DeepLabV3 (default: that of the file's graph, else 16)",
    )  # fmt: skip
    parser.add_argument(
        "--classes", type=int,
        help="number of classes (default: that of the file); 80 takes the COCO categories out of "
        "a 90-class detector; for any other number the class head stays untrained",
    )  # fmt: skip
    parser.add_argument(
        "--class-columns", type=int, nargs="+", metavar="COLUMN",
        help="keep only these columns of the file's class logits (1 is person in a COCO detector)",
    )  # fmt: skip
    parser.add_argument("--labels", type=Path, help="text file with one class name per line")
    parser.add_argument(
        "--ema", dest="use_ema", action=argparse.BooleanOptionalAction, default=None,
        help="take the moving averages of a checkpoint, or its variables (default: averages "
        "where there are any)",
    )  # fmt: skip
    parser.add_argument(
        "--verify", nargs="*", metavar="IMAGE",
        help="run the original graph beside the model on these pictures (default: patterns) and "
        "print the differences. This executes the graph: only for files you trust",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if not options.output.name.endswith(_EXTENSIONS):
        parser.error(f"OUTPUT must end in {' or '.join(_EXTENSIONS)}: {options.output}")
    return options


def _check_output(output: Path) -> None:
    """Before the work: whether OUTPUT can be written."""
    folder = output.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if output.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"{output} cannot be written: {folder} is no folder that you may write to")


def _names(path: Path | None) -> list[str] | None:
    return None if path is None else path.read_text().splitlines()


def _verify(source, model: keras.Model, report: LoadReport, pictures: Sequence[str]) -> None:
    """Prints the differences to the original.

    Raises:
        ValueError: if rounding does not explain them.
    """
    info = report.file
    graph = frozen_graph(source)
    if graph is None:
        print(
            "verify: not done, there is nothing to run. A checkpoint or Keras file holds variables "
            "only; the release's archive also has its frozen graph"
        )
        return
    if report.columns is None:
        print("verify: not done, the model has no class head of the original's to compare")
        return
    # At the size and stride of the original, whatever the output is built for.
    settings = {"output_stride": output_stride(graph)} if info.family == "DeepLabV3" else {}
    classes = len(report.columns) - (1 if info.family == "SSDLite" else 0)
    same = build(info, classes=classes, input_size=input_size(graph), **settings)
    same.set_weights(model.get_weights())
    with OriginalGraph(graph) as original:
        found = differences(info.family, same, original, _images(pictures), report.columns)
    print("largest differences between the original graph and the model:")
    passed = True
    for name, value in found.items():
        # Not a number is no small difference.
        is_fine = value <= TOLERANCES[name]
        passed &= is_fine
        print(f"  {name:24} {value:.2e}  {'ok' if is_fine else f'above {TOLERANCES[name]:.0e}'}")
    if not passed:
        raise ValueError(
            "rounding does not explain these differences; nothing was written. With --ema or "
            "--no-ema the weights may rightly be others than those of the graph"
        )


def _images(paths: Sequence[str]) -> list:
    if not paths:
        return sample_images()
    from tasks.common.images import read_rgb

    return [read_rgb(path) for path in paths]


def _write(model: keras.Model, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".import_", dir=output.parent) as folder:
        temporary = Path(folder) / output.name
        if output.suffix == ".keras":
            model.save(temporary)
        else:
            model.save_weights(temporary)
        os.replace(temporary, output)


def _label_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.labels.json")


def _write_labels(content: dict, output: Path) -> None:
    target = _label_path(output)
    with temporary_beside(target) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
        os.replace(temporary, target)


if __name__ == "__main__":
    sys.exit(main())
