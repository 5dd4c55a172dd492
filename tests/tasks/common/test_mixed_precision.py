"""Training in half precision: loss scaling comes with float16, and checkpoints keep its state."""

from __future__ import annotations

import dataclasses
import importlib
import math

import keras
import numpy as np
import pytest

from tasks.common.checkpoints import Checkpoints
from tasks.common.moving_average import MovingAverage

TASKS = ("classification", "detection", "segmentation")
SMALL = {
    "classification": {"height": 32, "width": 32},
    "detection": {"height": 96, "width": 96},
    "segmentation": {
        "height": 65,
        "width": 65,
        "crop_height": 49,
        "crop_width": 49,
        "output_stride": 16,
        "evaluation_output_stride": None,
    },
}


@pytest.fixture(autouse=True)
def float32_afterwards():
    """Recipes set the precision of the whole process."""
    yield
    keras.config.set_dtype_policy("float32")


def compiled() -> tuple[keras.Model, MovingAverage]:
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_float16")
    image = keras.Input((4,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(8)(image))
    model = keras.Model(image, keras.layers.Dense(3, dtype="float32")(x))
    model.compile("adam", "mse", jit_compile=False)
    return model, MovingAverage(model, 0.5)


def fit(model, average, first, last):
    rng = np.random.default_rng(0)
    # So large that the first scales overflow.
    x, y = (1e3 * rng.normal(size=(120, size))[4 * first : 4 * last] for size in (4, 3))
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[average])


def test_the_scale_of_the_loss_goes_on_where_it_was(tmp_path):
    whole, average = compiled()
    assert isinstance(whole.optimizer, keras.optimizers.LossScaleOptimizer)
    fit(whole, average, 0, 12)
    fit(whole, average, 12, 20)

    begun, average = compiled()
    checkpoints = Checkpoints(tmp_path, begun)
    fit(begun, average, 0, 12)
    scale = float(begun.optimizer.dynamic_scale.numpy())
    # Some steps were skipped, others not.
    assert scale < 2.0**15 and 0 < int(begun.optimizer.iterations) < 12
    checkpoints.save(12, [])

    resumed, average = compiled()
    Checkpoints(tmp_path, resumed).restore()
    assert float(resumed.optimizer.dynamic_scale.numpy()) == scale
    fit(resumed, average, 12, 20)
    assert int(resumed.optimizer.iterations) == int(whole.optimizer.iterations)
    for name in ("dynamic_scale", "step_counter"):
        values = [getattr(model.optimizer, name).numpy() for model in (resumed, whole)]
        assert values[0] == values[1], name
    for one, other in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("task", "precision"),
    [*((task, "mixed_float16") for task in TASKS), ("classification", "mixed_bfloat16")],
)
def test_every_task_trains(task, precision, tmp_path_factory, tmp_path):
    data = tmp_path_factory.getbasetemp() / "mixed_precision_data"
    recipe = importlib.import_module(f"tasks.{task}.recipes").RECIPES["shapes"]
    recipe = dataclasses.replace(
        recipe,
        dataset="shapes/tiny",
        data_dir=str(data),
        alpha=0.35,
        batch_size=4,
        train_steps=2,
        evaluate_every=2,
        warmup_steps=1,
        validation_split="validation[:4]",
        evaluation_batch_size=4,
        precision=precision,
        **SMALL[task],
    )
    metrics = importlib.import_module(f"tasks.{task}.train").run(recipe, tmp_path / "run")
    assert metrics["step"] == 2 and math.isfinite(metrics["loss"])
    model = keras.saving.load_model(tmp_path / "run" / "last.keras")
    convolution = next(x for x in model.layers if isinstance(x, keras.layers.Conv2D))
    assert convolution.compute_dtype == precision.removeprefix("mixed_")
    outputs = [output.dtype for output in model.outputs]
    assert set(outputs) == {"float32"}
