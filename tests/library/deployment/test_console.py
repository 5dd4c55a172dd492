"""What native code says of its progress is kept off the console, errors are not."""

from __future__ import annotations

import os

import pytest

from keras_mnv2.deployment.console import without_noise

NOISE = (
    "W0000 00:00:1795375380.373000    7603 helpers.cc:364] Ignored output_format.",
    "I0000 00:00:1795375380.373000    7603 a.cc:1] MLIR V1 optimization pass is not enabled",
    "2026-11-22 19:22:05.123456: I tensorflow/cc/saved_model/reader.cc:83] Reading meta graph",
    "fully_quantize: 0, inference_type: 6, input_inference_type: FLOAT32",
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
)
TELLING = (
    "E0000 00:00:1795375380.373000    7603 b.cc:1] out of memory",
    "2026-11-22 19:22:05.123456: E tensorflow/b.cc:83] failed",
    "error: 'tf.Erf' op is neither a custom op nor a flex op",
)


def say(*lines):
    os.write(2, ("\n".join(lines) + "\n").encode())


def test_only_notes_are_dropped(capfd):
    with without_noise():
        say(*NOISE, *TELLING)
    say("afterwards")
    assert capfd.readouterr().err.splitlines() == [*TELLING, "afterwards"]


def test_nothing_is_lost_when_the_conversion_fails(capfd):
    with pytest.raises(KeyError), without_noise():
        say(*NOISE, *TELLING)
        raise KeyError
    assert capfd.readouterr().err.splitlines() == [*NOISE, *TELLING]
    say("again")
    assert capfd.readouterr().err == "again\n"


def test_a_process_without_a_console(monkeypatch):
    def dup(_):
        raise OSError("closed")

    monkeypatch.setattr(os, "dup", dup)
    with without_noise():
        done = True
    assert done
