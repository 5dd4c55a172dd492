"""Less memory, more time: the options of export.py that split blocks."""

from __future__ import annotations

import keras
import numpy as np

from keras_mnv2.activation_memory import FLOAT32_BYTES
from keras_mnv2.complexity import count
from keras_mnv2.deployment.classifiers import taking_rgb
from keras_mnv2.deployment.expansion import splitting
from keras_mnv2.deployment.sample_pictures import sample_images
from tasks.common.export import TaskExport

# Of activations in files of other precisions than those that compute in float32.
_BYTES_PER_VALUE = {"int8": 1}


def with_split_blocks(task: TaskExport) -> tuple[keras.Model, int | dict[str, int]]:
    """The task's model with its blocks split as the options say; prints what that saves.

    Returns:
        The model, and the number of parts of every block, or of some by name.

    Raises:
        ValueError: if no splitting needs so little memory, or if it does not give the answers of
            the original.
    """
    size = (task.trained.recipe.height, task.trained.recipe.width)
    ways = task.arguments.split_expansion
    value = _BYTES_PER_VALUE.get(task.arguments.precision, FLOAT32_BYTES)
    # Behind a scaling of the pixels, which imported classifiers need, is the network itself.
    last = task.model.layers[-1]
    network = last if isinstance(last, keras.Model) else task.model
    if ways is None:
        bound = task.arguments.activation_memory
        ways = splitting.ways_to_fit(network, bound, (*size, 3), value)
        parts = ", ".join(f"{name} in {number}" for name, number in ways.items())
        print(f"split: {parts or 'nothing, the activations need no more as they are'}")
    model = splitting.split_expansion(network, ways)
    if network is not task.model:
        model = taking_rgb(model)
    images = sample_images(size).astype("float32")
    outputs = [keras.tree.flatten(one(images, training=False)) for one in (task.model, model)]
    for expected, found in zip(*outputs, strict=True):
        expected, found = np.asarray(expected), np.asarray(found)
        if np.abs(expected - found).max() > 1e-3 * np.abs(expected).max():
            raise ValueError(
                "splitting the blocks changes the answers of the model by "
                f"{np.abs(expected - found).max():.1e}. Nothing was written"
            )
    before, after = (
        count(one, (*size, 3)).peak_activation_bytes * value / FLOAT32_BYTES / 1e6
        for one in (task.model, model)
    )
    print(
        f"peak activation memory (values of {8 * value} bits): {before:.2f} MB, "
        f"split {after:.2f} MB"
    )
    return model, ways
