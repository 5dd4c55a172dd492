"""The processes that train together under `--strategy multi_worker`, and what they tell each other.

Worker 0 is the chief: it alone reads and writes the run folder. Without such a strategy in scope
there is one worker, which is the chief, and nothing here communicates.

All workers must call the functions that communicate, and in the same order.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import tensorflow as tf

T = TypeVar("T")


def _cluster() -> tuple[int, int]:
    """Index of this worker, and number of workers."""
    strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    sizes = {job: len(tasks) for job, tasks in resolver.cluster_spec().as_dict().items()}
    if not sizes:
        return 0, 1
    before = sizes.get("chief", 0) if resolver.task_type == "worker" else 0
    return before + resolver.task_id, sum(sizes.values())


def worker_index() -> int:
    """Place of this process among the workers, from 0."""
    return _cluster()[0]


def num_workers() -> int:
    """Processes that train together."""
    return _cluster()[1]


def share() -> tuple[int, int]:
    """(n, i): what `tf.data.Dataset.shard` needs for this worker's part of a data set."""
    return num_workers(), worker_index()


def is_chief() -> bool:
    """Whether this process is the one that writes."""
    return worker_index() == 0


def gather(value: T) -> list[T]:
    """The values of all workers, in their order."""
    index, count = _cluster()
    if count == 1:
        return [value]
    data = pickle.dumps(value)
    sizes = np.zeros([count], np.int64)
    sizes[index] = len(data)
    sizes = _sum(sizes)
    # In words of 8 bytes, of which every worker fills its part.
    ends = np.cumsum(-(-sizes // 8))
    words = np.zeros([ends[-1]], np.int64)
    padded = data + bytes(-len(data) % 8)
    words[ends[index] - len(padded) // 8 : ends[index]] = np.frombuffer(padded, np.int64)
    parts = np.split(_sum(words), ends[:-1])
    return [
        pickle.loads(part.tobytes()[:size])
        for part, size in zip(parts, sizes.tolist(), strict=True)
    ]


def gather_in_order(mine: list[T]) -> list[T]:
    """One list of those of all workers, of which worker w of n has the elements w, w + n, ..."""
    parts = gather(mine)
    return [
        parts[number % len(parts)][number // len(parts)] for number in range(sum(map(len, parts)))
    ]


def on_chief(function: Callable[[], T]) -> T:
    """Calls `function` on the chief alone; its result, or its bad input, is that of all workers."""
    if num_workers() == 1:
        return function()
    result = problem = None
    if is_chief():
        try:
            result = function()
        except (ValueError, OSError) as error:
            problem = str(error)
    result, problem = gather((result, problem))[0]
    if problem is not None:
        raise ValueError(problem)
    return result


def chief_first(function: Callable[[], T]) -> T:
    """Calls `function` on the chief and then on the others, e.g. because it writes shared files."""
    if num_workers() == 1:
        return function()
    results: list[T] = []
    on_chief(lambda: results.append(function()))
    return results[0] if is_chief() else function()


def _sum(array: np.ndarray) -> np.ndarray:
    """Sum of the int64 arrays of all workers."""
    strategy = tf.distribute.get_strategy()
    local_replicas = strategy.num_replicas_in_sync // num_workers()

    def value(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
        first = context.replica_id_in_sync_group % local_replicas == 0
        return tf.identity(array if first else np.zeros_like(array))

    values = strategy.experimental_distribute_values_from_function(value)
    return strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None).numpy()


# What TensorFlow says when another worker does not answer any more, with reasons after it. Names of
# operations and devices do not tell: all operations of a worker have "/job:worker" in theirs.
_LOST_KINDS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.CancelledError,
)
_LOST_WORDS = ("Collective ops is aborted by: ", "stopped sending heartbeats", "remote target /job")


def lost_worker(error: Exception) -> str | None:
    """What to tell of an error by which TensorFlow says that another worker is gone, else None."""
    text = str(error)
    if (
        num_workers() == 1
        or not isinstance(error, _LOST_KINDS)
        or not any(words in text for words in _LOST_WORDS)
    ):
        return None
    reason = text.partition(_LOST_WORDS[0])[2] or text
    return (
        "another worker has ended or is out of reach, see its output "
        f"({reason.splitlines()[0].rstrip(':')}). Start all workers again, each with its command"
    )


@contextlib.contextmanager
def told_of_lost_workers() -> Iterator[None]:
    """Within it, what TensorFlow says when a worker is gone becomes a ValueError that says so."""
    try:
        yield
    except tf.errors.OpError as error:
        if (told := lost_worker(error)) is None:
            raise
        raise ValueError(told) from error
