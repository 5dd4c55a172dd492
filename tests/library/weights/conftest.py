"""Small networks with random weights, built once."""

from __future__ import annotations

import pytest
from weight_files import random_arrays, small_model


class Network:
    """A model, and values for all of its weights that are not the model's."""

    def __init__(self, family: str, **options) -> None:
        self.model = small_model(family, **options)
        self.initial = self.model.get_weights()
        self.arrays = random_arrays(self.model)

    def is_unchanged(self) -> bool:
        weights = zip(self.model.get_weights(), self.initial, strict=True)
        return all((here == there).all() for here, there in weights)


@pytest.fixture(scope="session")
def _networks() -> dict:
    return {}


@pytest.fixture
def network(_networks):
    """Function from a family to its small network, with the weights it was built with."""

    def get(family: str, **options) -> Network:
        key = (family, *sorted(options.items()))
        if key not in _networks:
            _networks[key] = Network(family, **options)
        _networks[key].model.set_weights(_networks[key].initial)
        return _networks[key]

    return get
