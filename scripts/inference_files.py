"""The files that benchmark_inference.py times: one network in every format.

As a program it writes those of one network; TensorFlow then is in that process only.

    python scripts/inference_files.py classification folder/ --split-expansion 0.5
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402

from keras_mnv2 import DeepLabV3, MobileNetV2, SSDLite  # noqa: E402
from keras_mnv2.complexity import count  # noqa: E402
from keras_mnv2.deployment.expansion.splitting import split_expansion, ways_to_fit  # noqa: E402
from keras_mnv2.deployment.litert.arena import arena_bytes  # noqa: E402
from keras_mnv2.deployment.litert.export import export_litert  # noqa: E402
from keras_mnv2.deployment.programs import (  # noqa: E402
    Program,
    classification_program,
    detection_program,
    segmentation_program,
)
from keras_mnv2.deployment.sample_pictures import sample_images  # noqa: E402
from keras_mnv2.weights.download import sha256  # noqa: E402
from tasks.common.console import exit_on_bad_input  # noqa: E402
from tasks.common.trained import load_model  # noqa: E402

LIST = "files.json"


@dataclass(frozen=True)
class Network:
    """One of the three networks of the paper.

    Attributes:
        build: makes it; the moving statistics take over those of each batch.
        program: of its export.
    """

    build: Callable[[], keras.Model]
    program: Callable[..., Program]


NETWORKS = {
    "classification": Network(
        lambda: MobileNetV2(include_preprocessing=True, bn_momentum=0.0), classification_program
    ),
    "detection": Network(lambda: SSDLite(bn_momentum=0.0), detection_program),
    "segmentation": Network(lambda: DeepLabV3(bn_momentum=0.0), segmentation_program),
}


def fresh_model(task: str) -> keras.Model:
    """A network that was never trained, with activations in the range of a trained one's.

    How long a network takes does not depend on its weights, unless activations vanish.
    """
    keras.utils.set_random_seed(0)
    model = NETWORKS[task].build()
    model(sample_images(model.input_shape[1:3]).astype("float32"), training=True)
    return model


def write_files(
    task: str,
    folder: Path,
    model: keras.Model,
    split_share: float | None = None,
    model_sha256: str | None = None,
) -> dict[str, Any]:
    """Writes `model` in all formats.

    Args:
        task: key of `NETWORKS`.
        folder: for the files; it is made if need be.
        split_share: of the peak activation memory, down to which inverted residual blocks are
            split for one more LiteRT file; None for no such file.
        model_sha256: of the file that `model` is from, to be noted.

    Returns:
        {"files": one dict a file, "left_out": {name: reason}, "model_sha256", "split_share"},
        ready for JSON. It is also written to `LIST` in the folder, last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = NETWORKS[task].program
    exports = {
        "LiteRT float32": lambda path: _litert(program(model), path),
        "LiteRT int8": lambda path: _int8(program(model), path),
        "ONNX Runtime": lambda path: _onnx(program(model), path),
    }
    if task == "detection":
        for name, kind in (("builtin NMS", "nms"), ("custom NMS", "custom_op")):
            with_nms = program(model, postprocessing=kind)
            exports[f"LiteRT float32 + {name}"] = lambda path, p=with_nms: _litert(p, path)
    if split_share is not None:
        name = f"LiteRT float32, split to {split_share:g}"
        exports[name] = lambda path: _split(model, program, split_share, path)
    model.save(folder / "network.keras")
    files = [{"name": "Keras", "path": "network.keras"} | _peak(model)]
    left_out = {}
    for number, (name, export) in enumerate(exports.items()):
        path = folder / f"{number}{'.onnx' if name.startswith('ONNX') else '.tflite'}"
        try:
            facts = export(path)
        except (ImportError, ValueError) as error:
            left_out[name] = str(error)
        else:
            files.append({"name": name, "path": path.name} | facts)
    made_of = {"model_sha256": model_sha256, "split_share": split_share}
    result = {"files": files, "left_out": left_out} | made_of
    (folder / LIST).write_text(json.dumps(result, indent=1) + "\n")
    return result


def _peak(model: keras.Model) -> dict[str, int]:
    return {"peak_activation_bytes": count(model).peak_activation_bytes}


def _litert(program: Program, path: Path, **options: Any) -> dict[str, int]:
    export_litert(program, path, **options)
    return {"arena_bytes": arena_bytes(path)}


def _int8(program: Program, path: Path) -> dict[str, int]:
    images = sample_images(program.description.input_size)
    options = {"input_dtype": "uint8", "representative": images}
    # What eight bits cost a network that knows nothing means nothing.
    return _litert(program, path, precision="int8", min_agreement=-math.inf, **options)


def _onnx(program: Program, path: Path) -> dict[str, int]:
    from keras_mnv2.deployment.onnx.export import export_onnx

    export_onnx(program, path)
    return {}


def _split(model: keras.Model, program, share: float, path: Path) -> dict[str, Any]:
    ways = ways_to_fit(model, int(share * count(model).peak_activation_bytes))
    split = split_expansion(model, ways)
    return _litert(program(split), path) | _peak(split) | {"ways": ways}


@exit_on_bad_input
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=NETWORKS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, help=".keras file in place of a fresh network")
    parser.add_argument("--split-expansion", type=float, metavar="SHARE")
    options = parser.parse_args(argv)
    if options.model:
        model, digest = load_model(options.model), sha256(options.model)
    else:
        model, digest = fresh_model(options.task), None
    write_files(options.task, options.folder, model, options.split_expansion, digest)


if __name__ == "__main__":
    main()
