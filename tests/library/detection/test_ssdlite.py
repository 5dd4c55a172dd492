"""The SSDLite network: counts, anchors, outputs, saving, training."""

from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_mnv2 import SSDLite
from keras_mnv2.complexity import count
from keras_mnv2.detection import (
    BoxLoss,
    FocalClassificationLoss,
    anchors_for,
    detector,
    encode_targets,
)


@pytest.mark.parametrize(
    ("side", "classes", "anchors", "parameters", "trainable", "multiply_adds"),
    [
        (300, 1, 1917, 3095878, 3045126, 616952240),
        (300, 80, 1917, 4387765, 4337013, 734610416),
        (300, 90, 1917, 4551295, 4500543, 749503856),
        (320, 80, 2034, 4387765, 4337013, 788830144),
        (320, 90, 2034, 4551295, 4500543, 804397504),
    ],
)
def test_counts(side, classes, anchors, parameters, trainable, multiply_adds):
    """Section 12 of the specification; 320 with 80 classes is the paper's 4.3M and 0.8B."""
    model = SSDLite(classes, (side, side, 3))
    found = count(model)
    assert (found.parameters, found.trainable_parameters) == (parameters, trainable)
    assert found.multiply_adds == multiply_adds and found.uncounted == ()
    assert model.output["box_encodings"].shape == (None, anchors, 4)
    assert model.output["class_logits"].shape == (None, anchors, 1 + classes)
    assert anchors_for(model).shape == (anchors, 4)


@pytest.mark.parametrize("shape", [(33, 33), (97, 160), (256, 352)])
def test_any_size_has_as_many_anchors_as_outputs(shape):
    model = SSDLite(3, (*shape, 3), alpha=0.35)
    open_size = SSDLite(3, (None, None, 3), alpha=0.35)
    outputs = open_size(np.zeros((1, *shape, 3), np.uint8))
    assert outputs["class_logits"].shape[1:] == model.output["class_logits"].shape[1:]
    assert len(anchors_for(model)) == model.output["box_encodings"].shape[1]
    assert np.array_equal(anchors_for(open_size, shape), anchors_for(model))


def test_class_prior_sets_the_first_scores():
    model = SSDLite(3, (64, 64, 3), alpha=0.35, class_prior=0.01)
    logits = np.asarray(model(np.zeros((1, 64, 64, 3)))["class_logits"])
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), 0.01, atol=0.02)


def test_trains_with_compile_and_fit():
    model = SSDLite(2, (64, 64, 3), alpha=0.35, class_prior=0.01)
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    encoded = [
        encode_targets(anchors_for(model), np.float32([[0.2, 0.2, 0.7, 0.8]]), np.int32([label]))
        for label in (0, 1, 0, 1)
    ]
    targets = {key: np.stack([np.asarray(row[key]) for row in encoded]) for key in encoded[0]}
    model.compile(
        keras.optimizers.Adam(1e-2),
        loss={"box_encodings": BoxLoss(), "class_logits": FocalClassificationLoss()},
        jit_compile=False,
    )
    losses = model.fit(images, targets, batch_size=4, epochs=12, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < 0.5 * losses[0]


def test_mixed_precision_outputs_are_float32():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = SSDLite(2, (64, 64, 3), alpha=0.35)
    finally:
        keras.config.set_dtype_policy("float32")
    outputs = model(np.full((1, 64, 64, 3), 255, np.uint8))
    assert {str(keras.backend.standardize_dtype(x.dtype)) for x in outputs.values()} == {"float32"}


def test_saved_detector_loads_in_a_new_process(tmp_path):
    """Importing keras and keras_mnv2 is all that a loading program has to do."""
    model = detector(SSDLite(4, (96, 96, 3), alpha=0.35), max_detections=7)
    image = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    expected = model(image)
    model.save(tmp_path / "detector.keras")
    np.save(tmp_path / "image.npy", image)
    program = (
        "import sys, keras, keras_mnv2, numpy as np\n"
        "model = keras.saving.load_model(sys.argv[1] + '/detector.keras')\n"
        "outputs = model(np.load(sys.argv[1] + '/image.npy'))\n"
        "np.savez(sys.argv[1] + '/outputs.npz', **{k: np.asarray(v) for k, v in outputs.items()})\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    found = np.load(tmp_path / "outputs.npz")
    assert set(found) == {"boxes", "scores", "classes", "num_detections"}
    for key in found:
        np.testing.assert_array_equal(found[key], expected[key])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"num_classes": 0}, "num_classes=0"),
        ({"num_classes": 2.5}, "num_classes=2.5"),
        ({"input_shape": (32, 320, 3)}, "too small for the extra layers"),
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"class_prior": 1.0}, "class_prior=1.0"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        SSDLite(**arguments)
