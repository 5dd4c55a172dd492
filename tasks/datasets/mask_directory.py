"""TFDS builder `mask_directory`: a folder of images and a folder of label masks.

Unlike other TFDS builders it has no fixed content: its config carries the paths, and a digest of
what is found there names the prepared copy. A changed data set is prepared anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from tasks.common.picture_files import find_pictures
from tasks.common.wording import first_of
from tasks.datasets.file_digest import folder_digest
from tasks.datasets.mask_labels import MaskLabels, read_mask_labels
from tasks.datasets.mask_pairs import MaskPair, check_pairs, mask_features, pair_examples
from tasks.datasets.masks import VOID, MaskError


@dataclasses.dataclass(frozen=True)
class MaskFolders:
    """Where one split lies. The mask of NAME.jpg (or any other picture) is NAME.png."""

    images: str
    masks: str

    def digest(self) -> str:
        """Changes with the names, sizes and times of the files."""
        try:
            return f"{folder_digest(self.images)} {folder_digest(self.masks)}"
        except NotADirectoryError as error:
            raise MaskError(f"{error}: there is no such folder; check the path") from None

    def pairs(self) -> tuple[MaskPair, ...]:
        """Images with their masks, in the order of their names.

        Raises:
            MaskError: images without mask or masks without image, or two images for one mask.
        """
        try:
            images = find_pictures([self.images])
        except ValueError:
            raise MaskError(f"{self.images}: there are no pictures in this folder") from None
        by_name = {image.stem: image for image in images}
        found = [
            path
            for path in Path(self.masks).iterdir()
            if path.suffix.lower() == ".png" and not path.name.startswith(".")
        ]
        masks = {path.stem: path for path in found}
        rule = "the mask of NAME.jpg must be NAME.png"
        for folder, what, paths in ((self.images, "images", images), (self.masks, "masks", found)):
            times = Counter(path.stem for path in paths)
            if twice := [name for name in times if times[name] > 1]:
                raise MaskError(
                    f"{folder}: several {what} share a name ({first_of(sorted(twice))}) and "
                    f"{rule}; rename them, and keep images and masks in folders of their own"
                )
        if bare := [by_name[name].name for name in by_name.keys() - masks.keys()]:
            raise MaskError(
                f"{self.images}: {len(bare)} of {len(images)} images have no mask in {self.masks} "
                f"({first_of(sorted(bare))}); {rule}: rename or add the masks, or move the images "
                "away"
            )
        if unused := [masks[name].name for name in masks.keys() - by_name.keys()]:
            raise MaskError(
                f"{self.masks}: {len(unused)} of {len(masks)} masks have no image in "
                f"{self.images} ({first_of(sorted(unused))}); {rule}: add the images or move the "
                "masks away"
            )
        return tuple(MaskPair(name, image, masks[name]) for name, image in by_name.items())


@dataclasses.dataclass(eq=False, kw_only=True)
class MaskDirectoryConfig(tfds.core.BuilderConfig):
    """The files of the splits; the name of the config is the digest of their content.

    Attributes:
        labels: text file with the class names, see `mask_labels.read_mask_labels`.
        train: folders of the split `train`, or None without one.
        validation: folders of the split `validation`, or None without one.
        ignore_label: mask value of pixels without a label.

    Raises:
        LabelsError: the class names are unusable.
        MaskError: there are no splits, or a folder is missing.
    """

    name: str = dataclasses.field(init=False)
    labels: str
    train: MaskFolders | None = None
    validation: MaskFolders | None = None
    ignore_label: int = VOID
    mask_labels: MaskLabels = dataclasses.field(init=False)

    def __post_init__(self):
        if not self.splits:
            raise MaskError("mask_directory needs images and masks of train, validation or both")
        self.mask_labels = read_mask_labels(self.labels, self.ignore_label)
        content = [f"{split} {folders.digest()}" for split, folders in self.splits.items()]
        content.append(repr(self.mask_labels))
        self.name = hashlib.sha256("\n".join(content).encode()).hexdigest()[:20]

    @property
    def splits(self) -> dict[str, MaskFolders]:
        """The given splits by name."""
        splits = {"train": self.train, "validation": self.validation}
        return {name: folders for name, folders in splits.items() if folders is not None}


class MaskDirectory(tfds.core.GeneratorBasedBuilder):
    """Images with label masks. Images are stored as a person sees them, void pixels as 255."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}

    def __init__(self, *, config: MaskDirectoryConfig, **kwargs):
        self._checked: dict[str, tuple[MaskPair, ...]] = {}
        super().__init__(config=config, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=mask_features(self.builder_config.mask_labels.names),
            description=self.__doc__,
        )

    def download_and_prepare(self, **kwargs) -> None:
        """Prepares the data set unless it is; checks all of it before the first write.

        Raises:
            MaskError: an image or mask is missing or unusable.
        """
        if not self.is_prepared():
            config = self.builder_config
            pairs = {split: folders.pairs() for split, folders in config.splits.items()}
            for split, folders in config.splits.items():
                check_pairs(pairs[split], config.mask_labels, f"Checking {folders.masks}")
            self._checked = pairs
        super().download_and_prepare(**kwargs)
        self._checked = {}  # gives the memory back

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        del dl_manager  # nothing to download
        return {split: self._generate_examples(pairs) for split, pairs in self._checked.items()}

    def _generate_examples(self, pairs: tuple[MaskPair, ...]) -> Iterator[tuple[str, dict]]:
        return pair_examples(pairs, self.builder_config.mask_labels)
