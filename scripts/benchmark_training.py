"""Times a whole training step of MobileNetV2 against the same step of other implementations.

A step is forward pass, cross entropy, backward pass, batch-norm updates and SGD with momentum, on
one random batch that stays in memory. XLA is off for all: on a CPU it is about ten times slower for
this network. Peers whose packages are missing are left out and named.

    python scripts/benchmark_training.py
    python scripts/benchmark_training.py --batch-size 16 --peers keras_applications --steps 30
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

import benchmarking
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
CLASSES = 1000
LEARNING_RATE = 0.01
MOMENTUM = 0.9

Step = Callable[[], Any]


def random_batch(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Returns images float32 [B, size, size, 3] in [-1, 1] and labels int32 [B]."""
    generator = np.random.default_rng(0)
    shape = (options.batch_size, options.size, options.size, 3)
    images = generator.uniform(-1.0, 1.0, shape).astype("float32")
    return images, generator.integers(0, CLASSES, options.batch_size, dtype="int32")


def fit_step(model: Any, keras: Any, options: argparse.Namespace) -> tuple[Step, dict]:
    """The step that `fit` runs, for a model of Keras 3 or of tf_keras that returns logits."""
    import tensorflow as tf

    model.compile(
        optimizer=keras.optimizers.SGD(LEARNING_RATE, momentum=MOMENTUM),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    model.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors(random_batch(options)).repeat())
    parameters = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    # Reading the loss waits for the step where devices work asynchronously.
    return lambda: float(model.train_function(batches)["loss"]), {"parameters": parameters}


def build_keras_mnv2(options: argparse.Namespace) -> tuple[Step, dict]:
    import keras

    from keras_mnv2 import MobileNetV2

    shape = (options.size, options.size, 3)
    model = MobileNetV2(shape, alpha=options.alpha, classifier_activation=None, classes=CLASSES)
    return fit_step(model, keras, options)


def build_keras_applications(options: argparse.Namespace) -> tuple[Step, dict]:
    import keras

    model = keras.applications.MobileNetV2(
        (options.size, options.size, 3),
        alpha=options.alpha,
        weights=None,
        classifier_activation=None,
        classes=CLASSES,
    )
    return fit_step(model, keras, options)


def build_tf_models(options: argparse.Namespace) -> tuple[Step, dict]:
    import tf_keras
    from official.vision.modeling import classification_model
    from official.vision.modeling.backbones import mobilenet

    inputs = tf_keras.layers.InputSpec(shape=[None, options.size, options.size, 3])
    backbone = mobilenet.MobileNet(
        "MobileNetV2", filter_size_scale=options.alpha, input_specs=inputs
    )
    model = classification_model.ClassificationModel(backbone, CLASSES, input_specs=inputs)
    return fit_step(model, tf_keras, options)


def build_pytorch(options: argparse.Namespace) -> tuple[Step, dict]:
    import torch
    from pytorch_mobilenet_v2 import mobilenet_v2

    from keras_mnv2.mobilenet_v2 import make_divisible

    device = "cuda" if torch.cuda.is_available() else "cpu"
    images, labels = random_batch(options)
    images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)
    labels = torch.from_numpy(labels).long().to(device)
    model = mobilenet_v2(options.alpha, CLASSES, make_divisible).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=MOMENTUM)
    cross_entropy = torch.nn.CrossEntropyLoss()

    def step() -> float:
        optimizer.zero_grad()
        loss = cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, {"parameters": sum(weight.numel() for weight in model.parameters())}


OURS = "keras_mnv2"
BUILDERS = {
    OURS: build_keras_mnv2,
    "keras_applications": build_keras_applications,
    "tf_models": build_tf_models,
    "pytorch": build_pytorch,
}


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each program")
    parser.add_argument("--alpha", type=float, default=1.0, help="width multiplier")
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels")
    peers = [name for name in BUILDERS if name != OURS]
    parser.add_argument("--peers", nargs="*", choices=peers, default=peers)
    benchmarking.add_json_option(parser)
    parser.add_argument("--worker", choices=BUILDERS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    for name in ("batch_size", "steps", "size", "alpha"):
        if getattr(options, name) <= 0:
            parser.error(f"--{name.replace('_', '-')} must be above 0")
    return options


def main(arguments: list[str]) -> None:
    options = parse_arguments(arguments)
    if options.worker:
        benchmarking.serve(lambda: BUILDERS[options.worker](options))
        return
    commands = {
        name: [sys.executable, __file__, *arguments, "--worker", name]
        for name in (OURS, *options.peers)
    }
    result = benchmarking.compare(commands, options.steps)
    print(
        f"training step, MobileNetV2 {options.alpha}/{options.size}, batch {options.batch_size}, "
        f"{options.steps} rounds; ratio = time / time of {OURS} in the same round"
    )
    benchmarking.print_table(result)
    if options.json:
        settings = {name: getattr(options, name) for name in ("batch_size", "alpha", "size")}
        benchmarking.write_json(options.json, {"settings": settings, **result})


if __name__ == "__main__":
    main(sys.argv[1:])
