"""Two worker processes on the loopback interface."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from loopback_cluster import cluster


@pytest.fixture(scope="module")
def outputs() -> list[str]:
    """What the two workers print, of which the second is killed in the end."""
    program = Path(__file__).with_name("two_workers.py")
    processes = [
        subprocess.Popen(
            [sys.executable, str(program)],
            env={**os.environ, "TF_CONFIG": text},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for text in cluster(2)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    statuses = [process.returncode for process in processes]
    assert statuses == [1, -signal.SIGKILL], "\n".join(errors for _, errors in outputs)
    return [output for output, _ in outputs]


@pytest.fixture(scope="module")
def found(outputs) -> list[dict]:
    """What the two workers found."""
    lines = [output.splitlines() for output in outputs]
    return [json.loads(next(x for x in each if x.startswith("{"))) for each in lines]


def test_a_worker_that_is_killed_is_told_of(outputs):
    told = outputs[0].splitlines()[-1]
    assert told.startswith("another worker has ended or is out of reach, see its output (")
    assert told.endswith("Start all workers again, each with its command")


def test_workers_exchange_values(found):
    assert [worker["share"] for worker in found] == [[2, 0], [2, 1]]
    assert [worker["chief"] for worker in found] == [True, False]
    assert [worker["chief first"] for worker in found] == [0, 1]
    for worker in found:
        assert worker["gathered"] == ["äää", "ääää"]
        assert worker["in order"] == list(range(7))
        assert worker["empty"] == [5]
        assert worker["on chief"] == 0
        assert "nowhere" in worker["error"]
        assert worker["evaluation"]


def test_the_mean_loss_is_shared_out_alike_by_saving_and_going_on(found):
    """Else the rounding of its sum would tell where a training was taken up."""
    first, second = (worker["mean loss"] for worker in found)
    assert first["step"][0] != second["step"][0]
    for worker in (first, second):
        assert worker["saved"] == worker["restored"]
    sums = [np.float32(first[when]) + np.float32(second[when]) for when in ("step", "saved")]
    np.testing.assert_array_equal(*sums)


def test_statistics_that_are_not_synchronized_are_averaged(found):
    for worker in found:
        assert worker["statistics"] == [[1.0] * 3, [2.0] * 3]


def test_fit_works(found):
    assert [worker["None"] for worker in found] == ["works", "works"]


ONE_WORKER = """
import keras, numpy as np
from tasks.common.replicated_fit import for_fit
from tasks.common.strategy import make_strategy
with make_strategy("multi_worker").scope():
    inputs = keras.Input((3,))
    model = for_fit(keras.Model(inputs, keras.layers.Dense(1)(inputs)))
    model.compile("sgd", "mse", jit_compile=False)
    history = model.fit(np.ones((4, 3)), np.ones((4, 1)), batch_size=2, verbose=0).history
print(type(model).__name__, history["loss"][0] > 0)
"""


def test_a_cluster_of_one_worker_trains(outputs):  # by its own port, after those of `outputs`
    result = subprocess.run(
        [sys.executable, "-c", ONE_WORKER],
        env={**os.environ, "TF_CONFIG": cluster(1)[0]},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.stdout.splitlines()[-1:] == ["ReplicatedModel True"], result.stderr


# As the commands do, whose handlers Python would not get to call.
SIGNALS = "from tasks.common.interruption import Signals; Signals().__enter__(); "


def test_waiting_for_other_workers_can_be_ended():
    chief = cluster(2)[0]
    program = "from tasks.common.strategy import make_strategy; make_strategy('multi_worker')"
    with subprocess.Popen(
        [sys.executable, "-c", f"{SIGNALS}{program}"],
        env={**os.environ, "TF_CONFIG": chief},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        line = process.stdout.readline()
        assert line.startswith("worker 0: waiting for 127.0.0.1:"), line
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == -signal.SIGTERM


@pytest.mark.parametrize("method", ["_maybe_symbolic_build", "train_step"])
def test_plain_keras_still_fails(found, method):
    """When this fails, Keras has been repaired: remove that method of `ReplicatedModel`.

    Both methods of tasks/common/replicated_fit.py are there for this alone.
    """
    for worker in found:
        assert worker[method].startswith("ValueError"), (
            f"Keras does without ReplicatedModel.{method} now ({worker[method]}): remove it"
        )
