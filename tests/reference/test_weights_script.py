"""scripts/import_weights.py --verify on the reference detector."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

REPOSITORY = Path(__file__).resolve().parents[2]
SUPPRESSION = "/non_max_suppression/iou_threshold"


@pytest.fixture(scope="module")
def run():
    """Function from command line arguments to the exit status."""
    sys.path.insert(0, str(REPOSITORY / "scripts"))
    try:
        import import_weights

        yield lambda *arguments: import_weights.main([str(argument) for argument in arguments])
    finally:
        sys.path.remove(str(REPOSITORY / "scripts"))


@pytest.fixture(scope="module")
def photo(reference, tmp_path_factory):
    images = np.load(reference / "reference" / "ssdlite" / "inputs.npz")["images"]
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    path.write_bytes(tf.io.encode_png(images[0].astype("uint8")).numpy())
    return path


@pytest.fixture(scope="module")
def graph_path(reference):
    return reference / "reference" / "ssdlite" / "frozen_inference_graph.pb"


def changed(graph_path, folder: Path, change) -> Path:
    """A copy of the graph, changed by a function of its nodes."""
    graph = tf.compat.v1.GraphDef.FromString(graph_path.read_bytes())
    change(graph.node)
    path = folder / graph_path.name
    path.write_bytes(graph.SerializeToString())
    return path


def test_agrees(run, graph_path, photo, tmp_path, capsys):
    output = tmp_path / "person.keras"
    assert run(graph_path, output, "--verify", photo) == 0
    lines = capsys.readouterr().out.splitlines()
    compared = [line for line in lines if line.endswith("  ok")]
    names = ("box encodings", "class logits", "detection scores", "detection boxes")
    assert [line.strip().rpartition("  ")[0][:24].strip() for line in compared] == list(names)
    content = json.loads((tmp_path / "person.keras.labels.json").read_text())
    assert content["category_ids"] == [1] and content["input_size"] == [300, 300]


def test_other_post_processing_is_not_compared(run, graph_path, photo, tmp_path, capsys):
    def change(nodes):
        threshold = next(node for node in nodes if node.name.endswith(SUPPRESSION))
        threshold.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.float32(0.5)))

    path = changed(graph_path, tmp_path, change)
    assert run(path, tmp_path / "person.keras", "--verify", photo) == 0
    printed = capsys.readouterr().out
    assert "post-processing differs" in printed and "not compared" in printed
    assert "box encodings" in printed and "detection boxes" not in printed


def test_another_computation_is_found(run, graph_path, photo, tmp_path, capsys):
    # No weight tells the epsilon of a normalization; only running the graph shows it.
    def change(nodes):
        next(node for node in nodes if node.op == "FusedBatchNorm").attr["epsilon"].f = 0.01

    output = tmp_path / "person.keras"
    assert run(changed(graph_path, tmp_path, change), output, "--verify", photo) == 1
    captured = capsys.readouterr()
    assert "above" in captured.out and "nothing was written" in captured.err
    assert not output.exists()
