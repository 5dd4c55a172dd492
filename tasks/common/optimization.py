"""Learning-rate schedules and optimizers from a recipe."""

from __future__ import annotations

import keras

from tasks.common.recipe import TrainingRecipe


def learning_rate_schedule(
    recipe: TrainingRecipe,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up, then the recipe's schedule over the steps that are left."""
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
    return WarmUp(main, recipe.warmup_learning_rate, recipe.learning_rate, recipe.warmup_steps)


@keras.saving.register_keras_serializable("keras_mnv2_tasks")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from `initial` to `target` in `steps` steps, then follows `main`."""

    def __init__(self, main, initial: float, target: float, steps: int) -> None:
        super().__init__()
        self.main, self.initial, self.target, self.steps = main, initial, target, steps

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        rising = self.initial + (self.target - self.initial) * step / self.steps
        later = self.main(keras.ops.maximum(step - self.steps, 0.0))
        return keras.ops.where(step < self.steps, rising, later)

    def get_config(self) -> dict:
        return {
            "main": keras.saving.serialize_keras_object(self.main),
            "initial": self.initial,
            "target": self.target,
            "steps": self.steps,
        }

    @classmethod
    def from_config(cls, config: dict) -> WarmUp:
        return cls(keras.saving.deserialize_keras_object(config.pop("main")), **config)


def make_optimizer(recipe: TrainingRecipe) -> keras.optimizers.Optimizer:
    """The recipe's optimizer. Weight decay is not its business: the model carries it as L2."""
    common = {
        "learning_rate": learning_rate_schedule(recipe),
        "global_clipnorm": recipe.gradient_clip_norm,
    }
    if recipe.optimizer == "sgd":
        return keras.optimizers.SGD(momentum=recipe.momentum, **common)
    if recipe.optimizer == "rmsprop":
        return keras.optimizers.RMSprop(
            rho=recipe.rmsprop_decay, momentum=recipe.momentum, epsilon=recipe.epsilon, **common
        )
    return keras.optimizers.Adam(epsilon=recipe.epsilon, **common)
