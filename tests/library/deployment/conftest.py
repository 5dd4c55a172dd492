"""What the tests of all formats share; puts this folder on the module path for their helpers."""

from __future__ import annotations

import pytest
from tiny_programs import CATEGORY_IDS, CLASSES, make_program

from keras_mnv2.deployment.programs import Program, detection_program, segmentation_program


@pytest.fixture(scope="session")
def programs() -> dict[str, Program]:
    """A program of every kind, see `make_program`, of three networks; no test changes them."""
    programs = {kind: make_program(kind) for kind in ("classification", "class_map", "none")}
    network = programs["class_map"].network
    programs["logits"] = segmentation_program(network, CLASSES, "logits")
    for kind in ("nms", "custom_op"):
        network = programs["none"].network
        programs[kind] = detection_program(network, CLASSES, CATEGORY_IDS, postprocessing=kind)
    return programs
