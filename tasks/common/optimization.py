"""Learning-rate schedules and optimizers from a recipe."""

from __future__ import annotations

from collections.abc import Callable

import keras

from tasks.common.recipe import TrainingRecipe


def learning_rate_schedule(
    recipe: TrainingRecipe,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The warm-up, then the recipe's schedule over the steps that are left.

    The exponential schedule, which knows nothing of the length of the training, counts from the
    first step: the warm-up only takes the place of its beginning.
    """
    steps = recipe.train_steps - recipe.warmup_steps
    schedules = keras.optimizers.schedules
    if recipe.schedule == "cosine":
        main = schedules.CosineDecay(recipe.learning_rate, steps)
    elif recipe.schedule == "exponential":
        main = schedules.ExponentialDecay(
            recipe.learning_rate, recipe.decay_steps, recipe.decay_rate, staircase=True
        )
    elif recipe.schedule == "polynomial":
        main = schedules.PolynomialDecay(
            recipe.learning_rate, steps, end_learning_rate=0.0, power=recipe.decay_power
        )
    else:
        main = schedules.PolynomialDecay(
            recipe.learning_rate, steps, end_learning_rate=recipe.learning_rate
        )
    if not recipe.warmup_steps:
        return main
    first = recipe.warmup_learning_rate
    last = recipe.learning_rate if recipe.warmup == "linear" else first
    begin = 0 if recipe.schedule == "exponential" else recipe.warmup_steps
    return WarmUp(main, first, last, recipe.warmup_steps, begin)


@keras.saving.register_keras_serializable("keras_mnv2_tasks")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from `initial` to `target` in `steps` steps, then follows `main`.

    The step 0 of `main` is the step `begin`.
    """

    def __init__(self, main, initial: float, target: float, steps: int, begin: int) -> None:
        super().__init__()
        self.main, self.initial, self.target = main, initial, target
        self.steps, self.begin = steps, begin

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        rising = self.initial + (self.target - self.initial) * step / self.steps
        later = self.main(keras.ops.maximum(step - self.begin, 0.0))
        return keras.ops.where(step < self.steps, rising, later)

    def get_config(self) -> dict:
        return {
            "main": keras.saving.serialize_keras_object(self.main),
            "initial": self.initial,
            "target": self.target,
            "steps": self.steps,
            "begin": self.begin,
        }

    @classmethod
    def from_config(cls, config: dict) -> WarmUp:
        return cls(keras.saving.deserialize_keras_object(config.pop("main")), **config)


def make_optimizer(
    recipe: TrainingRecipe, rate_factor: Callable[[keras.Variable], float] | None = None
) -> keras.optimizers.Optimizer:
    """The recipe's optimizer. Weight decay is not its business: the model carries it as L2.

    Args:
        rate_factor: factor of the learning rate for a variable of the model; 1 for all if None.
    """
    common = {
        "learning_rate": learning_rate_schedule(recipe),
        "global_clipnorm": recipe.gradient_clip_norm,
    }
    if recipe.optimizer == "sgd":
        optimizer_class, own = keras.optimizers.SGD, {"momentum": recipe.momentum}
    elif recipe.optimizer == "rmsprop":
        optimizer_class = keras.optimizers.RMSprop
        own = {
            "rho": recipe.rmsprop_decay,
            "momentum": recipe.momentum,
            "epsilon": recipe.epsilon,
        }
    else:
        optimizer_class, own = keras.optimizers.Adam, {"epsilon": recipe.epsilon}
    if rate_factor:
        optimizer_class = _with_rate_factors(optimizer_class, rate_factor)
    return optimizer_class(**own, **common)


def _with_rate_factors(
    optimizer_class: type[keras.optimizers.Optimizer],
    rate_factor: Callable[[keras.Variable], float],
) -> type[keras.optimizers.Optimizer]:
    """The optimizer with a learning rate of its own for each variable.

    DeepLab multiplies gradients instead, which is the same for sgd; the other optimizers divide
    by the size of the gradient, so that a factor of the gradient would do nothing.
    """

    class WithRateFactors(optimizer_class):
        def build(self, variables):
            super().build(variables)
            self._rate_factors = [rate_factor(variable) for variable in variables]

        def update_step(self, gradient, variable, learning_rate):
            factor = self._rate_factors[self._get_variable_index(variable)]
            super().update_step(gradient, variable, factor * learning_rate)

    return WithRateFactors
