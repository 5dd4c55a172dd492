"""A tf.data service, whose workers prepare the training batches of `--data-service`.

One dispatcher, and on each machine that is to decode and augment a worker:

    python scripts/data_service.py dispatcher --port 5050                                 # on host0
    python scripts/data_service.py worker --dispatcher host0:5050 --port 5051 --host host1

Each runs until Ctrl-C or SIGTERM. Workers may come and go during a training. They open the data by
the paths that the training has.
"""

from __future__ import annotations

import argparse
import signal
import socket
from collections.abc import Sequence

import tensorflow as tf


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    roles = parser.add_subparsers(dest="role", required=True)
    dispatcher = roles.add_parser("dispatcher", help="tells workers and trainings of each other")
    worker = roles.add_parser("worker", help="prepares batches")
    worker.add_argument(
        "--dispatcher", required=True, metavar="HOST:PORT", help="where the dispatcher listens"
    )
    worker.add_argument(
        "--host", default="localhost", help="this machine, as trainings reach it [localhost]"
    )
    for role in (dispatcher, worker):
        role.add_argument("--port", type=int, default=0, help="to listen on [any that is free]")
    return parser.parse_args(arguments)


def start(options: argparse.Namespace) -> tuple[object, str]:
    """The running server, and what to tell of it."""
    _check_free(options.port)
    service = tf.data.experimental.service
    if options.role == "dispatcher":
        server = service.DispatchServer(service.DispatcherConfig(port=options.port))
        return server, f"dispatcher: give trainings --data-service {server.target}"
    config = service.WorkerConfig(
        dispatcher_address=options.dispatcher,
        worker_address=f"{options.host}:%port%",
        port=options.port,
        # By default a worker that its dispatcher has left waits for an hour.
        dispatcher_timeout_ms=60_000,
    )
    return service.WorkerServer(config), f"worker of {options.dispatcher}, as {options.host}"


def _check_free(port: int) -> None:
    """TensorFlow's servers share a port with whoever has it, and get a part of what comes to it."""
    with socket.socket() as probe:
        # For a port that was left a moment ago; not one that somebody listens on.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except (OSError, OverflowError) as error:
            raise SystemExit(f"--port {port} cannot be listened on: {error}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    try:
        server, told = start(options)
    except tf.errors.OpError as error:
        raise SystemExit(f"{options.role} cannot start: {error.message}") from error
    print(told, flush=True)
    server.join()


if __name__ == "__main__":
    # Python's handlers are not called while the server waits.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    main()
