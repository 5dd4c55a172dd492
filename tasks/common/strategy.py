"""The `tf.distribute` strategies of the training commands."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tasks.common.interruption import left_to_the_system
from tasks.common.recipe import TrainingRecipe

STRATEGIES = ("none", "mirrored", "multi_worker", "tpu")

_EXAMPLE = (
    '\'{"cluster": {"worker": ["host0:12345", "host1:12345"]}, '
    '"task": {"type": "worker", "index": 0}}\''
)


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy that trains on all devices that are to take part.

    Args:
        name: "none": one device, as without `tf.distribute`; "mirrored": all GPUs of this machine;
            "multi_worker": several processes, which the environment variable TF_CONFIG names;
            "tpu": the TPU that the environment names.

    Raises:
        ValueError: if the environment does not tell what the strategy needs to know.
    """
    if name == "mirrored":
        return _mirrored()
    if name == "multi_worker":
        return _multi_worker(os.environ)
    if name == "tpu":
        return _tpu()
    if name != "none":
        raise ValueError(f"strategy {name!r} must be one of {', '.join(STRATEGIES)}")
    return tf.distribute.get_strategy()


def check_recipe(recipe: TrainingRecipe, name: str) -> None:
    """Raises ValueError, before others are waited for, if replicas cannot do what a recipe asks."""
    if recipe.jit_compile and name != "none":
        raise ValueError(
            "--jit-compile does not go with --strategy: XLA would compile the whole step, the "
            "exchange between the replicas included, which it cannot; leave one of them out"
        )


def check_batch(recipe: TrainingRecipe, strategy: tf.distribute.Strategy) -> None:
    """Raises ValueError if the replicas cannot share a batch out equally."""
    replicas = strategy.num_replicas_in_sync
    if recipe.batch_size % replicas:
        below = recipe.batch_size - recipe.batch_size % replicas
        choices = " or ".join(str(size) for size in (below, below + replicas) if size)
        raise ValueError(
            f"batch_size={recipe.batch_size} is the batch of all {replicas} replicas together and "
            f"does not divide into {replicas} equal parts: give --batch-size {choices}"
        )


def check_tf_config(text: str | None) -> dict[str, Any]:
    """Reads the value of TF_CONFIG.

    Returns:
        The parsed value.

    Raises:
        ValueError: if it is absent or does not describe a cluster of workers and one of its tasks.
    """
    remedy = f"; on each host give it as TF_CONFIG={_EXAMPLE}, with the index of that host"
    if not text:
        raise ValueError(
            "--strategy multi_worker needs the environment variable TF_CONFIG, which is not set"
            + remedy
        )
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        kind, index = task["type"], task["index"]
        sizes = {job: len(addresses) for job, addresses in cluster.items()}
        addresses = [address for job in cluster.values() for address in job]
        wrong = [x for x in addresses if not re.fullmatch(r".+:\d+", x)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"TF_CONFIG={text!r} does not name a cluster and a task ({error!r}){remedy}"
        ) from None
    if unknown := sorted(set(sizes) - {"worker", "chief"}):
        raise ValueError(
            f"TF_CONFIG has jobs {unknown}, but all processes train: give jobs 'worker' and, if "
            "you like, 'chief' only"
        )
    if not isinstance(index, int) or not 0 <= index < sizes.get(kind, 0):
        raise ValueError(
            f"TF_CONFIG: there is no task {index!r} of type {kind!r} in the cluster {cluster}"
            + remedy
        )
    if sizes.get("chief", 0) > 1:
        raise ValueError(f"TF_CONFIG: there can be one chief only, not {cluster['chief']}")
    if wrong:
        raise ValueError(f"TF_CONFIG: {wrong[0]!r} is no address, such as 'host0:12345'{remedy}")
    if len(set(addresses)) < len(addresses):
        raise ValueError(f"TF_CONFIG: the same address twice in the cluster {cluster}{remedy}")
    return config


def _mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    try:
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    except json.JSONDecodeError as error:
        raise ValueError(
            f"TF_CONFIG={os.environ.get('TF_CONFIG')!r} is no JSON ({error}): unset it, "
            "--strategy mirrored has no use for it"
        ) from error


def _multi_worker(environment: Mapping[str, str]) -> tf.distribute.Strategy:
    config = check_tf_config(environment.get("TF_CONFIG"))
    cluster, task = config["cluster"], config["task"]
    others = [
        address
        for job, addresses in cluster.items()
        for i, address in enumerate(addresses)
        if (job, i) != (task["type"], task["index"])
    ]
    try:
        with left_to_the_system():
            if others:
                told = f"waiting for {', '.join(others)} (Ctrl-C ends that)"
                print(f"{task['type']} {task['index']}: {told}", flush=True)
            return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        raise ValueError(
            f"the cluster of TF_CONFIG could not be set up: {str(error).splitlines()[0]}; check "
            "that each address is reachable, its port free, and that all workers have been started"
        ) from error


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ValueError(
            "--strategy tpu found no TPU "
            f"({str(error).splitlines()[0] or type(error).__name__}): run it on a TPU virtual "
            "machine with TPU_NAME=local, or set TPU_NAME to the name or address of the TPU"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def distributed(
    make_dataset: Callable[[tf.distribute.InputContext], tf.data.Dataset],
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """The training data for the strategy in scope.

    Args:
        make_dataset: returns the batches of one input pipeline, in batches for one replica.
    """
    if not tf.distribute.has_strategy():
        return make_dataset(tf.distribute.InputContext())
    return tf.distribute.get_strategy().distribute_datasets_from_function(make_dataset)
