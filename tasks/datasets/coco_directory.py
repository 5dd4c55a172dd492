"""TFDS builder `coco_directory`: any data set in COCO format, from its JSON files and folders.

Unlike other TFDS builders it has no fixed content: its config carries the paths, and a digest of
what is found there names the prepared copy. A changed data set is prepared anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from tasks.common.images import encode_upright
from tasks.datasets.coco_annotations import CocoImage, CocoSplit, read_split
from tasks.datasets.coco_json import AnnotationError, check_same_categories
from tasks.datasets.file_digest import file_digest, folder_digest


@dataclasses.dataclass(frozen=True)
class CocoFiles:
    """Where one split lies: a folder of images and its instances JSON."""

    images: str
    annotations: str

    def digest(self) -> str:
        """Changes with the JSON's content and with the names, sizes and times of the images."""
        try:
            annotations = file_digest(self.annotations)
        except OSError as error:
            raise AnnotationError(
                f"{self.annotations}: cannot read the annotations ({error.strerror}); "
                "check the path"
            ) from error
        try:
            return f"{annotations} {folder_digest(self.images)}"
        except NotADirectoryError:
            raise AnnotationError(
                f"{self.images}: there is no such folder of images; check the path"
            ) from None


@dataclasses.dataclass(eq=False)
class CocoDirectoryConfig(tfds.core.BuilderConfig):
    """The files of the splits; the name of the config is the digest of their content.

    Attributes:
        train: files of the split `train`, or None without one.
        validation: files of the split `validation`, or None without one.
        drop_invalid_boxes: see `coco_annotations.read_split`.

    Raises:
        AnnotationError: there are no splits, or a file or folder is missing.
    """

    name: str = dataclasses.field(init=False)
    train: CocoFiles | None = None
    validation: CocoFiles | None = None
    drop_invalid_boxes: bool = False

    def __post_init__(self):
        if not self.splits:
            raise AnnotationError(
                "coco_directory needs images and annotations of train, validation or both"
            )
        content = [f"{split} {files.digest()}" for split, files in self.splits.items()]
        content.append(str(self.drop_invalid_boxes))
        self.name = hashlib.sha256("\n".join(content).encode()).hexdigest()[:20]

    @property
    def splits(self) -> dict[str, CocoFiles]:
        """The given splits by name."""
        splits = {"train": self.train, "validation": self.validation}
        return {name: files for name, files in splits.items() if files is not None}


class CocoDirectory(tfds.core.GeneratorBasedBuilder):
    """A data set in COCO format.

    Labels are the categories in ascending id order; `info.metadata["category_ids"]` has the ids.
    Boxes are clipped to their image; images are stored as a person sees them.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}

    def __init__(self, *, config: CocoDirectoryConfig, **kwargs):
        self._checked: dict[str, CocoSplit] = {}
        super().__init__(config=config, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(),
                "image/filename": tfds.features.Text(),
                "image/id": np.int64,
                "objects": tfds.features.Sequence(
                    {
                        "bbox": tfds.features.BBoxFeature(),
                        # Named when the JSON is read or the prepared copy is opened.
                        "label": tfds.features.ClassLabel(),
                        "area": np.float32,
                        "is_crowd": np.bool_,
                        "id": np.int64,
                    }
                ),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self,
            features=features,
            description=self.__doc__,
            metadata=tfds.core.MetadataDict(),
        )

    def download_and_prepare(self, **kwargs) -> None:
        """Prepares the data set unless it is; checks all of it before the first write.

        Raises:
            AnnotationError: the data set is unusable; see `coco_annotations.read_split`.
        """
        if not self.is_prepared():
            config = self.builder_config
            self._checked = {
                split: read_split(
                    files.annotations, files.images, drop_invalid_boxes=config.drop_invalid_boxes
                )
                for split, files in config.splits.items()
            }
            check_same_categories(
                {
                    files.annotations: self._checked[split].categories
                    for split, files in config.splits.items()
                }
            )
        super().download_and_prepare(**kwargs)
        self._checked = {}  # gives the memory back

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        del dl_manager  # nothing to download
        categories = next(iter(self._checked.values())).categories
        self.info.features["objects"]["label"].names = list(categories.values())
        self.info.metadata["category_ids"] = list(categories)
        labels = {category_id: label for label, category_id in enumerate(categories)}
        return {
            split: self._generate_examples(content.images, labels)
            for split, content in self._checked.items()
        }

    def _generate_examples(
        self, images: tuple[CocoImage, ...], labels: dict[int, int]
    ) -> Iterator[tuple[int, dict]]:
        for image in images:
            known_good = image.info.tensorflow_reads_it
            yield (
                image.id,
                {
                    "image": image.path.read_bytes() if known_good else encode_upright(image.path),
                    "image/filename": image.file_name,
                    "image/id": image.id,
                    "objects": [
                        {
                            "bbox": tfds.features.BBox(*item.box),
                            "label": labels[item.category_id],
                            "area": item.area,
                            "is_crowd": item.is_crowd,
                            "id": item.id,
                        }
                        for item in image.objects
                    ],
                },
            )
