"""TFDS builder `class_directory`: any folder of pictures, by a folder per class or by lists.

As in `coco_directory`, the config carries the paths, and a digest of what is found there names
the prepared copy. A changed data set is prepared anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets as tfds

from tasks.common.images import ImageError, encode_upright, inspect
from tasks.datasets.class_files import (
    ClassDirectoryError,
    LabelledFile,
    check_same_classes,
    find_class_files,
    find_classes,
    labelled_files,
    raise_any,
    read_class_names,
    read_list,
)
from tasks.datasets.file_checks import look_at_all
from tasks.datasets.file_digest import file_digest, folder_digest


@dataclasses.dataclass(frozen=True)
class ClassFiles:
    """Where one split lies: a folder that holds class folders, or pictures that a list names."""

    images: str
    list_file: str | None = None

    def digest(self) -> str:
        """Changes with the names, sizes and times of the pictures, the classes and the list."""
        try:
            digest = folder_digest(self.images)
        except NotADirectoryError:
            raise ClassDirectoryError(
                f"{self.images}: there is no such folder of pictures; check the path"
            ) from None
        if self.list_file is not None:
            return f"{digest} {_text_digest(self.list_file)}"
        return "\0".join([digest, *find_classes(self.images)])  # empty ones, too


@dataclasses.dataclass(eq=False)
class ClassDirectoryConfig(tfds.core.BuilderConfig):
    """The files of the splits; the name of the config is the digest of their content.

    Attributes:
        train: files of the split `train`, or None without one.
        validation: files of the split `validation`, or None without one.
        class_names: file with the class names, with lists; see `class_files.read_class_names`.
        skip_broken: leave out pictures that cannot be read instead of refusing the data set.

    Raises:
        ClassDirectoryError: there are no splits, or lists without class names or the reverse, or
            a file or folder is missing.
    """

    name: str = dataclasses.field(init=False)
    train: ClassFiles | None = None
    validation: ClassFiles | None = None
    class_names: str | None = None
    skip_broken: bool = False

    def __post_init__(self):
        if not self.splits:
            raise ClassDirectoryError("class_directory needs pictures of train, validation or both")
        for split, files in self.splits.items():
            if (files.list_file is None) != (self.class_names is None):
                raise ClassDirectoryError(
                    f"class_directory needs class_names and a list for each split, or none of "
                    f"them; got class_names {self.class_names!r} and {split}_list "
                    f"{files.list_file!r}"
                )
        content = [f"{split} {files.digest()}" for split, files in self.splits.items()]
        if self.class_names is not None:
            content.append(_text_digest(self.class_names))
        content.append(str(self.skip_broken))
        text = "\n".join(content).encode(errors="surrogateescape")
        self.name = hashlib.sha256(text).hexdigest()[:20]

    @property
    def splits(self) -> dict[str, ClassFiles]:
        """The given splits by name."""
        splits = {"train": self.train, "validation": self.validation}
        return {name: files for name, files in splits.items() if files is not None}


class ClassDirectory(tfds.core.GeneratorBasedBuilder):
    """Folders of pictures with one class each.

    Labels are the class folders in sorted order, or the indices of the lists. Pictures are stored
    as a person sees them; `info.metadata["skipped"]` names those left out of each split.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}

    def __init__(self, *, config: ClassDirectoryConfig, **kwargs):
        self._label_names: tuple[str, ...] = ()
        self._checked: dict[str, _CheckedSplit] = {}
        super().__init__(config=config, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(),
                "image/filename": tfds.features.Text(),
                # Named when the folders are read or the prepared copy is opened.
                "label": tfds.features.ClassLabel(),
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
            ClassDirectoryError: the data set is unusable; see `class_files`. Unreadable pictures
                are listed, unless `skip_broken` leaves them out.
        """
        if not self.is_prepared():
            self._label_names, files = _read_splits(self.builder_config)
            self._checked = _check_pictures(self.builder_config, self._label_names, files)
        super().download_and_prepare(**kwargs)
        self._checked = {}  # gives the memory back

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        del dl_manager  # nothing to download
        self.info.features["label"].names = list(self._label_names)
        self.info.metadata["skipped"] = {
            split: [_printable(name) for name in content.broken]
            for split, content in self._checked.items()
        }
        return {
            split: self._generate_examples(self.builder_config.splits[split].images, content.files)
            for split, content in self._checked.items()
        }

    def _generate_examples(
        self, folder: str, files: dict[LabelledFile, bool]
    ) -> Iterator[tuple[bytes, dict]]:
        for (name, label), known_good in files.items():
            path = Path(folder, name)
            yield (
                os.fsencode(name),
                {
                    "image": path.read_bytes() if known_good else encode_upright(path),
                    "image/filename": _printable(name),
                    "label": label,
                },
            )


class _CheckedSplit(NamedTuple):
    files: dict[LabelledFile, bool]  # -> whether TensorFlow reads its bytes
    broken: dict[str, str]  # file name -> cause


def _read_splits(
    config: ClassDirectoryConfig,
) -> tuple[tuple[str, ...], dict[str, list[LabelledFile]]]:
    """Class names, and the files of each split."""
    if config.class_names is not None:
        names = read_class_names(config.class_names)
        listed = {
            split: read_list(files.list_file, files.images, len(names))
            for split, files in config.splits.items()
        }
        _check_listed_classes(config, names, listed)
        return names, listed
    found = {split: find_class_files(files.images) for split, files in config.splits.items()}
    check_same_classes({files.images: found[split] for split, files in config.splits.items()})
    return tuple(next(iter(found.values()))), {
        split: labelled_files(classes) for split, classes in found.items()
    }


def _check_listed_classes(
    config: ClassDirectoryConfig,
    label_names: Sequence[str],
    files: Mapping[str, Iterable[LabelledFile]],
) -> None:
    """Raises a ClassDirectoryError if a list to validate on has classes that training lacks."""
    if config.class_names is None or len(files) < 2:
        return
    trained, validated = (
        {file.label for file in files[split]} for split in ("train", "validation")
    )
    raise_any(
        f"{config.validation.list_file}: classes of which {config.train.list_file} has no readable "
        "picture; add some there, or remove them here",
        [repr(label_names[label]) for label in sorted(validated - trained)],
    )


def _check_pictures(
    config: ClassDirectoryConfig,
    label_names: Sequence[str],
    files: dict[str, list[LabelledFile]],
) -> dict[str, _CheckedSplit]:
    """Decodes all pictures."""
    checked = {
        split: _check_split(config.splits[split].images, listed) for split, listed in files.items()
    }
    if not config.skip_broken:
        raise_any(
            "unreadable pictures; repair or remove them, or leave out all such files with "
            "skip_broken (--skip-broken)",
            [cause for content in checked.values() for cause in content.broken.values()],
        )
    for split, content in checked.items():
        images = config.splits[split].images
        left = {file.label for file in content.files}
        # Lists need not have all classes; a class that has a folder is there to be learnt.
        lost = set() if config.class_names else {file.label for file in files[split]} - left
        raise_any(
            f"{images}: class folders without any readable picture; add some, or remove the "
            "folder from all splits",
            [repr(label_names[label]) for label in sorted(lost)],
        )
        if not left:
            raise_any(f"{images}: none of the pictures is readable", [*content.broken.values()])
    _check_listed_classes(config, label_names, {s: content.files for s, content in checked.items()})
    return checked


def _check_split(folder: str, files: Sequence[LabelledFile]) -> _CheckedSplit:
    """Decodes all files."""
    content = _CheckedSplit({}, {})
    for file, look in look_at_all(
        lambda file: inspect(os.path.join(folder, file.name)),
        files,
        f"Checking pictures of {folder}",
        ImageError,
    ):
        if isinstance(look, ImageError):
            content.broken[file.name] = str(look)
        else:
            content.files[file] = look.tensorflow_reads_it
    return content


def _text_digest(path: str) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise ClassDirectoryError(
            f"{path}: cannot read the file ({error.strerror}); check the path"
        ) from error


def _printable(name: str) -> str:
    """The file name with a replacement for bytes that are no UTF-8."""
    return os.fsencode(name).decode(errors="replace")
