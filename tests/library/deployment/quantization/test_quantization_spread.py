"""Of representative images in the order of their classes, those taken are from all of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from tiny_programs import make_program

from keras_mnv2.deployment.quantization import layer_report
from keras_mnv2.deployment.quantization import quantize as quantize_module
from keras_mnv2.deployment.quantization.representative import evenly_spread


def test_evenly_spread():
    assert evenly_spread(10, 4) == [0, 2, 5, 7]
    assert evenly_spread(250, 200) == [number for number in range(250) if number % 5 != 4]
    assert evenly_spread(3, 8) == [0, 1, 2]


def test_biases_are_corrected_on_images_from_all_over(monkeypatch):
    taken = []

    def channel_errors(content, layers, images):
        taken.extend(int(image[0, 0, 0, 0]) for image in images)
        return {}

    program = make_program("classification")
    monkeypatch.setattr(quantize_module, "channel_errors", channel_errors)
    for name in ("make_converter", "convert", "calibrated", "_quantized", "with_corrected_biases"):
        monkeypatch.setattr(quantize_module, name, lambda *_, **__: b"")
    monkeypatch.setattr(quantize_module, "_layers", lambda *_: {})
    monkeypatch.setattr(quantize_module, "parse", lambda *_: None)
    monkeypatch.setattr(quantize_module, "operations", lambda _: [])
    size = program.description.input_size
    images = [np.full((1, *size, 3), number, np.uint8) for number in range(250)]
    quantize_module.quantize(program, images)
    assert taken == [number * 5 // 2 for number in range(100)]


@pytest.mark.parametrize(
    ("given", "expected"), [(None, [0, 2, 5, 7, 10, 12, 15, 17]), ([3, 4], [3, 4])]
)
def test_layers_are_compared_on_images_from_all_over(monkeypatch, given, expected):
    taken = []

    def statistics(quantized, images, accumulated):
        taken.append(list(images))
        return {}

    monkeypatch.setattr(layer_report, "_statistics", statistics)
    monkeypatch.setattr(layer_report, "parse", lambda *_: None)
    monkeypatch.setattr(layer_report, "operations", lambda _: [])
    quantized = SimpleNamespace(images=list(range(20)), calibrated=b"")
    assert layer_report.layer_errors(quantized, given) == []
    assert taken == [expected, expected]
