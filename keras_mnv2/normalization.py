"""Batch normalization that runs TensorFlow's fused kernel."""

from __future__ import annotations

from typing import Any

import keras

from keras_mnv2.distribution import num_replicas

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

# Older cuDNN releases refuse a smaller epsilon, so Keras's own operations take those.
_SMALLEST_FUSED_EPSILON = 1.001e-5
_FUSED_DTYPES = ("float16", "bfloat16", "float32")


@keras.saving.register_keras_serializable(package="keras_mnv2")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` with one fused kernel in place of ten operations.

    Arguments, weights, weight names and results are those of the Keras layer (up to float
    rounding), so either layer loads the other's weights. The fused kernel serves inputs of rank 4
    with channels last on the TensorFlow backend, in float16, bfloat16 or float32, without mask or
    renorm; everything else takes Keras's own path, and so does training that is synchronized over
    several replicas. Statistics are float32 whatever the input's dtype.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalises `inputs` and, in training, updates the moving statistics.

        Args:
            inputs: tensor, e.g. float32 `[batch, height, width, channels]`.
            training: whether to use the batch's statistics; a frozen layer (`trainable=False`)
                always uses the moving ones.
            mask: boolean tensor of one dimension less than `inputs`; True counts.

        Returns:
            Tensor of the shape of `inputs`, in the layer's compute dtype.
        """
        if not self._is_fusable(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        if training and self.trainable:
            if self.synchronized and num_replicas() > 1:
                return super().call(inputs, training=training)
            return self._fused_training(inputs)
        if training:
            # A frozen layer is differentiated: the fused kernel's gradient would also compute
            # those of gamma and beta, and has no deterministic version on GPUs.
            return super().call(inputs, training=training)
        return self._fused(inputs, is_training=False)[0]

    def _is_fusable(self, inputs: Any, mask: Any) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and mask is None
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and keras.backend.standardize_dtype(inputs.dtype) in _FUSED_DTYPES
            and self.epsilon >= _SMALLEST_FUSED_EPSILON
            and not getattr(self, "renorm", False)  # older Keras releases have no renorm
        )

    def _fused(self, inputs: Any, is_training: bool) -> tuple:
        """Returns the normalised inputs and, in training, the moving mean and variance to be.

        In training the kernel itself moves the statistics, where operations of our own would be
        a dozen small ones a layer.
        """
        channels = inputs.shape[-1]
        outputs = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(self.gamma, "float32") if self.scale else tf.ones([channels]),
            offset=tf.cast(self.beta, "float32") if self.center else tf.zeros([channels]),
            mean=tf.cast(self.moving_mean, "float32"),
            variance=tf.cast(self.moving_variance, "float32"),
            epsilon=self.epsilon,
            exponential_avg_factor=1.0 - self.momentum if is_training else 1.0,
            is_training=is_training,
        )
        return tf.cast(outputs.y, self.compute_dtype), outputs.batch_mean, outputs.batch_variance

    def _fused_training(self, inputs: Any) -> Any:
        outputs, mean, variance = self._fused(inputs, is_training=True)
        # The kernel divides the squared deviations d by count - 1, Keras by count. Of the kernel's
        # m v + (1 - m) d / (count - 1) this makes m v + (1 - m) d / count. With a single value d
        # is 0, for which cuDNN reports NaN: hence a product in which 0 wins over NaN.
        share = 1.0 / tf.cast(tf.size(inputs) // inputs.shape[-1], "float32")
        before = tf.cast(self.moving_variance, "float32")
        variance = tf.math.multiply_no_nan(variance, 1.0 - share)
        self.moving_variance.assign(variance + share * self.momentum * before)
        self.moving_mean.assign(mean)
        return outputs
