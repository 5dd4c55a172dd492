"""Several workers of `tf.distribute` on one machine, over its loopback interface."""

from __future__ import annotations

import json
import socket


def cluster(count: int) -> list[str]:
    """TF_CONFIG of each of `count` workers, at ports that nobody listens on just now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return [
        json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        for index in range(count)
    ]
