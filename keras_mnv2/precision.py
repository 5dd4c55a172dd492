"""Where halves do not do: what networks return and what losses compute."""

from __future__ import annotations

import keras
from keras import ops


def at_least_float32(x):
    """`x` in float32 if it is in halves; in float32 or float64 as it is."""
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


def output_dtype() -> str:
    """dtype for the last layers of a network: float32 under (mixed) halves, else the policy's."""
    return keras.backend.result_type(keras.config.dtype_policy().compute_dtype, "float32")
