"""Program of `test_replicated_fit.py`: one step on one device and on two, of all tasks' losses.

A process of its own, since logical devices must exist before TensorFlow starts. Prints, as JSON,
the largest difference of a variable after the step and the largest change of a trained one.
"""

from __future__ import annotations

import contextlib
import json

import keras
import numpy as np
import tensorflow as tf

tf.get_logger().setLevel("ERROR")  # so many models are built for a purpose
CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)

from keras_mnv2 import BatchNormalization  # noqa: E402
from keras_mnv2.detection import (  # noqa: E402
    BoxLoss,
    FocalClassificationLoss,
    HardNegativeClassificationLoss,
)
from keras_mnv2.segmentation import PixelwiseCrossEntropy  # noqa: E402
from tasks.common.moving_average import MovingAverage  # noqa: E402
from tasks.common.optimization import make_optimizer  # noqa: E402
from tasks.common.recipe import TrainingRecipe  # noqa: E402
from tasks.common.replica_statistics import statistics_averager  # noqa: E402
from tasks.common.replicated_fit import for_fit  # noqa: E402
from tasks.common.replicated_prediction import on_replicas  # noqa: E402
from tasks.common.strategy import distributed, make_strategy  # noqa: E402

BATCH, SIDE, CLASSES = 6, 8, 4
# Shorter than any gradient here: what is clipped is that of the whole batch.
RECIPE = TrainingRecipe(batch_size=BATCH, learning_rate=0.5, gradient_clip_norm=0.05)


def network(outputs: dict[str, int], synchronized: bool) -> keras.Model:
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", kernel_regularizer="l2")(x)
    x = BatchNormalization(synchronized=synchronized, momentum=0.5)(x)
    x = keras.layers.ReLU()(x)
    if "boxes" in outputs:
        flat = {name: keras.layers.Conv2D(n, 1)(x) for name, n in outputs.items()}
        rows = {n: keras.layers.Reshape((-1, outputs[n]), name=n)(y) for n, y in flat.items()}
        return keras.Model(inputs, rows)
    if "pixels" in outputs:
        return keras.Model(inputs, keras.layers.Conv2D(CLASSES, 1)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax")(x))


def problem(task: str, positives: list[int]):
    """Outputs of the network, loss and targets, with so many positives or pixels in each image."""
    rng = np.random.default_rng(0)
    count = SIDE * SIDE
    labels = rng.integers(1, CLASSES, (BATCH, count))
    is_positive = np.arange(count) < np.array(positives)[:, np.newaxis]
    if task in ("focal", "hard_negative"):
        focal = FocalClassificationLoss() if task == "focal" else HardNegativeClassificationLoss()
        boxes = rng.normal(size=(BATCH, count, 5)).astype("float32")
        boxes[..., 4] = is_positive
        targets = {"boxes": boxes, "classes": (labels * is_positive).astype("int32")}
        losses = {"boxes": BoxLoss(), "classes": focal}
        return {"boxes": 4, "classes": CLASSES}, losses, targets
    if task == "segmentation":
        masks = np.where(is_positive, labels, 255).reshape(BATCH, SIDE, SIDE, 1).astype("uint8")
        return {"pixels": CLASSES}, PixelwiseCrossEntropy(), masks
    one_hot = np.eye(CLASSES, dtype="float32")[labels[:, 0]]
    return {}, keras.losses.CategoricalCrossentropy(label_smoothing=0.1), one_hot


def step(
    task: str,
    positives: list[int],
    strategy,
    synchronized: bool = True,
    scale: float = 3.0,
    wrap=for_fit,
):
    """Trained variables before a step, all after it, loss, predictions for an odd number."""
    outputs, loss, targets = problem(task, positives)
    images = np.random.default_rng(1).normal(size=(BATCH, SIDE, SIDE, 3)).astype("float32")
    images[BATCH // 2 :] *= scale  # so that the halves have other statistics
    keras.utils.set_random_seed(0)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = wrap(network(outputs, synchronized))
        model.compile(make_optimizer(RECIPE), loss, jit_compile=False)
        average = MovingAverage(model, 0.9)
        before = [variable.numpy() for variable in model.trainable_weights]

        def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
            size = context.get_per_replica_batch_size(BATCH)
            return tf.data.Dataset.from_tensor_slices((images, targets)).batch(size).repeat()

        dataset = distributed(batches)
        history = model.fit(
            dataset, steps_per_epoch=1, verbose=0, shuffle=False, callbacks=[average]
        )
        statistics_averager(model, average)()
        predict = on_replicas(tf.function(lambda x: model(x, training=False)))
        predicted = tf.nest.flatten(predict(tf.constant(images[:5])))
        after = [variable.numpy() for variable in model.trainable_weights]
        after += [variable.numpy() for variable in model.non_trainable_weights]
        with average.applied():
            after += [variable.numpy() for variable in model.weights]
    return before, after, history.history["loss"][0], [x.numpy() for x in predicted]


def largest(first, second) -> float:
    return float(max(np.abs(a - b).max() for a, b in zip(first, second, strict=True)))


def main() -> None:
    strategy = make_strategy("mirrored")
    found = {"replicas": strategy.num_replicas_in_sync}
    for task, positives in (
        ("focal", [9, 4, 1, 0, 2, 0]),
        ("hard_negative", [7, 3, 2, 0, 0, 0]),
        ("segmentation", [64, 50, 40, 3, 0, 1]),
        ("classification", [1] * BATCH),
    ):
        before, one, loss, predicted = step(task, positives, None)
        _, two, loss_of_two, predicted_by_two = step(task, positives, strategy)
        found[task] = {
            "step": largest(before, one[: len(before)]),
            "difference": largest(one, two),
            "loss": abs(loss - loss_of_two) / loss,
            "prediction": largest(predicted, predicted_by_two),
        }
    _, one, *_ = step("segmentation", [64] * BATCH, None, synchronized=False)
    _, two, *_ = step("segmentation", [64] * BATCH, strategy, synchronized=False)
    found["without synchronized statistics"] = {"difference": largest(one, two)}
    _, one, *_ = step("classification", [1] * BATCH, None)
    _, two, *_ = step("classification", [1] * BATCH, strategy, wrap=lambda model: model)
    found["plain Keras"] = {"difference": largest(one, two)}
    keras.config.set_dtype_policy("mixed_float16")
    found["half precision"] = {}
    for name, scale in (("step", 3.0), ("overflow", float("inf"))):
        # Statistics of their own, so that only one replica sees what is infinite.
        before, after, *_ = step("segmentation", [64] * BATCH, strategy, False, scale)
        found["half precision"][name] = largest(before, after[: len(before)])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
