"""Dispatcher and worker as programs: what they prepare reaches a training; signals end them."""

from __future__ import annotations

import signal
import subprocess
import sys

import data_service
import pytest
import tensorflow as tf

from tasks.common.data_service import from_data_service


def started(*words: str) -> tuple[subprocess.Popen, str]:
    """The program, and what it has told."""
    process = subprocess.Popen(
        [sys.executable, data_service.__file__, *words], stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline()


def test_batches_are_prepared_until_a_signal_ends_it():
    dispatcher, told = started("dispatcher")
    with dispatcher:
        address = told.split()[-1]
        worker, told = started("worker", "--dispatcher", address.removeprefix("grpc://"))
        with worker:
            assert told.startswith("worker of localhost:")
            squares = tf.data.Dataset.range(6).map(lambda number: number**2)
            found = from_data_service(squares, address, "squares")
            assert sorted(found.as_numpy_iterator()) == [0, 1, 4, 9, 16, 25]
            worker.send_signal(signal.SIGTERM)
            dispatcher.send_signal(signal.SIGINT)
    assert (worker.returncode, dispatcher.returncode) == (-signal.SIGTERM, -signal.SIGINT)


def test_a_port_that_is_taken_is_told_of():
    service = tf.data.experimental.service
    taken = service.DispatchServer(service.DispatcherConfig(port=0))
    port = taken.target.rpartition(":")[2]
    with pytest.raises(SystemExit, match=f"--port {port} cannot be listened on: .*in use"):
        data_service.main(["dispatcher", "--port", port])
