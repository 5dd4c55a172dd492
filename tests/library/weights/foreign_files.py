"""Files that are no weights."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import tensorflow as tf
from damaged_files import case


@case("no such file")
def nothing_there(make):
    return make.folder / "nothing"


@case("no such file")
def unknown_name(make):
    return "imagenet21k"


@case("empty")
def empty_file(make):
    return make.write(b"")


@case("neither a frozen graph")
def text(make):
    return make.write(b"These are not weights.\n" * 100)


@case("neither a frozen graph")
def web_page(make):
    return make.write(b"<!DOCTYPE html><html><body>404</body></html>", "model.tar.gz")


@case("neither a frozen graph|graph without weights")
def noise(make):
    return make.write(np.random.default_rng(0).bytes(100_000))


@case("neither a frozen graph|graph without weights")
def zeros(make):
    return make.write(bytes(100_000))


@case("neither a frozen graph")
def pickle_file(make):
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (make.folder / "executed",))

    return make.write(pickle.dumps(Hostile()), "weights.pkl")


@case("neither a frozen graph")
def pickled_numpy_array(make):
    path = make.folder / "weights.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return path


@case("neither a frozen graph|graph without weights")
def picture(make):
    return make.write(tf.io.encode_png(np.zeros((8, 8, 3), "uint8")).numpy(), "photo.png")


@case("holds neither a frozen graph")
def empty_folder(make):
    (make.folder / "run").mkdir()
    return make.folder / "run"
