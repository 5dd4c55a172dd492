"""The part of a recipe that all tasks share: optimizer, schedule, length, precision."""

from __future__ import annotations

import dataclasses

from tasks.common.command_line import option

OPTIMIZERS = ("sgd", "rmsprop", "adam")
SCHEDULES = ("constant", "cosine", "exponential", "polynomial")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


@dataclasses.dataclass(frozen=True)
class TrainingRecipe:
    """Fields of every task's recipe. Raises ValueError for a value out of its range."""

    batch_size: int = option(32, "images a step")
    train_steps: int = option(1000, "training steps in all")
    evaluate_every: int = option(500, "steps between two evaluations, each ending in a checkpoint")
    optimizer: str = option("sgd", f"one of {', '.join(OPTIMIZERS)}")
    learning_rate: float = option(0.01, "highest learning rate")
    schedule: str = option("cosine", f"of the learning rate: one of {', '.join(SCHEDULES)}")
    warmup_steps: int = option(0, "steps over which the learning rate rises linearly")
    warmup_learning_rate: float = option(0.0, "learning rate at the first step of the warm-up")
    decay_steps: int = option(1, "steps per factor of decay_rate (exponential schedule)")
    decay_rate: float = option(1.0, "factor of the exponential schedule")
    decay_power: float = option(0.9, "power of the polynomial schedule")
    momentum: float = option(0.9, "momentum of sgd and rmsprop")
    rmsprop_decay: float = option(0.9, "decay of the squared gradients of rmsprop")
    epsilon: float = option(1e-7, "added to the denominator of rmsprop and adam")
    gradient_clip_norm: float | None = option(None, "longest gradient, over all variables")
    weight_decay: float = option(
        4e-5, "of ordinary convolution kernels as slim counts it: half of it is the L2 factor"
    )
    bn_momentum: float = option(0.99, "momentum of the batch normalization statistics")
    precision: str = option("float32", f"one of {', '.join(PRECISIONS)}")
    jit_compile: bool = option(False, "compile the step with XLA; about ten times slower on CPU")
    seed: int = option(0, "of initial weights, order and augmentation")

    def __post_init__(self) -> None:
        for name in ("batch_size", "train_steps", "evaluate_every", "decay_steps"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "decay_rate", "decay_power", "epsilon"):
            require(self, name, getattr(self, name) > 0, "above 0")
        clip = self.gradient_clip_norm
        require(self, "gradient_clip_norm", clip is None or clip > 0, "above 0, or none")
        require(self, "seed", 0 <= self.seed < 2**31, "at least 0 and below 2**31")
        for name in ("warmup_steps", "warmup_learning_rate", "weight_decay"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        for name in ("momentum", "rmsprop_decay", "bn_momentum"):
            require(self, name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        for name, choices in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            require(self, name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        require(
            self, "warmup_steps", self.warmup_steps < self.train_steps, "fewer than train_steps"
        )


def require(recipe: TrainingRecipe, name: str, is_valid: bool, rule: str) -> None:
    """Raises ValueError naming field, value and rule unless the field's value is valid."""
    if not is_valid:
        raise ValueError(f"{name}={getattr(recipe, name)!r} must be {rule}")
