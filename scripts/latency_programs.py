"""What is timed by benchmark_latency.py and benchmark_inference.py: a model file as one function.

Nothing here imports TensorFlow before a model is built, since a process that is to use n threads
must say so first, and since the process that only hands out the work needs none of it.

As a program it is a worker (see benchmarking.serve) for the `Program` in its only argument.
"""

from __future__ import annotations

import dataclasses
import json
import runpy
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarking import InputError, serve

KERAS, SAVED_MODEL, LITERT, ONNX = "Keras", "SavedModel", "LiteRT", "ONNX"
WARMUP = 5
_KINDS = {"keras": KERAS, "saved_model": SAVED_MODEL, "litert": LITERT, "onnx": ONNX}
_DETECTOR_OUTPUTS = {"box_encodings", "class_logits"}

# By its path: as a part of its package it would bring TensorFlow with it.
_LIBRARY = Path(__file__).resolve().parents[1] / "keras_mnv2"
_format_of = runpy.run_path(str(_LIBRARY / "deployment" / "file_format.py"))["format_of"]


@dataclass(frozen=True)
class Program:
    """One thing to time.

    Attributes:
        path: a .keras file, a SavedModel folder, a .tflite or an .onnx file.
        threads: that it may use.
        batch_size: images of one call.
        size: (height, width) where the model leaves them open.
        postprocessing: whether `keras_mnv2.detection.detector` stands on top of the network.
        predict: whether a Keras model runs by `predict_on_batch`, in place of a tf.function.
    """

    path: Path
    threads: int = 1
    batch_size: int = 1
    size: tuple[int, int] | None = None
    postprocessing: bool = False
    predict: bool = False

    @property
    def name(self) -> str:
        """What it is, without the settings."""
        return f"{self.path} + post-processing" if self.postprocessing else str(self.path)

    def build(self) -> tuple[Callable[[], Any], dict[str, Any]]:
        """Returns the function that is timed, and facts about it, ready for JSON.

        Raises:
            InputError: if the file is not to be loaded, or takes no such images.
            ImportError: if a package is missing.
        """
        kind = kind_of(self.path)
        builders = {
            KERAS: _keras_step,
            SAVED_MODEL: _saved_model_step,
            LITERT: _litert_step,
            ONNX: _onnx_step,
        }
        step, images, device = builders[kind](self)
        return step, {
            "model": self.name,
            "kind": kind,
            "threads": self.threads,
            "input": {"shape": list(images.shape), "dtype": images.dtype.name},
            "device": device,
        }

    def worker_command(self) -> list[str]:
        """What starts a worker process for it."""
        fields = json.dumps(dataclasses.asdict(self) | {"path": str(self.path)})
        return [sys.executable, __file__, fields]


def kind_of(path: Path) -> str:
    """Which of the four kinds a model file is, by its content.

    Raises:
        InputError: if it is missing, or none of them.
    """
    try:
        return _KINDS[_format_of(path)]
    except ValueError as error:
        raise InputError(str(error)) from error


def is_detector(path: Path) -> bool:
    """Whether a file holds an SSDLite without post-processing, read without loading it."""
    if kind_of(path) != KERAS:
        return False
    with zipfile.ZipFile(path) as archive:
        try:
            outputs = json.loads(archive.read("config.json"))["config"]["output_layers"]
        except (ValueError, KeyError, TypeError):
            return False
    return isinstance(outputs, dict) and set(outputs) == _DETECTOR_OUTPUTS


def _keras_step(program: Program) -> tuple[Callable[[], Any], np.ndarray, str]:
    tf, device = _tensorflow(program.threads)
    import keras

    # Imported for its layers: they register themselves with Keras.
    from keras_mnv2.detection import detector

    try:
        model = keras.saving.load_model(program.path, compile=False)
    except Exception as error:  # Of a foreign file Keras raises anything.
        raise _unloadable(program, error) from error
    declared = _only_one(program, getattr(model, "inputs", None) or [])
    images = _images(program, declared.shape, declared.dtype)
    if program.postprocessing:
        model = detector(model, images.shape[1:3])
    if program.predict:
        return lambda: model.predict_on_batch(images), images, device
    network = tf.function(lambda x: model(x, training=False), jit_compile=False)
    batch = tf.constant(images)
    return lambda: _fetched(tf, network(batch)), images, device


def _saved_model_step(program: Program) -> tuple[Callable[[], Any], np.ndarray, str]:
    tf, device = _tensorflow(program.threads)
    try:
        loaded = tf.saved_model.load(str(program.path))
    except Exception as error:
        raise _unloadable(program, error) from error
    signature = loaded.signatures.get("serving_default")
    if signature is None:
        raise InputError(
            f"{program.path} has no signature serving_default but {list(loaded.signatures)}: "
            "export it with model.export"
        )
    name, declared = _only_one(program, list(signature.structured_input_signature[1].items()))
    images = _images(program, declared.shape, declared.dtype.name)
    batch = {name: tf.constant(images)}

    def step() -> list:
        # By way of `loaded`, which keeps the variables alive.
        return _fetched(tf, loaded.signatures["serving_default"](**batch))

    return step, images, device


def _litert_step(program: Program) -> tuple[Callable[[], Any], np.ndarray, str]:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(f"{error}: .tflite files need `pip install ai-edge-litert`") from error

    try:
        interpreter = Interpreter(str(program.path), num_threads=program.threads)
        declared = _only_one(program, interpreter.get_input_details())
        open_sides = [None if side < 0 else side for side in declared["shape_signature"]]
        images = _images(program, open_sides, np.dtype(declared["dtype"]).name)
        if images.shape != tuple(declared["shape"]):
            interpreter.resize_tensor_input(declared["index"], images.shape, strict=True)
        interpreter.allocate_tensors()
    except InputError:
        raise
    except (ValueError, RuntimeError) as error:
        raise _unloadable(program, error) from error
    interpreter.set_tensor(declared["index"], images)
    return interpreter.invoke, images, "CPU"


def _onnx_step(program: Program) -> tuple[Callable[[], Any], np.ndarray, str]:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(f"{error}: .onnx files need `pip install onnxruntime`") from error

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = program.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(
            str(program.path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # Its errors have no class of their own.
        raise _unloadable(program, error) from error
    declared = _only_one(program, session.get_inputs())
    dtypes = {"tensor(float)": "float32", "tensor(float16)": "float16"}
    dtype = dtypes.get(declared.type, declared.type.removeprefix("tensor(").removesuffix(")"))
    sides = [side if isinstance(side, int) else None for side in declared.shape]
    images = _images(program, sides, dtype)
    return lambda: session.run(None, {declared.name: images}), images, "CPU"


def _tensorflow(threads: int) -> tuple[Any, str]:
    """TensorFlow, limited to some threads, and the kind of device that it computes on."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    # Operations one after the other: else those of parallel branches would use more threads.
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf, "GPU" if tf.config.list_physical_devices("GPU") else "CPU"


def _fetched(tf: Any, outputs: Any) -> list[np.ndarray]:
    # Reading them waits where devices work asynchronously.
    return [tensor.numpy() for tensor in tf.nest.flatten(outputs)]


def _unloadable(program: Program, error: Exception) -> InputError:
    # The first line says what it is, further ones are advice for programmers.
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return InputError(f"{program.path} cannot be loaded: {reason}")


def _only_one(program: Program, inputs: Sequence[Any]) -> Any:
    if len(inputs) != 1:
        raise InputError(f"{program.path} has {len(inputs)} inputs; only one can be timed: images")
    return inputs[0]


def _images(program: Program, declared: Sequence[int | None], dtype: str) -> np.ndarray:
    """Random pixels that fit what the model declares, the same in every process.

    Args:
        declared: shape of the model's input, None where it is open.
        dtype: of the model's input.

    Raises:
        InputError: if the model takes no images, or none of this batch or image size.
    """
    try:
        batch, height, width, channels = (None if n is None else int(n) for n in declared)
    except (TypeError, ValueError):
        batch = height = width = channels = None
    if channels is None:
        raise InputError(
            f"{program.path} takes {declared}, not images [batch, height, width, channels]"
        )
    if batch not in (None, program.batch_size):
        raise InputError(f"{program.path} is made for batches of {batch}: --batch-size {batch}")
    if program.size is None and None in (height, width):
        raise InputError(f"{program.path} leaves its image size open: give --size HEIGHT WIDTH")
    size = program.size or (height, width)
    if any(fixed not in (None, side) for fixed, side in zip((height, width), size, strict=True)):
        raise InputError(
            f"{program.path} is made for images of {height or 'any'} x {width or 'any'}, not "
            f"{size[0]} x {size[1]}: give another --size, or none"
        )
    shape = (program.batch_size, *size, channels)
    generator = np.random.default_rng(0)
    if dtype in ("uint8", "int8"):
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    if dtype not in ("float32", "float16"):
        raise InputError(f"{program.path} takes {dtype}, not pixels in uint8, int8 or float")
    return generator.uniform(0.0, 255.0, shape).astype(dtype)


def main() -> None:
    fields = json.loads(sys.argv[1])
    size = fields["size"] and tuple(fields["size"])
    serve(Program(**fields | {"path": Path(fields["path"]), "size": size}).build, WARMUP)


if __name__ == "__main__":
    main()
