"""Times what workers exchange in a training step: the sum of all gradients of a network.

    python scripts/benchmark_all_reduce.py --workers 1 2 4

Every number of workers is a cluster of processes on this machine under
tf.distribute.MultiWorkerMirroredStrategy; they exchange tensors of the shapes of the network's
gradients over the loopback interface and compute nothing else. In a ring of n workers each sends
2 (n - 1) / n times the bytes of all gradients a step. The processes share this machine's cores, so
that the bandwidth found is a lower bound of what the software reaches on machines of their own.
docs/scaling.md uses these figures.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmarking
from loopback_cluster import cluster
from text_table import format_table

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

NETWORKS = ("MobileNetV2", "SSDLite", "DeepLabV3")
WARMUP = 3


def gradient_shapes(network: str) -> list[list[int]]:
    """Shapes of the trainable variables of a network of `keras_mnv2`, by its defaults."""
    import keras_mnv2

    model = getattr(keras_mnv2, network)()
    return [list(variable.shape) for variable in model.trainable_variables]


def exchange(shapes: Sequence[Sequence[int]], steps: int) -> list[float]:
    """Milliseconds of each of `steps` sums over the workers that TF_CONFIG names."""
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    @tf.function
    def step() -> tf.Tensor:
        def in_replica() -> tf.Tensor:
            gradients = [tf.ones(shape) for shape in shapes]
            context = tf.distribute.get_replica_context()
            sums = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            # One value of each, so that none is left out and no time goes into adding up.
            return tf.add_n([tf.reshape(tensor, [-1])[0] for tensor in sums])

        return strategy.run(in_replica)

    expected = len(shapes) * strategy.num_replicas_in_sync
    milliseconds = []
    for _ in range(WARMUP + steps):
        start = time.perf_counter()
        found = float(step())
        milliseconds.append(1e3 * (time.perf_counter() - start))
        if found != expected:
            raise RuntimeError(f"the sum over the workers is {found}, not {expected}")
    return milliseconds[WARMUP:]


def measure(network: str, workers: int, steps: int) -> list[float]:
    """`exchange` by so many processes, as the first of them measures it."""
    shapes = json.dumps(gradient_shapes(network))
    with tempfile.TemporaryDirectory() as folder:
        logs = [(Path(folder) / f"{index}.log").open("w+") for index in range(workers)]
        command = [sys.executable, __file__, "--steps", str(steps), "--worker", shapes]
        processes = [
            subprocess.Popen(
                command,
                env={**os.environ, "TF_CONFIG": config},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            for config, log in zip(cluster(workers), logs, strict=True)
        ]
        outputs = [process.communicate()[0] for process in processes]
        failed = [index for index, process in enumerate(processes) if process.returncode]
        if failed:
            logs[failed[0]].seek(0)
            raise RuntimeError(f"worker {failed[0]} failed:\n{logs[failed[0]].read()[-2000:]}")
        for log in logs:
            log.close()
    return json.loads(outputs[0].splitlines()[-1])


def summary(parameters: int, workers: int, milliseconds: Sequence[float]) -> dict[str, Any]:
    """Bytes that a worker sends in a step, the median time, and what bandwidth that is."""
    sent = round(2 * (workers - 1) / workers * 4 * parameters)
    median = statistics.median(milliseconds)
    return {
        "workers": workers,
        "sent_bytes": sent,
        "median_ms": median,
        "bytes_per_second": sent / (median / 1e3),
    }


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS[:2]))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="[1 2 4]")
    parser.add_argument("--steps", type=int, default=30, help="timed exchanges [30]")
    benchmarking.add_json_option(parser)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    for name in ("workers", "steps"):
        values = getattr(options, name)
        if min(values if isinstance(values, list) else [values]) < 1:
            parser.error(f"--{name} must be at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    options = parse_arguments(arguments)
    if options.worker:
        print(json.dumps(exchange(json.loads(options.worker), options.steps)))
        return 0
    result: dict[str, Any] = {"environment": benchmarking.describe_machine(), "networks": {}}
    for network in options.networks:
        parameters = sum(math.prod(shape) for shape in gradient_shapes(network))
        rows = []
        for workers in options.workers:
            try:
                milliseconds = measure(network, workers, options.steps)
            except RuntimeError as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
            rows.append(summary(parameters, workers, milliseconds) | {"ms": milliseconds})
        result["networks"][network] = {"parameters": parameters, "rows": rows}
        print(f"\n{network}: {parameters:,} trainable parameters, {4 * parameters / 1e6:.1f} MB")
        print(
            format_table(
                ("workers", "MB sent", "ms a step", "MB/s"),
                [
                    (
                        str(row["workers"]),
                        f"{row['sent_bytes'] / 1e6:.1f}",
                        f"{row['median_ms']:.1f}",
                        f"{row['bytes_per_second'] / 1e6:.0f}" if row["sent_bytes"] else "-",
                    )
                    for row in rows
                ],
            )
        )
    environment = result["environment"]
    print(f"{environment['processor']}, {environment['cores']} cores, shared by all workers")
    if options.json:
        benchmarking.write_json(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
