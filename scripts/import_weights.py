"""Turns released weights into a ready Keras file with its label map.

    python scripts/import_weights.py SOURCE OUTPUT [--verify [IMAGE ...]]

SOURCE is a frozen graph (.pb), a TensorFlow 1 checkpoint (its prefix or folder), a .tar.gz/.tgz as
downloaded, or a Keras file; OUTPUT ends in .keras (network and weights) or .weights.h5. The label
map is written beside it as <OUTPUT>.labels.json.
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
    output_stride,
    sample_images,
)

from keras_mnv2 import weights as mnv2_weights  # noqa: E402
from keras_mnv2.weights.building import build  # noqa: E402
from keras_mnv2.weights.head import columns_for, matching_columns  # noqa: E402

_EXTENSIONS = (".keras", ".weights.h5")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 unless something is wrong with the file or the comparison."""
    options = _parse(arguments)
    try:
        info = mnv2_weights.inspect(options.source, options.use_ema)
        print(info)
        model = build(info, input_size=options.input_size, classes=_class_count(options, info))
        report = mnv2_weights.load_weights(
            model, options.source, use_ema=options.use_ema, class_columns=options.class_columns
        )
        labels = _labels(options, info, model)
        verified = options.verify is None or _verify(options, info, report)
        _write(model, options.output)
        _write_labels(options, info, labels)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{report}\nwrote {options.output} and {_label_path(options.output)}")
    return 0 if verified else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="released weights")
    parser.add_argument("output", type=Path, help="file to write: .keras or .weights.h5")
    parser.add_argument(
        "--input-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"),
        help="input size of the model (default: that of the file, or the usual one)",
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


def _class_count(options, info: mnv2_weights.WeightsInfo) -> int | None:
    if options.class_columns is None:
        return options.classes
    if options.classes not in (None, len(options.class_columns)):
        raise ValueError("--classes and the number of --class-columns differ; give only the latter")
    return len(options.class_columns)


def _labels(options, info: mnv2_weights.WeightsInfo, model: keras.Model) -> list[str]:
    classes = _class_count(options, info) or info.classes
    if classes is None:
        return []
    if options.labels is not None:
        try:
            names = options.labels.read_text().splitlines()
        except OSError as error:
            raise ValueError(f"--labels {options.labels}: {error}") from error
        if len(names) != classes:
            raise ValueError(f"--labels {options.labels}: {len(names)} names, {classes} classes")
        return names
    if options.class_columns is not None:
        # Labels do not count a detector's background, columns do.
        shift = 1 if info.family == "SSDLite" else 0
        known = mnv2_weights.label_map(info.family, info.classes) or {}
        return [known.get(c - shift, f"class {c}") for c in options.class_columns]
    known = mnv2_weights.label_map(info.family, classes) or {}
    return [known.get(label, f"class {label}") for label in range(classes)]


def _verify(options, info: mnv2_weights.WeightsInfo, report) -> bool:
    """Prints the differences to the original; False where there is none to compare with."""
    graph = frozen_graph(options.source)
    if graph is None:
        print(
            "verify: there is nothing to run. A checkpoint or Keras file holds variables only; the "
            "release's archive also has its frozen graph"
        )
        return False
    if report.skipped or info.family == "MobileNetV2" and info.classes is None:
        print("verify: the model has no class head of the original's to compare")
        return False
    original = OriginalGraph(graph)
    settings = {}
    if info.family == "DeepLabV3":
        size = (info.input_size or (513, 513))[0]
        settings["output_stride"] = output_stride(original, size)
    # At the size of the original, whatever size the output is built for.
    model = build(info, classes=_class_count(options, info), **settings)
    mnv2_weights.load_weights(model, options.source, class_columns=options.class_columns)
    if options.class_columns is not None:
        columns = columns_for(options.class_columns, info.family, info.outputs)
    else:
        wanted = _class_count(options, info) or info.classes
        columns, _ = matching_columns(
            info.family, info.outputs, wanted + 1 if info.family == "SSDLite" else wanted
        )
    passed = True
    found = differences(info.family, model, original, _images(options.verify), columns)
    print("largest differences between the original graph and the model:")
    for name, value in found.items():
        is_fine = value <= TOLERANCES[name]
        passed &= is_fine
        print(f"  {name:24} {value:.2e}  {'ok' if is_fine else f'above {TOLERANCES[name]:.0e}'}")
    if not passed:
        raise ValueError("rounding does not explain these differences; nothing was written")
    return True


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


def _write_labels(options, info: mnv2_weights.WeightsInfo, labels: list[str]) -> None:
    content = {
        "source": os.path.basename(info.source),
        "family": info.family,
        "background_in_logits": info.family == "SSDLite",
        "labels": labels,
    }
    target = _label_path(options.output)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(temporary, target)


if __name__ == "__main__":
    sys.exit(main())
