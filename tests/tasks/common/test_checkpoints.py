"""Interrupted runs go on as if nothing had happened."""

from __future__ import annotations

import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from tasks.common.checkpoints import (
    Checkpoints,
    finished_steps,
    last_checkpoint,
    remove_checkpoints,
)
from tasks.common.moving_average import MovingAverage


def compiled(optimizer="adam") -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((4,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(8)(image))
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Dropout(0.5)(x)))
    model.compile(optimizer, "mse", jit_compile=False)
    return model


def fit(model, average, steps, first=0):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 4)), rng.normal(size=(40, 3))
    x, y = x[4 * first : 4 * (first + steps)], y[4 * first : 4 * (first + steps)]
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[average])


def state(model) -> list[np.ndarray]:
    return [np.array(v) for v in (*model.weights, *model.optimizer.variables)]


def test_a_restored_run_ends_bit_for_bit_as_an_undisturbed_one(tmp_path):
    whole = compiled()
    average = MovingAverage(whole, 0.9)
    fit(whole, average, 4)
    fit(whole, average, 5, first=4)

    begun = compiled()
    average = MovingAverage(begun, 0.9)
    checkpoints = Checkpoints(tmp_path, begun)
    fit(begun, average, 4)
    checkpoints.save(4, [{"step": 4, "score": 0.5}])

    resumed = compiled()
    average = MovingAverage(resumed, 0.9)
    assert Checkpoints(tmp_path, resumed).restore() == (4, [{"step": 4, "score": 0.5}])
    fit(resumed, average, 5, first=4)
    found, expected = state(resumed), state(whole)
    assert len(found) == len(expected) > 20
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_random_layers_go_on_too(tmp_path):
    model = compiled()
    checkpoints = Checkpoints(tmp_path, model)
    checkpoints.save(1, [])
    images = np.random.default_rng(0).normal(size=(8, 4))
    first = [np.array(model(images, training=True)) for _ in range(2)]
    checkpoints.restore()
    again = [np.array(model(images, training=True)) for _ in range(2)]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])


def test_the_last_ones_are_kept_and_the_best_model_with_them(tmp_path):
    model = compiled()
    checkpoints = Checkpoints(tmp_path, model, keep=2)
    assert finished_steps(tmp_path) == 0 and checkpoints.restore() == (0, [])
    best = tmp_path / "best.keras"
    for step in (5, 10, 15):
        best.unlink(missing_ok=True)
        write_zip(best, f"best of {step}")
        checkpoints.save(step, [{"step": step}])
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step_000000010_evaluated", "step_000000015_evaluated"]
    best.unlink()
    best.write_bytes(b"of steps that were lost")
    assert finished_steps(tmp_path) == 15
    assert checkpoints.restore() == (15, [{"step": 15}])
    assert zipfile.ZipFile(best).read("member") == b"best of 15"
    remove_checkpoints(tmp_path)
    assert finished_steps(tmp_path) == 0


def write_zip(path, content):
    """A file such as `best.keras`; replaced, since other names may be those of the same file."""
    path.unlink(missing_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("member", content)


@pytest.mark.parametrize(
    "victim", ["variables.data-00000-of-00001", "variables.index", "history.json"]
)
@pytest.mark.parametrize("damage", ["truncated", "empty", "missing", "changed"])
def test_a_damaged_one_is_skipped_for_the_one_before(tmp_path, capsys, victim, damage):
    model = compiled()
    checkpoints = Checkpoints(tmp_path, model)
    checkpoints.save(5, [{"step": 5}])
    expected = state(model)
    for variable in model.trainable_variables:
        variable.assign(variable + 1)
    checkpoints.save(10, [{"step": 10}])
    path = last_checkpoint(tmp_path) / victim
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
        path.write_bytes({"truncated": content[:middle], "empty": b"", "changed": flipped}[damage])
    assert checkpoints.restore() == (5, [{"step": 5}])
    assert "step_000000010_evaluated is damaged" in capsys.readouterr().out
    for one, other in zip(state(model), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_history_that_says_something_else_is_noticed(tmp_path):
    checkpoints = Checkpoints(tmp_path, compiled())
    checkpoints.save(5, [])
    checkpoints.save(10, [{"step": 10, "score": 0.25}])
    history = last_checkpoint(tmp_path) / "history.json"
    history.write_text(history.read_text().replace("0.25", "0.35"))
    assert finished_steps(tmp_path) == 5


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_one_with_a_damaged_best_model_is_put_aside(tmp_path, capsys, damage):
    checkpoints = Checkpoints(tmp_path, compiled())
    checkpoints.save(5, [{"step": 5}])
    write_zip(tmp_path / "best.keras", "a" * 100)
    checkpoints.save(10, [{"step": 10}])
    best = last_checkpoint(tmp_path) / "best.keras"
    content = best.read_bytes()
    if damage == "missing":
        best.unlink()
    else:
        changed = content.replace(b"aa", b"ab")
        best.write_bytes({"truncated": content[:60], "changed": changed}[damage])
    assert finished_steps(tmp_path) == 5
    assert "damaged_step_000000010_evaluated" in capsys.readouterr().out
    assert (tmp_path / "checkpoints" / "damaged_step_000000010_evaluated").is_dir()


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    model = compiled()
    checkpoints = Checkpoints(tmp_path, model)
    checkpoints.save(5, [])

    def full(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "no space left")

    monkeypatch.setattr(checkpoints._checkpoint, "write", full)
    with pytest.raises(OSError, match="step_000000010 cannot be written: no space left"):
        checkpoints.save(10, [])
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_000000005"]


def test_another_model_is_refused(tmp_path):
    Checkpoints(tmp_path, compiled("adam")).save(5, [])
    with pytest.raises(ValueError, match="does not fit this model.*another --run-dir"):
        Checkpoints(tmp_path, compiled("sgd")).restore()


def test_a_killed_write_is_no_checkpoint(tmp_path):
    model = compiled()
    checkpoints = Checkpoints(tmp_path, model)
    checkpoints.save(5, [])
    torn = tmp_path / "checkpoints" / ".step_000000010.tmp"
    torn.mkdir()
    (torn / "variables.index").write_bytes(b"begun")
    assert finished_steps(tmp_path) == 5
    checkpoints.save(10, [])
    assert finished_steps(tmp_path) == 10 and not torn.exists()
