"""A step on two devices is that of one; what replicas cannot do is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tasks.common.replicated_fit import ReplicatedModel, for_fit
from tasks.common.strategy import make_strategy

TASKS = ["focal", "hard_negative", "segmentation", "classification"]


@pytest.fixture(scope="module")
def found() -> dict:
    """What `two_devices.py` measures."""
    program = Path(__file__).with_name("two_devices.py")
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("task", TASKS)
def test_two_devices_make_the_step_of_one(found, task):
    """With unequal numbers of positives or valid pixels, weight decay and a clipped gradient."""
    assert found["replicas"] == 2
    assert found[task]["step"] > 1e-3
    assert found[task]["difference"] < 5e-6
    assert found[task]["loss"] < 1e-5
    assert found[task]["prediction"] < 5e-6


def test_without_synchronized_statistics_they_do_not(found):
    assert found["without synchronized statistics"]["difference"] > 1e-3


def test_plain_keras_clips_before_it_adds_up(found):
    """When this fails, Keras clips what the replicas have added up: drop `_add_up_before_use`."""
    assert found["plain Keras"]["difference"] > 1e-3


def test_gradients_that_overflow_on_one_replica_are_skipped_by_all(found):
    assert found["half precision"]["step"] > 1e-3
    assert found["half precision"]["overflow"] == 0


def model() -> ReplicatedModel:
    inputs = keras.Input((2,))
    return ReplicatedModel(inputs, keras.layers.Dense(1)(inputs))


def test_without_a_strategy_the_model_stays_itself():
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert for_fit(plain) is plain


def test_it_shares_the_variables():
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    replicated = ReplicatedModel(plain.inputs, plain.outputs)
    for one, other in zip(plain.weights, replicated.weights, strict=True):
        assert one is other


def test_variables_that_the_loss_does_not_depend_on_stay():
    with make_strategy("mirrored").scope():
        inputs = keras.Input((2,))
        outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("used", "idle")}
        trained = for_fit(keras.Model(inputs, outputs))
        trained.compile("sgd", {"used": "mse", "idle": None}, jit_compile=False)
        before = {name: trained.get_layer(name).kernel.numpy() for name in outputs}
        trained.fit(np.ones((4, 2)), {"used": np.full((4, 1), 9.0)}, batch_size=4, verbose=0)
    after = {name: trained.get_layer(name).kernel.numpy() for name in outputs}
    assert np.abs(after["used"] - before["used"]).min() > 1e-3
    np.testing.assert_array_equal(after["idle"], before["idle"])


def test_gradient_accumulation_is_refused():
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match="gradient_accumulation_steps=2"):
        model().compile(optimizer, "mse", jit_compile=False)


def test_overwriting_by_averages_is_refused():
    optimizer = keras.optimizers.SGD(use_ema=True, ema_overwrite_frequency=3)
    with pytest.raises(ValueError, match="ema_overwrite_frequency=3"):
        model().compile(optimizer, "mse", jit_compile=False)


def test_forced_xla_is_refused():
    with pytest.raises(ValueError, match="jit_compile"):
        model().compile("sgd", "mse", jit_compile=True)
