"""Which Keras layers the operations of a LiteRT file compute."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

import keras

from keras_mnv2.deployment.description import DeploymentError
from keras_mnv2.deployment.fixed_network import all_layers
from keras_mnv2.deployment.litert.tensors import Operation


def layer_names(network: keras.Model) -> list[str]:
    """Names of all layers, those of nested models included, in their order."""
    return [layer.name for layer in all_layers(network)]


def check_layer_names(wanted: Iterable[str], names: Sequence[str]) -> None:
    """Raises DeploymentError, with similar names, if one of `wanted` is not among `names`."""
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3)
            if near:
                hint = f"did you mean {' or '.join(map(repr, near))}?"
            else:
                hint = f"it has {', '.join([*names[:3], '...', *names[-3:]])}"
            raise DeploymentError(f"float_layers: the network has no layer {name!r}; {hint}")


def layers_of_operations(
    operations: Sequence[Operation],
    names: Sequence[str],
    outputs: Mapping[int, str],
) -> dict[str, list[str]]:
    """Names of the layers that each operation computes, by the name of the operation.

    Args:
        operations: of the float file.
        names: of the network's layers.
        outputs: layer by number of the output tensor that is its result. The converter gives
            these tensors other names.

    Returns:
        Layers in the order of `names`; none for an operation that is not of the network.
    """
    scopes = {operation.name: re.split("[;/]", operation.name) for operation in operations}
    order = {name: number for number, name in enumerate(names)}
    # Within one file Keras numbers the scopes of all layers or of none ("Conv1_1" for "Conv1").
    numbered = any(
        scope not in order and _without_number(scope) in order
        for part in scopes.values()
        for scope in part
    )

    def layer_of(scope: str) -> str:
        shorter = _without_number(scope)
        return shorter if numbered and shorter in order else scope

    found = {}
    for operation in operations:
        layers = {layer_of(scope) for scope in scopes[operation.name]}
        layers |= {outputs[index] for index in operation.outputs if index in outputs}
        found[operation.name] = sorted(layers & set(order), key=order.__getitem__)
    return found


def _without_number(scope: str) -> str:
    return re.sub(r"_\d+$", "", scope)
