"""Training batches that the workers of a tf.data service prepare, on this or other machines."""

from __future__ import annotations

import hashlib
import socket
from urllib.parse import urlsplit

import tensorflow as tf

_PATIENCE_S = 10


def from_data_service(dataset: tf.data.Dataset, address: str, stream: str) -> tf.data.Dataset:
    """What workers of a tf.data service make of `dataset`, each element once.

    All processes of a training take from the same stream, whoever comes first. Of a data set that
    begins with a range, each worker of the service takes other elements of that range: whole
    epochs of a training. Files must be readable for them by the paths that they have here.

    Args:
        dataset: without Python functions; equal in all processes that take from `stream`.
        address: grpc://host:port of the dispatcher.
        stream: what the elements are for; processes that give the same share them.

    Raises:
        ValueError: if nobody listens at `address`.
    """
    _check_reachable(address)
    service = tf.data.experimental.service
    return dataset.apply(
        service.distribute(
            processing_mode=service.ShardingPolicy.DYNAMIC,
            service=address,
            job_name=hashlib.sha256(stream.encode()).hexdigest(),
        )
    )


def _check_reachable(address: str) -> None:
    """TensorFlow itself would try for an hour, without a word."""
    place = urlsplit(address)
    try:
        socket.create_connection((place.hostname, place.port), _PATIENCE_S).close()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--data-service {address} cannot be reached ({error}): start the service by "
            "scripts/data_service.py, or check host and port"
        ) from error
