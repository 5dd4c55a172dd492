"""How the commands end: with a result, or with one clear message."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable

import tensorflow as tf
from absl import logging as absl_logging

from tasks.common.interruption import Interrupted, Signals


class StoppedError(Exception):
    """A command had to stop half-way; the message says what happened and how to go on."""


def exit_on_bad_input(main: Callable) -> Callable:
    """Turns errors that inputs and files cause into one line and status 1.

    A ValueError names the input at fault and the remedy, a StoppedError what became of a training,
    an OSError the file, an OpError of TensorFlow the operation and often the file. SIGINT and
    SIGTERM end in a line, too, and in status 130 and 143.

    Notes of the libraries below, such as deprecations inside TFDS, are kept off the console.
    """

    @functools.wraps(main)
    def guarded(argv=None):
        absl_logging.set_verbosity(absl_logging.ERROR)
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        try:
            with Signals():
                return main(argv)
        except (ValueError, OSError, StoppedError, tf.errors.OpError) as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from error
        except Interrupted as interrupted:
            print(interrupted, file=sys.stderr)
            raise SystemExit(interrupted.status) from None

    return guarded
