"""The part of a recipe that all tasks share: data, network, optimizer, schedule, length."""

from __future__ import annotations

import dataclasses
import re

from tasks.common.command_line import option

OPTIMIZERS = ("sgd", "rmsprop", "adam")
SCHEDULES = ("constant", "cosine", "exponential", "polynomial")
WARMUPS = ("linear", "constant")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16", "float64")


@dataclasses.dataclass(frozen=True)
class TrainingRecipe:
    """Fields of every task's recipe. Raises ValueError for a value out of its range."""

    data_dir: str | None = option(
        None, "where prepared data sets are kept; TFDS's place if none", decides=False
    )
    train_split: str = option("train", "split to train on")
    validation_split: str = option("validation", "split to evaluate during training")
    shuffle_buffer: int = option(2048, "encoded images among which the next one is drawn")
    cache: bool = option(
        False,
        "keep the encoded images in memory, in one order of their files for all epochs",
    )
    shard_files: bool = option(
        False, "of n workers, each reads an n-th of the files, where all read all of them otherwise"
    )
    data_service: str | None = option(
        None,
        "grpc://HOST:PORT of a tf.data service whose workers prepare the training batches, see "
        "scripts/data_service.py; order and augmentation then differ from run to run",
        decides=False,
    )
    evaluation_batch_size: int = option(32, "images a step of evaluation", decides=False)

    height: int = option(224, "input height in pixels")
    width: int = option(224, "input width in pixels")
    alpha: float = option(1.0, "width multiplier")
    init_weights: str | None = option(
        None, "path or registered name: weights of the whole network to start from"
    )
    backbone_weights: str | None = option(
        None, "path or registered name: weights of a backbone to start from"
    )
    zero_init_residual: bool = option(
        False, "begin with residual blocks that do nothing: learns faster in a short training"
    )
    freeze_bn: bool = option(False, "keep batch normalization statistics and scales as they are")
    bn_momentum: float = option(0.99, "momentum of the batch normalization statistics")
    sync_bn: bool = option(
        False, "batch statistics of all replicas together (--strategy), as one device has them"
    )

    batch_size: int = option(32, "images a step")
    train_steps: int = option(1000, "training steps in all")
    evaluate_every: int = option(500, "steps between two evaluations, each ending in a checkpoint")
    checkpoint_every: int | None = option(
        500, "steps between two checkpoints; none for those of evaluations alone", decides=False
    )
    keep_checkpoints: int = option(
        2, "last checkpoints to keep until the run has ended", decides=False
    )
    optimizer: str = option("sgd", f"one of {', '.join(OPTIMIZERS)}")
    learning_rate: float = option(0.01, "highest learning rate")
    schedule: str = option("cosine", f"of the learning rate: one of {', '.join(SCHEDULES)}")
    warmup: str = option(
        "linear", f"one of {', '.join(WARMUPS)}: rises to learning_rate, or stays until the end"
    )
    warmup_steps: int = option(0, "steps before the schedule begins")
    warmup_learning_rate: float = option(0.0, "learning rate at the first step of the warm-up")
    decay_steps: int = option(
        1, "steps per factor of decay_rate (exponential schedule), whatever data set and batch"
    )
    decay_rate: float = option(1.0, "factor of the exponential schedule")
    decay_power: float = option(0.9, "power of the polynomial schedule")
    momentum: float = option(0.9, "momentum of sgd and rmsprop")
    rmsprop_decay: float = option(0.9, "decay of the squared gradients of rmsprop")
    epsilon: float = option(
        1e-7, "rmsprop adds it to the mean square under the root, adam to the root"
    )
    gradient_clip_norm: float | None = option(None, "longest gradient, over all variables")
    weight_decay: float = option(
        4e-5, "of ordinary convolution kernels as slim counts it: half of it is the L2 factor"
    )
    moving_average_decay: float | None = option(
        None, "evaluate and save the exponential moving average of all weights"
    )
    precision: str = option(
        "float32",
        f"one of {', '.join(PRECISIONS)}; the last is slow, and for comparisons without rounding",
    )
    jit_compile: bool = option(False, "compile the step with XLA; about ten times slower on CPU")
    steps_per_execution: int = option(
        1, "steps that run without coming back to Python; pays where a step takes a few ms"
    )
    seed: int = option(0, "of initial weights, order and augmentation")
    deterministic: bool = option(
        False, "same bits in every run on the same kind of machine, killed or not", decides=False
    )

    def __post_init__(self) -> None:
        for name in (
            "batch_size",
            "evaluation_batch_size",
            "shuffle_buffer",
            "height",
            "width",
            "train_steps",
            "evaluate_every",
            "keep_checkpoints",
            "decay_steps",
            "steps_per_execution",
        ):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "decay_rate", "decay_power", "epsilon"):
            require(self, name, getattr(self, name) > 0, "above 0")
        require(self, "alpha", 0 < self.alpha < 100, "above 0 and below 100")
        every = self.checkpoint_every
        require(self, "checkpoint_every", every is None or every >= 1, "at least 1, or none")
        clip = self.gradient_clip_norm
        require(self, "gradient_clip_norm", clip is None or clip > 0, "above 0, or none")
        require(self, "seed", 0 <= self.seed < 2**31, "at least 0 and below 2**31")
        for name in ("warmup_steps", "warmup_learning_rate", "weight_decay"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        for name in ("momentum", "rmsprop_decay", "bn_momentum"):
            require(self, name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        decay = self.moving_average_decay
        require(
            self, "moving_average_decay", decay is None or 0 < decay < 1, "between 0 and 1, or none"
        )
        for name, choices in (
            ("warmup", WARMUPS),
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            require(self, name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        is_shorter = self.warmup_steps < self.train_steps
        rule = f"fewer than train_steps={self.train_steps}"
        require(self, "warmup_steps", is_shorter, rule)
        self._check_steps_per_execution()
        self._check_data_service()
        if self.init_weights and self.backbone_weights:
            raise ValueError("give either init_weights or backbone_weights, not both")
        if self.zero_init_residual and (self.init_weights or self.backbone_weights):
            raise ValueError("zero_init_residual is for training without initial weights")

    def _check_data_service(self) -> None:
        if self.data_service is None:
            return
        is_address = re.fullmatch(r"grpc://[^\s/]+:\d+", self.data_service)
        require(self, "data_service", is_address, "an address such as grpc://host0:5050, or none")
        for name, reason in (
            ("deterministic", "what comes when depends on the pace of the service's workers"),
            ("shard_files", "the service reads the data, and gives each example to one worker"),
        ):
            if getattr(self, name):
                raise ValueError(f"{name} does not go with data_service: {reason}; leave one out")

    def _check_steps_per_execution(self) -> None:
        """What happens at a certain step can only happen where Python is in between."""
        for name in ("train_steps", "evaluate_every"):
            require(
                self,
                name,
                getattr(self, name) % self.steps_per_execution == 0,
                f"a multiple of steps_per_execution={self.steps_per_execution}",
            )
        if self.moving_average_decay and self.steps_per_execution > 1:
            raise ValueError(
                f"steps_per_execution={self.steps_per_execution} does not go with "
                f"moving_average_decay={self.moving_average_decay}, which moves the average after "
                "every step: give one of them"
            )


def require(recipe: TrainingRecipe, name: str, is_valid: bool, rule: str) -> None:
    """Raises ValueError naming field, value and rule unless the field's value is valid."""
    if not is_valid:
        raise ValueError(f"{name}={getattr(recipe, name)!r} must be {rule}")
