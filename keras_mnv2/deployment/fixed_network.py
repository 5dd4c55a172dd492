"""A model as the network of a program: one image input of fixed size, float32 throughout."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from keras_mnv2.deployment.description import DeploymentError

# Of the one input in every format.
INPUT_NAME = "images"


def fixed_network(
    model: keras.Model, input_size: tuple[int, int] | None = None
) -> tuple[keras.Model, tuple[int, int]]:
    """`model` with an input of fixed size, computing in float32, and that size.

    Args:
        model: from one input [B, height, width, 3].
        input_size: (height, width), needed only where the model leaves them open.

    Returns:
        The model itself, a model of its layers, or a copy where it computes in another dtype.

    Raises:
        DeploymentError: (a ValueError) if `model` is neither functional nor Sequential or was
            never built, has other inputs, leaves its size open, or has another one than
            `input_size`.
    """
    inputs = getattr(model, "inputs", None)
    if not isinstance(model, keras.Model) or not inputs:
        name = getattr(model, "name", type(model).__name__)
        raise DeploymentError(
            f"{name!r} is no functional or Sequential Keras model with a known input shape. Export "
            "what MobileNetV2, SSDLite or DeepLabV3 returned, give a Sequential a keras.Input, or "
            "call a subclassed model on a keras.Input and make a keras.Model of both"
        )
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 4 or shape[3] != 3:
        shapes = [tuple(tensor.shape) for tensor in inputs]
        raise DeploymentError(
            f"model {model.name!r} takes {shapes}, expected is one input [batch, height, width, 3]"
        )
    size = _size(model.name, shape[1:3], input_size)
    model = _in_float32(model)
    # Keras warns whoever calls a model of a list with a tensor. A Sequential never has a list.
    if not isinstance(model, keras.Sequential) and isinstance(model.input, (list, tuple, dict)):
        model = keras.Model(model.inputs[0], model.output, name=model.name)
    if tuple(shape[1:3]) == size:
        return model, size
    image = keras.Input((*size, 3), name=INPUT_NAME)
    return keras.models.clone_model(model, image, clone_function=lambda layer: layer), size


def _size(name: str, sides: Sequence[int | None], input_size) -> tuple[int, int]:
    if input_size is None:
        if None in sides:
            raise DeploymentError(
                f"model {name!r} leaves its image size open: give input_size=(height, width)"
            )
        return tuple(sides)
    size = tuple(input_size)
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise DeploymentError(f"input_size={input_size!r} must be two positive whole numbers")
    if any(side not in (None, given) for side, given in zip(sides, size, strict=True)):
        raise DeploymentError(
            f"model {name!r} takes images of {sides[0]}x{sides[1]} (height x width), not "
            f"input_size={size}: build it with that input_shape, or with (None, None, 3)"
        )
    return size


def _in_float32(model: keras.Model) -> keras.Model:
    """`model` itself, or a copy where it computes in halves, which phones' kernels do not take."""
    if all(layer.compute_dtype in (None, "float32") for layer in all_layers(model)):
        return model

    def clone(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers of a model, those of nested models in their place."""
    layers = []
    for layer in model.layers:
        layers += all_layers(layer) if getattr(layer, "layers", None) else [layer]
    return layers
