"""Published weights and what is known about them.

Addresses: research/deeplab/g3doc/model_zoo.md and
research/object_detection/g3doc/tf1_detection_zoo.md of tensorflow/models, and
keras.applications (keras/src/applications/mobilenet_v2.py). Figures: the same pages and
research/slim/nets/mobilenet/README.md.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from keras_mnv2.weights.inspection import WeightsInfo
from keras_mnv2.weights.tensors import WeightsError

TENSORFLOW_DOWNLOADS = "https://download.tensorflow.org/models"
KERAS_APPLICATIONS = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2"
DEFAULT_SIZE = 224

_logger = logging.getLogger("keras_mnv2")

# (alpha, input size, top-1, top-5) of the slim release, whose weights keras.applications has.
_IMAGENET_ACCURACY = (
    (1.4, 224, 75.0, 92.5),
    (1.3, 224, 74.4, 92.1),
    (1.0, 224, 71.8, 91.0),
    (1.0, 192, 70.7, 90.1),
    (1.0, 160, 68.8, 89.0),
    (1.0, 128, 65.3, 86.9),
    (1.0, 96, 60.3, 83.2),
    (0.75, 224, 69.8, 89.6),
    (0.75, 192, 68.7, 88.9),
    (0.75, 160, 66.4, 87.3),
    (0.75, 128, 63.2, 85.3),
    (0.75, 96, 58.8, 81.6),
    (0.5, 224, 65.4, 86.4),
    (0.5, 192, 63.9, 85.4),
    (0.5, 160, 61.0, 83.2),
    (0.5, 128, 57.7, 80.8),
    (0.5, 96, 51.2, 75.8),
    (0.35, 224, 60.3, 82.9),
    (0.35, 192, 58.2, 81.2),
    (0.35, 160, 55.7, 79.1),
    (0.35, 128, 50.8, 75.0),
    (0.35, 96, 45.5, 70.4),
)


@dataclass(frozen=True)
class PublishedWeights:
    """One published file.

    Attributes:
        name: what `weights=` takes.
        url: where the file is.
        family: "MobileNetV2", "SSDLite" or "DeepLabV3".
        alpha: width multiplier.
        divisor: that its channels are rounded to multiples of.
        input_size: (height, width) that it was trained and measured at.
        classes: `classes=` or `num_classes=` that takes the whole head; None without a head.
        licence: of the release.
        metric: published result.
        protocol: how that was measured, and where it is published.
        recipe: how it was trained.
        sha256: of the file where it is known in advance; otherwise that of the first download is
            recorded and must not change.
    """

    name: str
    url: str
    family: str
    alpha: float
    divisor: int
    input_size: tuple[int, int]
    classes: int | None
    licence: str
    metric: str
    protocol: str
    recipe: str
    sha256: str | None = None

    @property
    def file_name(self) -> str:
        """Name of the file in the cache; that of the publisher."""
        return self.url.rpartition("/")[2]


def published() -> tuple[PublishedWeights, ...]:
    """All published weights that `weights=` knows by name."""
    return (*_imagenet(), *_coco(), *_pascal_voc())


def names() -> tuple[str, ...]:
    """The registered names, e.g. "imagenet"."""
    return tuple(dict.fromkeys(entry.name for entry in published()))


def select(name: str, model: WeightsInfo, input_size: tuple | None) -> PublishedWeights:
    """The file of `name` that fits a model.

    Args:
        name: registered name.
        model: description of the model (`model_info`).
        input_size: (height, width) of the model, of which either may be None. Where "imagenet"
            was not published at that size, the 224x224 weights are taken and that is said, as
            keras.applications does.

    Raises:
        WeightsError: if nothing under that name fits, telling what would.
    """
    entries = [entry for entry in published() if entry.name == name]
    is_bare = model.family == "MobileNetV2" and model.classes is None
    families = {entry.family for entry in entries}
    # The detector holds a whole backbone; DeepLab's lacks the last convolution.
    has_backbone = families == {"SSDLite"} or model.last_filters is None
    if model.family not in families and not (is_bare and has_backbone):
        raise WeightsError(_other_family(name, families.pop(), model))
    fitting = [e for e in entries if (e.alpha, e.divisor) == (model.alpha, model.divisor)]
    if not fitting:
        widths = dict.fromkeys(f"alpha={e.alpha} with divisor={e.divisor}" for e in entries)
        raise WeightsError(
            f"weights={name!r} are published for {', '.join(widths)}; the model has "
            f"alpha={model.alpha} with divisor={model.divisor}"
        )
    if families == {"MobileNetV2"}:
        fitting = [entry for entry in fitting if (entry.classes is None) == is_bare]
        at_size = [entry for entry in fitting if entry.input_size == input_size]
        if not at_size:
            _logger.warning(
                "weights=%r: none published for alpha %s at input size %s; loading those of %dx%d",
                name, model.alpha, input_size, DEFAULT_SIZE, DEFAULT_SIZE,
            )  # fmt: skip
            at_size = [e for e in fitting if e.input_size == (DEFAULT_SIZE, DEFAULT_SIZE)]
        fitting = at_size
    return fitting[0]


def default(name: str, alpha: float = 1.0, input_size: tuple | None = None) -> PublishedWeights:
    """The file of `name` where there is no model yet: with its head, of this width multiplier.

    Args:
        name: registered name.
        alpha: width multiplier.
        input_size: (height, width); where nothing was published at that size, the 224x224
            weights of "imagenet" are taken.

    Raises:
        WeightsError: if that was not published.
    """
    entries = [e for e in published() if e.name == name and e.classes is not None]
    fitting = [entry for entry in entries if entry.alpha == alpha]
    if not fitting:
        alphas = ", ".join(str(value) for value in sorted({entry.alpha for entry in entries}))
        raise WeightsError(f"{name!r} is published for alpha={alphas}, not for {alpha}")
    for size in (tuple(input_size or ()), (DEFAULT_SIZE, DEFAULT_SIZE)):
        if at_size := [entry for entry in fitting if entry.input_size == size]:
            return at_size[0]
    return fitting[0]


def entry_of_file(file_name: str) -> PublishedWeights | None:
    """The published file of that name, if there is one."""
    return next((entry for entry in published() if entry.file_name == file_name), None)


def _other_family(name: str, family: str, model: WeightsInfo) -> str:
    if family == "MobileNetV2":
        return f"weights={name!r} are a classifier's; give {model.family} backbone_weights={name!r}"
    return f"weights={name!r} are those of {family}, the model is a {model.family}"


def _imagenet() -> tuple[PublishedWeights, ...]:
    return tuple(
        PublishedWeights(
            name="imagenet",
            url=f"{KERAS_APPLICATIONS}/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_"
            f"{alpha}_{size}{suffix}.h5",
            family="MobileNetV2",
            alpha=alpha,
            divisor=8,
            input_size=(size, size),
            classes=classes,
            licence="Apache-2.0 (tensorflow/models, slim)",
            metric=f"top-1 {top1} %, top-5 {top5} %",
            protocol=f"ImageNet 2012 val, {size}x{size}, one crop (slim README)",
            recipe="slim: RMSProp, batch 96, label smoothing 0.1, EMA 0.9999",
        )
        for alpha, size, top1, top5 in _IMAGENET_ACCURACY
        for classes, suffix in ((1000, ""), (None, "_no_top"))
    )


def _coco() -> tuple[PublishedWeights, ...]:
    file = "object_detection/ssdlite_mobilenet_v2_coco_2018_05_09.tar.gz"
    return (
        PublishedWeights(
            name="coco",
            url=f"{TENSORFLOW_DOWNLOADS}/{file}",
            family="SSDLite",
            alpha=1.0,
            divisor=8,
            input_size=(300, 300),
            classes=90,
            licence="Apache-2.0 (tensorflow/models, object_detection)",
            metric="mAP 22",
            protocol="COCO 2014 minival, 300x300 (tf1_detection_zoo.md)",
            recipe="ssdlite_mobilenet_v2_coco.config: RMSProp, batch 24, from ImageNet weights",
        ),
    )


def _pascal_voc() -> tuple[PublishedWeights, ...]:
    single, multi = "stride 16, one scale", "stride 8, scales 0.5-1.75 and flip"
    rows = (
        ("pascal_voc", 1.0, "deeplabv3_mnv2_pascal_train_aug_2018_01_29",
         "mIOU 75.32 %", f"VOC 2012 val, {single}"),
        ("pascal_voc", 0.5, "deeplabv3_mnv2_dm05_pascal_trainaug_2018_10_01",
         "mIOU 70.19 %", f"VOC 2012 val, {single}"),
        ("pascal_voc_trainval", 1.0, "deeplabv3_mnv2_pascal_trainval_2018_01_29",
         "mIOU 80.25 %", f"VOC 2012 test, {multi}"),
        ("pascal_voc_trainval", 0.5, "deeplabv3_mnv2_dm05_pascal_trainval_2018_10_01",
         "mIOU 71.83 %", "VOC 2012 test, stride 8, one scale"),
    )  # fmt: skip
    return tuple(
        PublishedWeights(
            name=name,
            url=f"{TENSORFLOW_DOWNLOADS}/{stem}.tar.gz",
            family="DeepLabV3",
            alpha=alpha,
            divisor=8 if alpha == 1.0 else 1,
            input_size=(513, 513),
            classes=21,
            licence="Apache-2.0 (tensorflow/models, deeplab)",
            metric=metric,
            protocol=f"{protocol} (deeplab model_zoo.md)",
            recipe="research/deeplab: ImageNet, then MS-COCO, then VOC train_aug"
            + (" and trainval" if name.endswith("trainval") else ""),
        )
        for name, alpha, stem, metric, protocol in rows
    )
