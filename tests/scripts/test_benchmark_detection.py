"""benchmark_postprocessing.py and benchmark_targets.py on one image. No time is asserted."""

from __future__ import annotations

import argparse
import json

import benchmark_postprocessing
import benchmark_targets
import numpy as np
import pytest
import tensorflow as tf

OPTIONS = argparse.Namespace(batch_size=2, objects=5, score_threshold=0.3)


def test_post_processing_side_by_side(tmp_path, capfd, monkeypatch):
    # One of them, for the time that each takes to start.
    peer = {"tf_models batched": "batched"}
    monkeypatch.setattr(benchmark_postprocessing, "PEERS", peer)
    path = tmp_path / "times.json"
    words = ["--batch-size", "1", "--rounds", "2", "--json", str(path)]
    assert benchmark_postprocessing.main(words) == 0
    result = json.loads(path.read_text())
    names = [benchmark_postprocessing.OURS, benchmark_postprocessing.CLASS_AGNOSTIC]
    peers = [*benchmark_postprocessing.PEERS]
    assert [row["name"] for row in result["rows"]] == names + peers * (not result["unavailable"])
    assert all(row["detections"] == [100] for row in result["rows"])
    assert "post-processing of 1 images, score threshold 1e-08" in capfd.readouterr().out


def test_both_sides_find_the_same():
    generator = pytest.importorskip("official.vision.modeling.layers.detection_generator")
    assert generator
    step, ours = benchmark_postprocessing.build_ours(OPTIONS, "per_class")
    scores = step()
    step, peer = benchmark_postprocessing.build_peer(OPTIONS, "batched")
    assert ours == peer and 5 < min(ours["detections"]) < 100
    np.testing.assert_allclose(scores, step(), atol=1e-6)


def test_both_sides_label_the_same_anchors():
    """Where objects compete for an anchor they may differ: nearly all is asserted."""
    pytest.importorskip("official", reason="tf-models-official is absent")
    ours = next(iter(benchmark_targets.our_targets(OPTIONS)))
    datasets = []
    spy = benchmark_targets._batches
    benchmark_targets._batches = lambda dataset: datasets.append(dataset)
    try:
        benchmark_targets.build_peer(OPTIONS)
    finally:
        benchmark_targets._batches = spy
    labels, codes, _, _, weights = next(iter(datasets[0]))
    positive = ours["class_logits"] > 0
    assert 5 < tf.reduce_sum(tf.cast(positive, tf.int32)) < 500
    assert np.mean(positive == (weights > 0)) > 0.995
    both = positive & (weights > 0)
    found = tf.boolean_mask(ours["class_logits"], both) - 1
    same = found == tf.cast(tf.boolean_mask(labels["3"][..., 0, 0], both), tf.int32)
    assert np.mean(same) > 0.9
    difference = ours["box_encodings"][..., :4] - tf.reshape(codes["3"], (2, -1, 4))
    assert np.mean(np.abs(tf.boolean_mask(difference, both)) < 1e-4) > 0.9


def test_the_share_of_detection():
    times = {"training step": 900.0, "matching and encoding": 400.0, "tf_models labels": 800.0}
    times["mining"] = 8.0
    rows = [{"name": name, "batches": 1 if name == "training step" else 4} for name in times]
    steps = {name: [{"cpu_ms": ms}, {"cpu_ms": ms}] for name, ms in times.items()}
    found = benchmark_targets.summary({"rows": rows, "steps": steps})
    assert found["cpu_ms_a_batch"]["matching and encoding"] == 100
    assert found["share"] == pytest.approx((100 + 2) / (900 + 100))


def test_mining_is_a_program():
    step, facts = benchmark_targets.build_mining(OPTIONS)
    step()
    assert facts == {"batches": benchmark_targets.BATCHES}
