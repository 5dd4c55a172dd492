"""Which errors of TensorFlow say that another worker is gone."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tasks.common import workers

# What the first worker of two gets when the second is killed: in a step, between steps, while it
# builds its network. Further lines are left out.
IN_A_STEP = """Graph execution error:

Detected at node CollectiveReduceV2_77 defined at (most recent call last):
  File "train.py", line 1, in <module>

Collective ops is aborted by: Socket closed
Additional GRPC error information from remote target /job:worker/replica:0/task:1 while calling:
The error could be from a previous operation. Restart your program to reset.
\t [[{{node CollectiveReduceV2_77}}]] [Op:__inference_multi_step_on_iterator_11]"""
OUTSIDE_OF_STEPS = """{{function_node __wrapped__CollectiveReduceV2_Nordering_token_1_device_/job:\
worker/replica:0/task:0/device:CPU:0}} Collective ops is aborted by: Error reported from \
/job:worker/task:1: The following tasks are unhealthy (stopped sending heartbeats):
/job:worker/replica:0/task:1
The tasks have crashed."""

# None of these is about workers, though they name collectives, workers and devices of such.
OF_STORAGE = """Error executing an HTTP request: libcurl code 6 when reading gs://bucket/train
\t [[{{node IteratorGetNext}} device /job:worker/replica:0/task:0/device:CPU:0]]"""
OF_SHAPES = """Collective ops is aborted by: Shape mismatch in the collective instance 5.
\t [[{{node CollectiveReduceV2}}]]"""
OF_MEMORY = """OOM when allocating tensor with shape[9]
\t [[{{node CollectiveReduceV2}}]]"""


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setattr(workers, "num_workers", lambda: 2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (IN_A_STEP, "(Socket closed)"),
        (
            OUTSIDE_OF_STEPS,
            "(Error reported from /job:worker/task:1: The following tasks are unhealthy (stopped "
            "sending heartbeats))",
        ),
    ],
)
def test_lost_workers_are_told_with_the_reason(two, text, reason):
    error = tf.errors.UnavailableError(None, None, text)
    assert reason in workers.lost_worker(error)
    with (
        pytest.raises(ValueError, match="another worker has ended"),
        workers.told_of_lost_workers(),
    ):
        raise error


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (tf.errors.UnavailableError, OF_STORAGE),
        (tf.errors.InternalError, OF_SHAPES),
        (tf.errors.ResourceExhaustedError, OF_MEMORY),
    ],
)
def test_other_errors_are_left_as_they_are(two, kind, text):
    error = kind(None, None, text)
    assert workers.lost_worker(error) is None
    with pytest.raises(kind), workers.told_of_lost_workers():
        raise error


def test_one_worker_loses_none():
    assert workers.lost_worker(tf.errors.UnavailableError(None, None, IN_A_STEP)) is None
