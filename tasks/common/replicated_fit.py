"""`fit` of Keras 3.15 under a `tf.distribute` strategy, with what it does wrong put right.

Everything is done on a model of its own, which shares layers and variables with the one that it is
made of, and on its optimizer; Keras itself stays as it is. Tests say when a part of it can go: of
the two methods `test_plain_keras_still_fails` in tests/tasks/common/test_two_workers.py, of
`_add_up_before_use` `test_plain_keras_clips_before_it_adds_up` in test_replicated_fit.py.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tasks.common.workers import num_workers


class ReplicatedModel(keras.Model):
    """A functional model that `fit` trains on several replicas.

    Under `MultiWorkerMirroredStrategy`, Keras averages a batch of images over the replicas only to
    learn its shape, which fails, and averages the logs of the replicas over the axis 0 of a
    scalar, which fails as well.

    Under every strategy, Keras clips the gradients of each replica, and looks in them for values
    that are not finite, before it adds them up. Here they are added up before.
    """

    def compile(self, optimizer, loss, *, jit_compile="auto", **options) -> None:
        """As that of Keras; refuses what does not work on replicas with a ValueError."""
        super().compile(optimizer=optimizer, loss=loss, jit_compile=jit_compile, **options)
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        for name in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
            if getattr(inner, name):
                raise ValueError(
                    f"{name}={getattr(inner, name)} does not work on several replicas: Keras "
                    "would update variables in a branch, where replicas cannot meet"
                )
        # Not the attribute, which Keras may set to False without a word.
        if jit_compile is True:
            raise ValueError(
                "jit_compile=True does not work on several replicas: XLA cannot compile the "
                "exchange between them"
            )
        _add_up_before_use(self.optimizer, inner)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None) -> None:
        if data_batch is None:
            # For shapes and types alone: the first batch stays where it is.
            spec = iterator._distributed_dataset.element_spec
            data_batch = tf.nest.map_structure(
                lambda x: keras.KerasTensor(_of_replica(x).shape, _of_replica(x).dtype.name), spec
            )
        with self.distribute_strategy.scope():
            self._symbolic_build(data_batch=data_batch)

    def train_step(self, data):
        logs = super().train_step(data)
        if num_workers() == 1:
            return logs
        # An axis 0 that can be averaged over.
        return {name: tf.reshape(value, [1]) for name, value in logs.items()}


def for_fit(model: keras.Model) -> keras.Model:
    """What to compile and fit in place of `model`: itself, unless a strategy is in scope."""
    if not tf.distribute.has_strategy():
        return model
    return ReplicatedModel(model.inputs, model.output, name=model.name)


def _of_replica(spec: tf.TypeSpec) -> tf.TensorSpec:
    """What one replica gets of a component of the data."""
    return getattr(spec, "_value_specs", [spec])[0]


def _add_up_before_use(
    optimizer: keras.optimizers.Optimizer, inner: keras.optimizers.Optimizer
) -> None:
    apply_gradients = optimizer.apply_gradients

    def apply_sums(gradients_and_variables):
        # Variables that the loss does not depend on: Keras warns of them.
        known = [(gradient, v) for gradient, v in gradients_and_variables if gradient is not None]
        if not known:
            return apply_gradients(gradients_and_variables)
        gradients, variables = zip(*known, strict=True)
        context = tf.distribute.get_replica_context()
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
        return apply_gradients(zip(gradients, variables, strict=True))

    optimizer.apply_gradients = apply_sums
    # Keras's own sum, of what are sums already.
    inner._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables
