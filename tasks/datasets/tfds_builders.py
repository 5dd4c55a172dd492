"""Opens, prepares and reads data sets of TFDS, whatever the task."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterable

import tensorflow as tf
import tensorflow_datasets as tfds


class UnavailableError(ValueError):
    """A data set that could not be fetched; the message says why and what to do."""


def open_builder(
    name: str, data_dir: str | os.PathLike | None, suggestions: str
) -> tfds.core.DatasetBuilder:
    """The builder of a registered data set; nothing is downloaded.

    Args:
        name: as TFDS names data sets, "coco/2017".
        data_dir: where prepared data sets are kept; TFDS's place if None.
        suggestions: what to use instead of an unknown name, for the message.

    Raises:
        ValueError: TFDS knows no such data set, config or version.
    """
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (ValueError, AssertionError, TypeError) as error:
        try:
            builder_class = tfds.builder_cls(re.split("[/:]", name)[0])
        except ValueError:  # its message lists all of TFDS or explains its syntax
            raise ValueError(f"unknown data set {name!r}; use {suggestions}") from None
        raise ValueError(
            f"cannot open data set {name!r}; its configs are "
            f"{sorted(builder_class.builder_configs)} and its version is {builder_class.VERSION}"
        ) from error


def prepare(name: str, builder: tfds.core.DatasetBuilder, own_files: str) -> None:
    """Downloads and prepares the data set unless it is.

    Args:
        name: of the data set, for messages.
        builder: opened.
        own_files: how to read files that one has, for the message.

    Raises:
        UnavailableError: with the cause and what to do, e.g. without network, or without files
            that their owners give to persons only.
    """
    if builder.is_prepared():
        return
    print(f"preparing data set {name} in {builder.data_dir}", flush=True)
    if not sys.stderr.isatty():  # a progress bar in a log file is thousands of lines
        tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS's notes about itself
            builder.download_and_prepare()
    except (OSError, tfds.download.DownloadError) as error:
        raise UnavailableError(
            f"data set {name!r} could not be downloaded and prepared in {builder.data_dir}: "
            f"{error}. Check the network and the free disk space, copy a prepared data set "
            f"there, or {own_files}"
        ) from error
    except (AssertionError, tf.errors.NotFoundError) as error:
        if not builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
            raise
        # It names the folder or the file, and for an absent folder gives instructions in lines.
        reason = " ".join(str(error).split()).rstrip(".")
        raise UnavailableError(
            f"data set {name!r} needs files that you must fetch yourself: {reason}. Or {own_files}"
        ) from error


def read_features(
    builder: tfds.core.DatasetBuilder,
    features: Iterable[str],
    encoded: Iterable[str],
    split: str,
    shuffle_files: bool,
    seed: int | None,
) -> tf.data.Dataset:
    """Elements of a prepared data set with "tfds_id" and nothing but the named features.

    Args:
        builder: prepared.
        features: to read.
        encoded: those of them that are images to be left as encoded bytes.
        split: of the data set.
        shuffle_files: read the files in random order, the same one in each pass, several at a time.
        seed: makes that order reproducible.

    Raises:
        FileNotFoundError: if the prepared data set has vanished since.
    """
    if not tf.io.gfile.exists(builder.data_dir):
        raise FileNotFoundError(f"prepared data set {builder.data_dir} is no longer there")
    return builder.as_dataset(
        split=split,
        shuffle_files=shuffle_files,
        decoders=tfds.decode.PartialDecoding(
            {key: True for key in features}, {key: tfds.decode.SkipDecoding() for key in encoded}
        ),
        # Caching is the pipeline's business.
        read_config=tfds.ReadConfig(
            shuffle_seed=seed,
            shuffle_reshuffle_each_iteration=False,
            try_autocache=False,
            add_tfds_id=True,
        ),
    )
