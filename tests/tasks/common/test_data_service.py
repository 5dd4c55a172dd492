"""Training batches from a tf.data service: each example once an epoch, whoever asks."""

from __future__ import annotations

import collections
import dataclasses
import socket

import pytest
import tensorflow as tf
from test_pipeline import RECIPE, SOURCE

from tasks.common.pipeline import training_batches


@pytest.fixture
def recipe():
    """One that takes from a service of two workers in this process."""
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
    address = dispatcher.target.removeprefix("grpc://")
    workers = [
        service.WorkerServer(service.WorkerConfig(dispatcher_address=address)) for _ in range(2)
    ]
    yield dataclasses.replace(RECIPE, data_service=dispatcher.target)
    del workers, dispatcher


def batches(recipe, context):
    return training_batches(SOURCE, recipe, lambda example, seed: (example, seed), 0, context)


def test_all_input_pipelines_share_one_stream(recipe):
    recipe = dataclasses.replace(recipe, batch_size=4)
    found = []
    contexts = [tf.distribute.InputContext(2, index, 2) for index in range(2)]
    pipelines = [iter(batches(recipe, context)) for context in contexts]
    for _ in range(60):
        for pipeline in pipelines:
            examples, seeds = next(pipeline)
            assert examples.shape == (2,)
            found += zip(examples.numpy().tolist(), seeds.numpy()[:, 1].tolist(), strict=True)
    numbers = [number for _, number in found]
    assert len(set(numbers)) == len(numbers) == 240
    # Each worker makes epochs of its own, of six examples; the last one of each is not complete.
    epochs = collections.defaultdict(list)
    for example, number in found:
        epochs[number // 6].append(example)
    complete = [sorted(epoch) for epoch in epochs.values() if len(epoch) == 6]
    assert len(complete) > 30
    assert all(epoch == list(range(6)) for epoch in complete)


def test_a_service_that_is_not_there_is_told_of():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    recipe = dataclasses.replace(RECIPE, data_service=f"grpc://127.0.0.1:{port}")
    with pytest.raises(ValueError, match=rf"grpc://127.0.0.1:{port} cannot be reached .*refused"):
        batches(recipe, tf.distribute.InputContext())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_service": "host0:5050"}, "data_service='host0:5050' must be an address such as"),
        ({"deterministic": True}, "deterministic does not go with data_service"),
        ({"shard_files": True}, "shard_files does not go with data_service"),
    ],
)
def test_what_does_not_go_with_a_service(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, **{"data_service": "grpc://host0:5050", **changes})
