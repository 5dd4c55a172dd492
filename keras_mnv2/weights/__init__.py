"""Published weights: reading them, checking them, loading them into our models."""

from keras_mnv2.weights.loading import load_weights

__all__ = ["load_weights"]
