"""Damaged and foreign Keras files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
from damaged_files import case, cut
from weight_files import write_h5


@case("HDF5 file")
def h5_cut_in_the_middle(make):
    return cut(make.h5(), 0.5)


@case("HDF5 file")
def h5_signature_only(make):
    return make.write(b"\x89HDF\r\n\x1a\n", "weights.h5")


@case("without Keras layers")
def h5_of_something_else(make):
    path = make.folder / "data.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros(3)
    return path


@case("whose layers have no weights")
def h5_without_weights(make):
    path = make.folder / "data.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([], "S1")
    return path


@case("of another shape .1.")
def h5_with_a_wrong_shape(make):
    path = make.h5()
    with h5py.File(path, "a") as file:
        del file["Conv_1/Conv_1/kernel:0"]
        file["Conv_1/Conv_1/kernel:0"] = np.zeros((1, 1, 8, 8), "float32")
    return path


@case("of another shape .1.")
def h5_that_announces_a_huge_tensor(make):
    path = make.h5()
    with h5py.File(path, "a") as file:
        del file["Conv_1/Conv_1/kernel:0"]
        file["Conv_1"].create_dataset("Conv_1/kernel:0", (2**20, 2**20), "float32", chunks=(1, 1))
    return path


@case("no plain array")
def h5_with_text_for_a_kernel(make):
    path = make.h5()
    with h5py.File(path, "a") as file:
        del file["Conv_1/Conv_1/kernel:0"]
        file["Conv_1/Conv_1/kernel:0"] = "text"
    return path


@case("links elsewhere")
def h5_with_a_link_to_another_file(make):
    path = make.h5()
    with h5py.File(path, "a") as file:
        del file["Conv_1/Conv_1/kernel:0"]
        file["Conv_1/Conv_1/kernel:0"] = h5py.ExternalLink("/etc/passwd", "/x")
    return path


@case("far too large")
def h5_with_huge_chunks(make):
    path = make.h5()
    with h5py.File(path, "a") as file:
        shape = file["Conv_1/Conv_1/kernel:0"].shape
        del file["Conv_1/Conv_1/kernel:0"]
        file["Conv_1"].create_dataset(
            "Conv_1/kernel:0",
            shape,
            "float32",
            chunks=(1, 1, 2**15, 2**14),
            maxshape=(None,) * 4,
            compression="gzip",
        )
    return path


@case("no plain array")
def h5_with_data_in_another_file(make):
    path = make.h5()
    with h5py.File(path, "a") as file:
        shape = file["Conv_1/Conv_1/kernel:0"].shape
        del file["Conv_1/Conv_1/kernel:0"]
        file["Conv_1"].create_dataset(
            "Conv_1/kernel:0", shape, "float32", external=[("/etc/passwd", 0, 10**9)]
        )
    return path


@case("missing in the file")
def h5_with_a_renamed_layer(make):
    return write_h5(
        make.folder / "w.h5",
        make.case.model,
        make.case.arrays,
        lambda name: "renamed" if name == "Conv_1" else name,
    )


@case("not a MobileNetV2")
def weights_of_another_keras_model(make):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    model.save_weights(make.folder / "other.weights.h5")
    return make.folder / "other.weights.h5"


@case("not a MobileNetV2")
def another_keras_model(make):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    model.save(make.folder / "other.keras")
    return make.folder / "other.keras"


@case("not a readable .keras file")
def keras_file_cut_in_the_middle(make):
    make.case.model.save(make.folder / "model.keras")
    return cut(make.folder / "model.keras", 0.5)


@case("holds model.weights.h5, this archive does not")
def zip_of_something_else(make):
    with zipfile.ZipFile(make.folder / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    return make.folder / "model.keras"


@case("unpacks to more than")
def keras_file_that_is_a_zip_bomb(make):
    with zipfile.ZipFile(make.folder / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps({}))
        with archive.open("model.weights.h5", "w") as member:
            for _ in range(300):
                member.write(bytes(2**20))
    return make.folder / "model.keras"


@case("not a readable .keras file")
def keras_file_that_announces_less_than_it_holds(make):
    path = make.folder / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(2**20))
        archive.writestr("config.json", json.dumps({}))
    data = path.read_bytes()
    path.write_bytes(data.replace((2**20).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    return path


@case("two weights named Conv_1/kernel")
def h5_with_a_repeated_weight(make):
    path = make.h5()
    with h5py.File(path, "a") as file:
        file["Conv_1/other/kernel:0"] = file["Conv_1/Conv_1/kernel:0"][()]
    return path


@case("nested too deeply")
def h5_nested_too_deeply(make):
    path = make.h5()
    with h5py.File(path, "a") as file:
        file.move("Conv_1/Conv_1", "Conv_1/a/b/c")
    return path


@case("nested too deeply, or are too many")
def h5_of_hard_links(make):
    path = make.h5()
    with h5py.File(path, "a") as file:
        groups = [file.create_group(f"Conv_1/deep{level}") for level in range(3)]
        for outer, inner in zip(groups, groups[1:], strict=False):
            for link in range(500):
                outer[f"link{link}"] = inner
    return path


def keras_file(make, config: bytes, weights: bytes = b"") -> Path:
    path = make.folder / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", weights)
        archive.writestr("config.json", config)
    return path


@case("not a readable .keras file")
def keras_file_with_a_deeply_nested_configuration(make):
    return keras_file(make, b"[" * 500_000)


@case("config.json unpacks to more than 4,194,304 bytes")
def keras_file_with_a_huge_configuration(make):
    return keras_file(make, b"[" + b"1," * 2**22 + b"1]")


@case("not a readable .keras file")
def keras_file_with_damaged_compression(make):
    path = keras_file(make, b"{}", bytes(range(256)) * 200)
    data = bytearray(path.read_bytes())
    start = data.index(b"model.weights.h5") + len("model.weights.h5")
    data[start : start + 20] = b"\xff" * 20
    path.write_bytes(data)
    return path


@case("not a readable .keras file")
def encrypted_keras_file(make):
    path = keras_file(make, b"{}", b"weights")
    # The first flag of a member, in both of its headers, says that it is encrypted.
    data = path.read_bytes()
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(header) + flags
        data = data[:at] + bytes([data[at] | 1]) + data[at + 1 :]
    path.write_bytes(data)
    return path
