from __future__ import annotations

import numpy as np
import tensorflow as tf
from keras import ops

from keras_mnv2.detection.anchors import feature_grid_sizes, ssd_anchors
from keras_mnv2.detection.box_coder import decode
from keras_mnv2.detection.matching import match_anchors
from keras_mnv2.detection.targets import encode_targets

ANCHORS = ssd_anchors(feature_grid_sizes((128, 128)), (128, 128))
BOXES = np.array([[0.1, 0.1, 0.6, 0.5], [0.4, 0.3, 0.9, 0.9], [0, 0.6, 0.3, 1]], np.float32)
LABELS = np.array([4, 0, 7])


def test_targets_follow_the_matches():
    targets = encode_targets(ANCHORS, BOXES, LABELS)
    matches = match_anchors(ANCHORS, BOXES).numpy()
    positive = matches >= 0
    boxes, classes = targets["box_encodings"].numpy(), targets["class_logits"].numpy()
    assert boxes.dtype == np.float32 and boxes.shape == (len(ANCHORS), 5)
    assert classes.dtype == np.int32
    np.testing.assert_array_equal(classes[positive], LABELS[matches[positive]] + 1)
    assert (classes[~positive] == 0).all()
    np.testing.assert_array_equal(boxes[:, 4], positive)
    assert (boxes[~positive] == 0).all()
    decoded = ops.convert_to_numpy(decode(boxes[positive, :4], ANCHORS[positive]))
    np.testing.assert_allclose(decoded, BOXES[matches[positive]], atol=1e-6)


def test_crowds_and_the_band_between_the_thresholds_are_ignored():
    targets = encode_targets(ANCHORS, BOXES, LABELS, is_crowd=[False, True, False])
    classes = targets["class_logits"].numpy()
    assert set(classes) == {-1, 0, 5, 8}
    assert (targets["box_encodings"].numpy()[classes == -1] == 0).all()
    banded = encode_targets(ANCHORS, BOXES, LABELS, unmatched_threshold=0.3)["class_logits"].numpy()
    assert (banded == -1).any()


def test_padding_and_empty_images_in_a_batched_pipeline():
    def examples():
        yield BOXES, LABELS
        yield BOXES[:0], LABELS[:0]

    signature = (tf.TensorSpec((None, 4)), tf.TensorSpec((None,), tf.int64))
    plain = tf.data.Dataset.from_generator(examples, output_signature=signature)
    padded = plain.padded_batch(2, padding_values=(0.0, np.int64(-1))).unbatch()
    for dataset in (plain, padded):
        batch = next(iter(dataset.map(lambda *objects: encode_targets(ANCHORS, *objects)).batch(2)))
        assert batch["box_encodings"].shape == (2, len(ANCHORS), 5)
        expected = encode_targets(ANCHORS, BOXES, LABELS)
        for name in expected:
            np.testing.assert_array_equal(batch[name][0], expected[name])
            assert not batch[name][1].numpy().any()


def test_a_negative_label_marks_padding_whatever_its_box():
    targets = encode_targets(ANCHORS, BOXES, [4, -1, 7])
    expected = encode_targets(ANCHORS, BOXES[[0, 2]], LABELS[[0, 2]])
    for name in expected:
        np.testing.assert_array_equal(targets[name], expected[name])
