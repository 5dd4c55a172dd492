"""Strategies by name, and what their environment must tell."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import tensorflow as tf

from tasks.common.recipe import TrainingRecipe
from tasks.common.strategy import (
    check_batch,
    check_recipe,
    check_tf_config,
    distributed,
    make_strategy,
)


def config(workers=("a:1", "b:2"), task=("worker", 0), **jobs) -> str:
    kind, index = task
    cluster = {"worker": list(workers), **jobs}
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "not set"),
        ("", "not set"),
        ("{", "does not name a cluster and a task"),
        ("[]", "does not name a cluster and a task"),
        ('{"cluster": {"worker": ["a:1"]}}', "does not name a cluster and a task"),
        (config(task=("worker", 2)), "no task 2 of type 'worker'"),
        (config(task=("worker", "0")), "no task '0'"),
        (config(task=("chief", 0)), "no task 0 of type 'chief'"),
        (config(ps=["c:3"]), r"jobs \['ps'\]"),
        (config(chief=["c:3", "d:4"]), "one chief only"),
        (config(workers=["a:1", "b"]), "'b' is no address"),
        (config(workers=["a:1", "a:1"]), "the same address twice"),
    ],
)
def test_a_tf_config_that_does_not_do_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        check_tf_config(text)


@pytest.mark.parametrize(
    "text", [config(), config(task=("worker", 1), chief=["c:3"]), config(workers=["[::1]:7"])]
)
def test_a_good_tf_config_is_read(text):
    assert check_tf_config(text) == json.loads(text)


def test_multi_worker_needs_tf_config(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match=r"TF_CONFIG='\{\"cluster\""):
        make_strategy("multi_worker")


def test_tpu_without_a_tpu_is_refused(monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(ValueError, match="found no TPU"):
        make_strategy("tpu")


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="'horovod' must be one of none, mirrored"):
        make_strategy("horovod")


def test_none_is_no_strategy():
    with make_strategy("none").scope():
        assert not tf.distribute.has_strategy()
        contexts = []
        dataset = distributed(lambda context: contexts.append(context) or tf.data.Dataset.range(1))
    assert isinstance(dataset, tf.data.Dataset)
    assert contexts[0].get_per_replica_batch_size(32) == 32


def test_the_batch_must_divide():
    replicas = SimpleNamespace(num_replicas_in_sync=3)
    check_batch(TrainingRecipe(batch_size=6), replicas)
    with pytest.raises(ValueError, match="batch_size=32 .* 3 replicas .* --batch-size 30 or 33"):
        check_batch(TrainingRecipe(batch_size=32), replicas)
    with pytest.raises(ValueError, match="--batch-size 3$"):
        check_batch(TrainingRecipe(batch_size=1), replicas)


def test_forced_xla_is_refused():
    recipe = TrainingRecipe(jit_compile=True)
    check_recipe(recipe, "none")
    for name in ("mirrored", "multi_worker", "tpu"):
        with pytest.raises(ValueError, match="--jit-compile"):
            check_recipe(recipe, name)


@pytest.mark.parametrize("text", ["", "{"])
def test_mirrored_names_a_tf_config_that_cannot_be_read(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="TF_CONFIG='{?' is no JSON .* unset it"):
        make_strategy("mirrored")
