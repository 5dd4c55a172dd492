"""What test_other_backends.py runs on each backend: ROLE FOLDER RESULT.

ROLE is "write", to initialize the models and save their weights in FOLDER, or "read", to load them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np

import keras_mnv2
from keras_mnv2 import detection, segmentation
from keras_mnv2.weights import load_weights

RNG = np.random.default_rng(0)


def models() -> dict[str, keras.Model]:
    return {
        "classifier": keras_mnv2.MobileNetV2(
            (65, 47, 3), alpha=0.35, classes=5, include_preprocessing=True
        ),
        "detector": keras_mnv2.SSDLite(3, (97, 96, 3), alpha=0.35),
        "segmenter": keras_mnv2.DeepLabV3(4, (65, 49, 3), alpha=0.35, aspp_rates="auto"),
    }


def lively(model: keras.Model) -> None:
    """Statistics and scales that are no one's default."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([RNG.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])


def forward(role: str, folder: Path) -> dict[str, np.ndarray]:
    results = {}
    for name, model in models().items():
        path = folder / f"{name}.weights.h5"
        if role == "write":
            lively(model)
            model.save_weights(path)
        elif name == "detector":
            # By the library's own reader, which is to read the same.
            load_weights(model, path)
        else:
            model.load_weights(path)
        images = np.random.default_rng(1).integers(0, 256, (2, *model.input_shape[1:]))
        outputs = model.predict_on_batch(images.astype("float32"))
        outputs = outputs if isinstance(outputs, dict) else {"output": outputs}
        for key, value in outputs.items():
            results[f"{name} {key}"] = value
    return results


def training_step(role: str, folder: Path) -> dict[str, np.ndarray]:
    """Loss and all weights of the backbone with a classifier after a step."""
    model = keras_mnv2.MobileNetV2((64, 64, 3), alpha=0.35, classes=4, bn_momentum=0.9)
    path = folder / "trained.weights.h5"
    model.save_weights(path) if role == "write" else model.load_weights(path)
    # JAX takes minutes without: it compiles every single operation.
    jit_compile = keras.backend.backend() == "jax"
    model.compile(
        keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", jit_compile=jit_compile
    )
    rng = np.random.default_rng(2)
    images = rng.uniform(-1, 1, (8, 64, 64, 3)).astype("float32")
    loss = model.train_on_batch(images, np.arange(8) % 4)
    weights = {
        f"{layer.name}/{weight.name}": keras.ops.convert_to_numpy(weight.value)
        for layer in model.layers
        for weight in layer.weights
    }
    chosen = {
        name: value
        for name, value in weights.items()
        if name.startswith(("Conv1", "bn_Conv1", "block_6_", "Conv_1", "predictions"))
    }
    return {"training loss": np.float64(loss), **chosen}


def losses() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = rng.integers(-1, 4, (2, 30)).astype("int32")
    boxes = np.concatenate([rng.normal(size=(2, 30, 4)), labels[..., None] > 0], -1)
    logits = rng.normal(size=(2, 30, 4)).astype("float32")
    masks = rng.choice([0, 1, 3, 255], (2, 6, 5)).astype("int32")
    pixels = rng.normal(size=(2, 6, 5, 4)).astype("float32")
    values = {
        "box loss": detection.BoxLoss()(boxes.astype("float32"), logits),
        "hard negatives": detection.HardNegativeClassificationLoss()(labels, logits),
        "focal loss": detection.FocalClassificationLoss()(labels, logits),
        "pixels": segmentation.PixelwiseCrossEntropy()(masks, pixels),
        "hard pixels": segmentation.PixelwiseCrossEntropy(top_k_percent_pixels=0.25)(masks, pixels),
    }
    return {name: keras.ops.convert_to_numpy(value) for name, value in values.items()}


if __name__ == "__main__":
    role, folder, path = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    keras.utils.set_random_seed(0)
    np.savez(path, **forward(role, folder), **training_step(role, folder), **losses())
