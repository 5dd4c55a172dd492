"""Named recipes for training MobileNetV2. Each states its command and what it gives."""

from __future__ import annotations

import dataclasses

from tasks.common.command_line import option
from tasks.common.linear_scaling import for_replicas
from tasks.common.recipe import TrainingRecipe, require

CLASS_WEIGHTS = ("none", "balanced")
COLOR_DISTORTIONS = ("none", "fast", "full")
POLICIES = ("none", "randaugment", "autoaugment")

HEAD = "predictions"
# Where training can begin, from the image to the classes.
BLOCKS = ("Conv1", "expanded_conv", *(f"block_{i}" for i in range(1, 17)), "Conv_1", HEAD)

# Top-1 accuracy on ImageNet 2012 val, one crop, by width multiplier and input size:
# research/slim/nets/mobilenet/README.md. What `imagenet_paper` should come to.
PUBLISHED_TOP1 = {
    (1.4, 224): 0.750,
    (1.3, 224): 0.744,
    (1.0, 224): 0.718,
    (1.0, 192): 0.707,
    (1.0, 160): 0.688,
    (1.0, 128): 0.653,
    (1.0, 96): 0.603,
    (0.75, 224): 0.698,
    (0.75, 192): 0.687,
    (0.75, 160): 0.664,
    (0.75, 128): 0.632,
    (0.75, 96): 0.588,
    (0.5, 224): 0.654,
    (0.5, 192): 0.639,
    (0.5, 160): 0.610,
    (0.5, 128): 0.577,
    (0.5, 96): 0.512,
    (0.35, 224): 0.603,
    (0.35, 192): 0.582,
    (0.35, 160): 0.557,
    (0.35, 128): 0.508,
    (0.35, 96): 0.455,
}


@dataclasses.dataclass(frozen=True)
class ClassificationRecipe(TrainingRecipe):
    """Everything that decides a training run of MobileNetV2."""

    dataset: str = option(
        "shapes", "shapes, class_directory or a classification data set of TFDS, e.g. imagenet2012"
    )
    train_images: str | None = option(
        None, "folder with a folder of training images per class (class_directory)"
    )
    validation_images: str | None = option(None, "as train_images, of the images to evaluate")
    train_list: str | None = option(
        None, "instead of class folders, file of paths in train_images with class indices"
    )
    validation_list: str | None = option(None, "as train_list, to evaluate")
    class_names: str | None = option(None, "with lists, text file of class names, one a line")
    skip_broken: bool = option(
        False, "leave out unreadable images, and count them, instead of refusing the data set"
    )

    initial_stddev: float | None = option(
        None, "of the truncated normal distribution of initial kernels; Glorot's uniform if none"
    )
    dropout: float = option(0.2, "rate in front of the classifier")
    label_smoothing: float = option(0.0, "share of each label that is spread over all classes")
    class_weights: str = option(
        "none", f"one of {', '.join(CLASS_WEIGHTS)}: all classes count alike"
    )

    min_area: float = option(0.08, "smallest part of the image that a random crop shows")
    aspect_ratio: float = option(4 / 3, "widest random crop, width over height; tallest: 1 over it")
    flip: bool = option(True, "random horizontal flip")
    color_distortion: str = option(
        "none",
        f"one of {', '.join(COLOR_DISTORTIONS)}: random brightness and saturation, and in full "
        "hue and contrast",
    )
    policy: str = option("none", f"learned augmentation, one of {', '.join(POLICIES)}")
    policy_layers: int = option(2, "operations in a row (randaugment)")
    policy_magnitude: float = option(9.0, "strength of the operations, 0..10 (randaugment)")
    mixup_alpha: float = option(0.0, "of the Beta distribution of mixup; 0 for none")
    central_crop: float = option(0.875, "part of height and width that evaluation shows")

    head_steps: int = option(
        0, "steps of a run before, in the subfolder head, that trains the classifier alone"
    )
    head_learning_rate: float | None = option(None, "of that run; learning_rate if none")
    train_from: str | None = option(
        None,
        f"first block that trains, of {BLOCKS[0]}, {BLOCKS[1]}, {BLOCKS[2]}-16, {BLOCKS[-2]} and "
        f"{HEAD}, the classifier; all train if none",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("height", "width"):
            require(self, name, getattr(self, name) >= 32, "at least 32, the network's stride")
        for name, choices in (
            ("class_weights", CLASS_WEIGHTS),
            ("color_distortion", COLOR_DISTORTIONS),
            ("policy", POLICIES),
        ):
            require(self, name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        stddev = self.initial_stddev
        require(self, "initial_stddev", stddev is None or stddev > 0, "above 0, or none")
        for name in ("dropout", "label_smoothing"):
            require(self, name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        for name in ("min_area", "central_crop"):
            require(self, name, 0 < getattr(self, name) <= 1, "above 0, at most 1")
        require(self, "aspect_ratio", self.aspect_ratio >= 1, "at least 1")
        require(self, "policy_layers", self.policy_layers >= 1, "at least 1")
        require(self, "policy_magnitude", 0 <= self.policy_magnitude <= 10, "in 0..10")
        mixup = self.mixup_alpha
        require(self, "mixup_alpha", mixup == 0 or mixup >= 0.01, "0 or at least 0.01")
        require(self, "head_steps", self.head_steps >= 0, "at least 0")
        rate = self.head_learning_rate
        require(self, "head_learning_rate", rate is None or rate > 0, "above 0, or none")
        start = self.train_from
        require(
            self,
            "train_from",
            start is None or start in BLOCKS,
            f"one of {', '.join(BLOCKS)}, or none",
        )
        has_weights = self.init_weights or self.backbone_weights
        if (self.head_steps or start not in (None, BLOCKS[0])) and not has_weights:
            raise ValueError(
                "head_steps and train_from are for a network with initial weights: give "
                "init_weights (--init-weights imagenet), or leave them out (--head-steps 0 "
                "--train-from none)"
            )


def head_phase(recipe: ClassificationRecipe) -> ClassificationRecipe:
    """The run that comes before a run with `head_steps`: only the classifier trains."""
    return dataclasses.replace(
        recipe,
        train_from=HEAD,
        train_steps=recipe.head_steps,
        evaluate_every=min(recipe.evaluate_every, recipe.head_steps),
        warmup_steps=min(recipe.warmup_steps, recipe.head_steps - 1),
        learning_rate=recipe.head_learning_rate or recipe.learning_rate,
        head_steps=0,
        head_learning_rate=None,
    )


def monitored(recipe: ClassificationRecipe) -> str:
    """The metric whose highest value makes the best checkpoint: what the training aims at."""
    return "top1" if recipe.class_weights == "none" else "balanced_accuracy"


# What may differ from `imagenet_paper` without making another training of it.
_FREE_FIELDS = (
    *("data_dir", "shuffle_buffer", "cache", "evaluation_batch_size", "evaluate_every"),
    *("height", "width", "alpha", "precision", "jit_compile", "seed"),
    *("checkpoint_every", "keep_checkpoints", "deterministic"),
)


def published_top1(recipe: ClassificationRecipe) -> float | None:
    """What slim's network of the recipe's width and size reaches on ImageNet's validation split.

    None unless the recipe is `imagenet_paper`, for any number of replicas, at a published width
    and size: nothing is published of other trainings.
    """
    replicas = max(1, recipe.batch_size // IMAGENET_PAPER.batch_size)
    free = {name: getattr(recipe, name) for name in _FREE_FIELDS}
    paper = dataclasses.replace(for_replicas(IMAGENET_PAPER, replicas), **free)
    if recipe != paper or recipe.height != recipe.width:
        return None
    return PUBLISHED_TOP1.get((recipe.alpha, recipe.height))


# The embedded data set: every object of it, in a square.
#   python -m tasks.classification.train --recipe shapes --run-dir runs/shapes_classes
# top-1 >= 0.95 on the 2,266 unseen objects of split test, after at most 5 minutes on 2 CPU cores.
SHAPES = ClassificationRecipe(
    dataset="shapes",
    height=64,
    width=64,
    alpha=0.5,
    batch_size=32,
    train_steps=1500,
    evaluate_every=750,
    optimizer="adam",
    learning_rate=1e-2,
    warmup_steps=50,
    bn_momentum=0.97,
    zero_init_residual=True,
    dropout=0.0,
    min_area=0.75,
    cache=True,
    validation_split="validation[:200]",
)

_IMAGENET_TRAIN = 1_281_167

# The recipe of the paper (section 6.1) and of research/slim/nets/mobilenet/README.md, for one
# replica of batch 96; `--replicas N` scales it to N. Crops and colours are those of slim's
# inception preprocessing as its training calls it (fast_mode; crops that hold a tenth of the image
# at least). The learning rate falls every epoch as in the paper; slim's README has every 2.5
# epochs. 5.5 M steps on one GPU is what that README tells.
#   python -m tasks.classification.train --recipe imagenet_paper --run-dir runs/imagenet
# Expected from the publications, not reproduced here: PUBLISHED_TOP1. What is averaged and
# evaluated includes the statistics of batch normalization. TensorFlow 1 began the mean squared
# gradient of RMSProp at 1, Keras at 0, which with epsilon 1 matters in the first steps only.
# An epoch is one of ImageNet at batch 96, 13,345 steps, whatever --dataset and --batch-size say:
# with others give --decay-steps, --evaluate-every and --train-steps, too.
IMAGENET_PAPER = ClassificationRecipe(
    dataset="imagenet2012",
    height=224,
    width=224,
    alpha=1.0,
    shuffle_buffer=16384,
    evaluation_batch_size=96,
    batch_size=96,
    train_steps=5_500_000,
    evaluate_every=_IMAGENET_TRAIN // 96,
    optimizer="rmsprop",
    rmsprop_decay=0.9,
    momentum=0.9,
    epsilon=1.0,
    learning_rate=0.045,
    schedule="exponential",
    decay_steps=_IMAGENET_TRAIN // 96,
    decay_rate=0.98,
    weight_decay=4e-5,
    label_smoothing=0.1,
    dropout=0.2,
    moving_average_decay=0.9999,
    bn_momentum=0.997,
    initial_stddev=0.09,
    min_area=0.1,
    aspect_ratio=4 / 3,
    flip=True,
    color_distortion="fast",
    central_crop=0.875,
)

# What later publications train small networks with: 600 epochs, cosine after a warm-up of 5 epochs
# (Goyal et al., arXiv 1706.02677), RandAugment (1909.13719) in place of the colour distortion,
# mixup (1710.09412), both mild, as a small network has nothing to spare.
#   python -m tasks.classification.train --recipe imagenet_modern --replicas 8 --run-dir runs/modern
# Not run here, and nothing is published of just this training. The nearest is tf-models-official's
# for alpha 1.0 at 224, 500 epochs: RMSProp, an exponential schedule, weight decay 1e-5, neither
# RandAugment nor mixup. Its imagenet_mobilenetv2_gpu.yaml states 71.0 %, its
# imagenet_mobilenetv2_tpu.yaml 72.72 %: 0.008 below and 0.009 above PUBLISHED_TOP1. An estimate for
# all sizes is therefore PUBLISHED_TOP1 plus or minus 0.01, and no more than a guess.
# An epoch is one of ImageNet at batch 128, 10,009 steps, as above.
IMAGENET_MODERN = dataclasses.replace(
    IMAGENET_PAPER,
    batch_size=128,
    train_steps=600 * (_IMAGENET_TRAIN // 128),
    evaluate_every=_IMAGENET_TRAIN // 128,
    optimizer="sgd",
    epsilon=1e-7,
    learning_rate=0.05,
    schedule="cosine",
    decay_steps=1,
    decay_rate=1.0,
    warmup_steps=5 * (_IMAGENET_TRAIN // 128),
    bn_momentum=0.99,
    initial_stddev=None,
    min_area=0.08,
    color_distortion="none",
    policy="randaugment",
    policy_layers=2,
    policy_magnitude=5.0,
    mixup_alpha=0.1,
)

# Fine-tunes ImageNet weights, or those of any classifier of ours, on a small data set: first the
# new classifier alone, then the last blocks with it at a low learning rate. Batch normalization
# keeps the statistics of the weights, which small batches would only spoil.
#   python -m tasks.classification.train --recipe fine_tune --train-images photos/train \
#       --validation-images photos/val --run-dir runs/mine
FINE_TUNE = ClassificationRecipe(
    dataset="class_directory",
    init_weights="imagenet",
    height=224,
    width=224,
    alpha=1.0,
    batch_size=32,
    head_steps=50,
    head_learning_rate=2e-3,
    train_from="block_13",
    train_steps=150,
    evaluate_every=50,
    optimizer="adam",
    learning_rate=3e-4,
    freeze_bn=True,
    label_smoothing=0.1,
    min_area=0.25,
    cache=True,
)

RECIPES = {
    "shapes": SHAPES,
    "imagenet_paper": IMAGENET_PAPER,
    "imagenet_modern": IMAGENET_MODERN,
    "fine_tune": FINE_TUNE,
}
