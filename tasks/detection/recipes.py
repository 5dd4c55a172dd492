"""Named recipes for training SSDLite. Each states the command that runs it and what it gives."""

from __future__ import annotations

import dataclasses

from tasks.common.command_line import option
from tasks.common.recipe import TrainingRecipe, require

CLASSIFICATION_LOSSES = ("focal", "hard_negative")


@dataclasses.dataclass(frozen=True)
class DetectionRecipe(TrainingRecipe):
    """Everything that decides a training run of SSDLite."""

    dataset: str = option(
        "shapes", "shapes, coco_directory, coco_tfrecord or a detection data set of TFDS"
    )
    train_images: str | None = option(None, "folder of the training images (coco_directory)")
    train_annotations: str | None = option(
        None, "COCO JSON of the training images (coco_directory)"
    )
    train_records: str | None = option(None, "pattern of the training files (coco_tfrecord)")
    validation_images: str | None = option(None, "as train_images, of the images to evaluate")
    validation_annotations: str | None = option(None, "as train_annotations, to evaluate")
    validation_records: str | None = option(None, "as train_records, to evaluate")
    drop_invalid_boxes: bool = option(
        False, "leave out boxes that are no boxes instead of refusing the data set (coco_directory)"
    )
    categories: tuple[str, ...] | None = option(
        None, "names of the categories to train on; all of the data set if none"
    )

    height: int = option(320, "input height in pixels")
    width: int = option(320, "input width in pixels")

    classification_loss: str = option("focal", f"one of {', '.join(CLASSIFICATION_LOSSES)}")
    focal_alpha: float = option(0.75, "weight of positives in the focal loss")
    focal_gamma: float = option(2.0, "exponent of the focal loss")
    class_prior: float | None = option(None, "probability of each class before training")
    box_loss_weight: float = option(1.0, "of the box loss against the classification loss")

    random_crop: bool = option(True, "SSD random crop")
    expand_probability: float = option(0.0, "of placing the image on a larger canvas")
    flip: bool = option(True, "random horizontal flip")
    antialias: bool = option(
        True, "filter training images that shrink, as evaluation does; takes half of the input time"
    )
    photometric: bool = option(False, "random brightness, contrast, saturation and hue")
    score_threshold: float = option(1e-8, "detections below it are dropped before NMS")
    iou_threshold: float = option(0.6, "of non-maximum suppression")
    max_detections: int = option(100, "detections kept for an image")

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = CLASSIFICATION_LOSSES
        require(
            self,
            "classification_loss",
            self.classification_loss in choices,
            f"one of {', '.join(choices)}",
        )
        for name in ("expand_probability", "focal_alpha", "iou_threshold"):
            require(self, name, 0 <= getattr(self, name) <= 1, "in 0..1")
        require(self, "score_threshold", 0 <= self.score_threshold < 1, "at least 0 and below 1")
        require(self, "box_loss_weight", 0 < self.box_loss_weight < 100, "above 0 and below 100")
        require(self, "focal_gamma", self.focal_gamma >= 0, "at least 0")
        prior = self.class_prior
        require(self, "max_detections", self.max_detections >= 1, "at least 1")
        require(self, "class_prior", prior is None or 0 < prior < 1, "between 0 and 1, or none")


# scripts/quickstart.sh
#   python -m tasks.detection.train --recipe shapes --run-dir runs/shapes
# AP >= 0.40 on the 500 unseen validation images after at most 8 minutes on 2 CPU cores.
SHAPES = DetectionRecipe(
    dataset="shapes",
    height=160,
    width=160,
    alpha=0.5,
    batch_size=32,
    train_steps=1050,
    evaluate_every=525,
    optimizer="adam",
    learning_rate=2e-2,
    warmup_steps=50,
    bn_momentum=0.97,
    zero_init_residual=True,
    classification_loss="focal",
    focal_alpha=0.75,
    class_prior=0.01,
    box_loss_weight=0.5,
    random_crop=False,
    cache=True,
    validation_split="validation[:200]",
)

# The 320x320 SSDLite recipe of the TensorFlow Object Detection API (the family of
# ssdlite_mobilenet_v3_large_320x320_coco.config), which trains from scratch, with the MobileNetV2
# network of ssdlite_mobilenet_v2_coco.config; batch 512 is the sum over all replicas. Training
# images are resized without antialias, as there; evaluation has it, from which the published
# network gains as well (AP +0.004 on photos of COCO).
#   python -m tasks.detection.train --recipe coco_320 --dataset coco/2017 --run-dir runs/coco_320
# Expected from the publications, not reproduced here: AP 0.221 on COCO test-dev (arXiv
# 1801.04381, table 6), 0.22 on minival (TF1 detection zoo).
COCO_320 = DetectionRecipe(
    dataset="coco/2017",
    height=320,
    width=320,
    alpha=1.0,
    batch_size=512,
    train_steps=400_000,
    evaluate_every=10_000,
    optimizer="sgd",
    momentum=0.9,
    learning_rate=0.4,
    schedule="cosine",
    warmup_steps=2000,
    warmup_learning_rate=0.13333,
    weight_decay=4e-5,
    bn_momentum=0.97,
    classification_loss="focal",
    focal_alpha=0.75,
    focal_gamma=2.0,
    # normalize_loc_loss_by_codesize: the mean over the four codes instead of their sum.
    box_loss_weight=0.25,
    random_crop=True,
    flip=True,
    antialias=False,
)

# The recipe of the published checkpoint itself, ssdlite_mobilenet_v2_coco.config, at 300x300.
# One epoch of the exponential schedule lasts longer than the run, so that the rate stays 0.004.
#   python -m tasks.detection.train --recipe coco_300 --init-weights ... --run-dir runs/coco_300
# Expected from the publications, not reproduced here: AP 0.22 (TF1 detection zoo).
COCO_300 = dataclasses.replace(
    COCO_320,
    height=300,
    width=300,
    batch_size=24,
    train_steps=200_000,
    optimizer="rmsprop",
    rmsprop_decay=0.9,
    epsilon=1.0,
    learning_rate=0.004,
    schedule="exponential",
    decay_steps=800_720,
    decay_rate=0.95,
    warmup_steps=0,
    warmup_learning_rate=0.0,
    bn_momentum=0.9997,
    classification_loss="hard_negative",
    box_loss_weight=1.0,
)

# Overfits a small set of photos: no augmentation, everything else as for real. Proves that
# targets, losses, decoding and evaluation agree with each other on one's own annotations.
#   python -m tasks.detection.train --recipe overfit --dataset coco_directory ... --run-dir ...
OVERFIT = dataclasses.replace(
    COCO_320,
    dataset="coco_directory",
    validation_split="train",
    batch_size=12,
    train_steps=400,
    evaluate_every=200,
    optimizer="adam",
    learning_rate=2e-3,
    warmup_steps=50,
    warmup_learning_rate=0.0,
    weight_decay=0.0,
    bn_momentum=0.9,
    class_prior=0.01,
    focal_alpha=0.25,
    box_loss_weight=1.0,
    random_crop=False,
    flip=False,
    antialias=True,
    cache=True,
)

# Fine-tunes a trained or imported detector on a small data set: a low learning rate, and the batch
# normalization of the weights, whose statistics small batches would only spoil. The loss is that of
# the published weights: they score the background too, which the focal loss would first unlearn.
#   python -m tasks.detection.train --recipe fine_tune --init-weights coco \
#       --dataset coco_directory ... --run-dir runs/mine
FINE_TUNE = dataclasses.replace(
    COCO_320,
    classification_loss="hard_negative",
    box_loss_weight=1.0,
    dataset="coco_directory",
    batch_size=12,
    train_steps=160,
    evaluate_every=40,
    optimizer="adam",
    learning_rate=2e-4,
    warmup_steps=20,
    warmup_learning_rate=0.0,
    freeze_bn=True,
    antialias=True,
    cache=True,
)

RECIPES = {
    "shapes": SHAPES,
    "coco_320": COCO_320,
    "coco_300": COCO_300,
    "overfit": OVERFIT,
    "fine_tune": FINE_TUNE,
}
