"""Program of `test_two_workers.py`: one of two worker processes, told by TF_CONFIG which.

Prints what it finds as JSON in a line. Then the second worker is killed, and the first one prints
what it is told of that.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tasks.classification.results import collect
from tasks.common.checkpoints import Checkpoints
from tasks.common.moving_average import MovingAverage
from tasks.common.replica_statistics import statistics_averager
from tasks.common.replicated_fit import ReplicatedModel
from tasks.common.strategy import make_strategy
from tasks.common.workers import (
    chief_first,
    gather,
    gather_in_order,
    is_chief,
    on_chief,
    share,
    told_of_lost_workers,
    worker_index,
)


def exchange() -> dict:
    """The functions of `tasks.common.workers`."""
    index = worker_index()
    found = {
        "share": share(),
        "chief": is_chief(),
        "gathered": [x["text"] for x in gather({"text": "ä" * (3 + index), "n": np.arange(index)})],
        "in order": gather_in_order(list(range(index, 7, 2))),
        "empty": gather_in_order([5] if index == 0 else []),
        "on chief": on_chief(lambda: index),
        "chief first": chief_first(lambda: index),
    }

    def fail():
        raise FileNotFoundError(2, "nowhere", "file")

    try:
        on_chief(fail)
    except ValueError as error:
        found["error"] = str(error)
    # Seven images, of which this worker has its own.
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 7).astype("float32")
    labels = np.arange(7) % 3
    mine = slice(index, None, 2)
    results = collect([(probabilities[mine], labels[mine])], "abc")
    whole = probabilities[np.arange(7), labels]
    found["evaluation"] = bool((results.true_probability == whole).all())
    return found


def mean_loss_goes_on(strategy: tf.distribute.Strategy) -> dict:
    """What this worker has of the mean loss: after a step, a checkpoint, and going on from that."""
    inputs = keras.Input((3,))
    model = ReplicatedModel(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.SGD(), "mse", jit_compile=False)

    def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        x = np.full((4, 3), 1 + context.input_pipeline_id, "float32")
        return tf.data.Dataset.from_tensors((x, x[:, :1])).repeat()

    dataset = strategy.distribute_datasets_from_function(batches)
    model.fit(dataset, steps_per_epoch=1, verbose=0, shuffle=False)
    checkpoints = Checkpoints(Path(on_chief(tempfile.mkdtemp)), model)

    def mine() -> list[float]:
        return [
            float(strategy.experimental_local_results(variable.value)[0])
            for variable in checkpoints.mean_loss.variables
        ]

    found = {"step": mine()}
    checkpoints.save(1, [])
    found["saved"] = mine()
    checkpoints.restore()
    found["restored"] = mine()
    on_chief(lambda: shutil.rmtree(checkpoints.folder))
    return found


def fit(strategy: tf.distribute.Strategy, left_to_keras: str | None) -> str:
    """What becomes of `fit` when a part of what `ReplicatedModel` replaces is left to Keras."""
    own = {left_to_keras: getattr(keras.Model, left_to_keras)} if left_to_keras else {}
    model_class = type("Partly", (ReplicatedModel,), own)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        inputs = keras.Input((3,))
        model = model_class(inputs, keras.layers.Dense(1)(inputs))
        model.compile(keras.optimizers.SGD(), "mse", jit_compile=False)

        def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
            x, y = np.ones((4, 3), "uint8"), np.ones((4, 1), "float32")
            return tf.data.Dataset.from_tensor_slices((x, y)).batch(2).repeat()

        dataset = strategy.distribute_datasets_from_function(batches)
        try:
            model.fit(dataset, steps_per_epoch=2, verbose=0, shuffle=False)
        except Exception as error:  # of any kind: the test shows it
            return f"{type(error).__name__}: {error}"
    return "works"


def statistics_are_averaged(strategy: tf.distribute.Strategy) -> list[list[float]]:
    """Moving mean of a batch normalization, and its average, after the workers moved their own."""
    with strategy.scope():
        inputs = keras.Input((3,))
        model = ReplicatedModel(inputs, keras.layers.BatchNormalization()(inputs))
        model.compile(keras.optimizers.SGD(), "mse", jit_compile=False)
        average = MovingAverage(model, 0.5)
        moving = model.non_trainable_variables[0]
        both = (moving, average.of(moving))

        @tf.function
        def move() -> None:
            for number, variable in enumerate(both):
                variable.assign([2.0 * worker_index() + number] * 3)

        strategy.run(move)
        statistics_averager(model, average)()
        return [variable.numpy().tolist() for variable in both]


def main() -> None:
    strategy = make_strategy("multi_worker")
    with strategy.scope():
        found = exchange()
        found["mean loss"] = mean_loss_goes_on(strategy)
    found["statistics"] = statistics_are_averaged(strategy)
    for part in (None, "_maybe_symbolic_build", "train_step"):
        found[str(part)] = fit(strategy, part)
    print(json.dumps(found), flush=True)
    with strategy.scope():
        if not is_chief():
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            with told_of_lost_workers():
                gather("still there?")
        except ValueError as error:
            print(error, flush=True)
            # Else TensorFlow waits at the exit for the other one.
            os._exit(1)


if __name__ == "__main__":
    main()
