"""Damaged and foreign files: one clear error each, the model unchanged, memory bounded."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import resource
import shutil
import tarfile
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from weight_files import (
    graph_def,
    tf1_arrays,
    write_archive,
    write_checkpoint,
    write_graph,
    write_h5,
)

from keras_mnv2.weights import WeightsError, inspect, load_weights

MAX_GROWTH_KILOBYTES = 256 * 1024
CASES = {}


def case(message: str):
    """Registers a function (folder, maker) -> path of a file that must fail with `message`."""

    def register(function):
        CASES[function.__name__] = (function, message)
        return function

    return register


class Maker:
    """The healthy files that the cases damage, of a small classifier."""

    def __init__(self, network, folder: Path) -> None:
        self.network, self.folder = network, folder
        self.case = network("MobileNetV2")
        self.tf1 = tf1_arrays(self.case.model, self.case.arrays)
        self.graph = graph_def(self.tf1).SerializeToString()

    def checkpoint(self, arrays=None) -> Path:
        return write_checkpoint(self.folder / "model.ckpt", self.tf1 if arrays is None else arrays)

    def h5(self) -> Path:
        return write_h5(self.folder / "weights.h5", self.case.model, self.case.arrays)

    def write(self, data: bytes, name: str = "graph.pb") -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def graph_with(self, change) -> Path:
        graph = graph_def(self.tf1)
        change({node.name: node for node in graph.node}, graph)
        return self.write(graph.SerializeToString())


def cut(path: Path, keep: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


KERNEL = "MobilenetV2/Conv_1/weights"


# Not weights at all.


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


# Frozen graphs.


@case("neither a frozen graph")
def graph_cut_in_the_middle(make):
    return make.write(make.graph[: len(make.graph) // 2])


@case("neither a frozen graph")
def graph_without_its_last_byte(make):
    return make.write(make.graph[:-1])


@case("neither a frozen graph")
def graph_without_its_first_bytes(make):
    return make.write(make.graph[5:])


@case("missing in the file .1.: Conv_1/kernel")
def graph_without_a_variable(make):
    return write_graph(make.folder / "g.pb", {k: v for k, v in make.tf1.items() if k != KERNEL})


@case("left over in the file .1.: MobilenetV2/Conv_9/weights")
def graph_with_a_renamed_variable(make):
    arrays = {name.replace("Conv_1/weights", "Conv_9/weights"): a for name, a in make.tf1.items()}
    return write_graph(make.folder / "g.pb", arrays)


@case("left over in the file .1.: extra/weights")
def graph_with_another_variable(make):
    return write_graph(make.folder / "g.pb", {**make.tf1, "extra/weights": np.ones(3, "float32")})


@case("of another shape .1.")
def graph_with_a_transposed_kernel(make):
    arrays = {**make.tf1, KERNEL: make.tf1[KERNEL].swapaxes(2, 3)}
    return write_graph(make.folder / "g.pb", arrays)


@case("not a MobileNetV2")
def graph_of_another_network(make):
    arrays = {name.replace("MobilenetV2", "InceptionV3"): a for name, a in make.tf1.items()}
    return write_graph(make.folder / "g.pb", arrays)


@case("not a MobileNetV2")
def graph_of_mobilenet_v1(make):
    arrays = {f"MobilenetV1/Conv2d_{i}_pointwise/weights": np.ones((1, 1, 8, 8)) for i in range(13)}
    return write_graph(make.folder / "g.pb", {k: v.astype("float32") for k, v in arrays.items()})


@case("graph without weights")
def graph_of_operations_only(make):
    graph = tf.compat.v1.GraphDef()
    graph.node.add(name="input", op="Placeholder")
    return make.write(graph.SerializeToString())


@case("neither a frozen graph|graph without weights")
def saved_model(make):
    module = tf.Module()
    module.f = tf.function(lambda x: x + 1, input_signature=[tf.TensorSpec([1])])
    tf.saved_model.save(module, str(make.folder / "saved"))
    return make.folder / "saved" / "saved_model.pb"


@case("holds numbers that are not finite")
def graph_with_nan(make):
    array = make.tf1[KERNEL].copy()
    array[0, 0, 0, 0] = np.nan
    return write_graph(make.folder / "g.pb", {**make.tf1, KERNEL: array})


@case("negative variances")
def graph_with_negative_variance(make):
    name = "MobilenetV2/Conv_1/BatchNorm/moving_variance"
    return write_graph(make.folder / "g.pb", {**make.tf1, name: -make.tf1[name]})


@case("cannot read MobilenetV2/Conv_1/weights")
def graph_with_a_tensor_of_too_few_bytes(make):
    def change(nodes, graph):
        tensor = nodes[KERNEL].attr["value"].tensor
        tensor.tensor_content = tensor.tensor_content[:-4]

    return make.graph_with(change)


@case("of another shape")
def graph_that_announces_a_huge_tensor(make):
    def change(nodes, graph):
        tensor = nodes[KERNEL].attr["value"].tensor
        tensor.ClearField("tensor_content")
        tensor.float_val[:] = [0.0]
        for dimension in tensor.tensor_shape.dim:
            dimension.size = 2**20

    return make.graph_with(change)


@case("of another shape")
def graph_with_a_huge_class_count(make):
    def change(nodes, graph):
        for name in ("weights", "biases"):
            tensor = nodes[f"MobilenetV2/Logits/Conv2d_1c_1x1/{name}"].attr["value"].tensor
            tensor.ClearField("tensor_content")
            tensor.float_val[:] = [0.0]
            tensor.tensor_shape.dim[-1].size = 2**40
        tensor.tensor_shape.dim[-1].size = 3

    return make.graph_with(change)


@case("left over in the file")
def graph_with_integers_for_a_kernel(make):
    def change(nodes, graph):
        nodes[KERNEL].attr["value"].tensor.CopyFrom(tf.make_tensor_proto([1, 2, 3]))
        graph.node.add(name="x", op="Const").attr["value"].tensor.CopyFrom(
            tf.make_tensor_proto(1.0)
        )
        graph.node.add(name="x/read", op="Identity", input=["x"])

    return make.graph_with(change)


@case("missing in the file")
def graph_with_folded_normalization(make):
    arrays = {name: a for name, a in make.tf1.items() if "BatchNorm" not in name}
    return write_graph(make.folder / "g.pb", arrays)


@case("build a SSDLite")
def graph_of_a_detector(make):
    other = make.network("SSDLite")
    return write_graph(make.folder / "g.pb", tf1_arrays(other.model, other.arrays))


@case("build a DeepLabV3")
def graph_of_a_segmenter(make):
    other = make.network("DeepLabV3")
    return write_graph(make.folder / "g.pb", tf1_arrays(other.model, other.arrays))


@case("simulated quantization")
def graph_of_a_quantized_network(make):
    ranges = {
        f"MobilenetV2/Conv/{kind}_quant/{end}/weights": np.float32([0.0])
        for kind in ("act", "weights")
        for end in ("min", "max")
    }
    return write_graph(make.folder / "g.pb", {**make.tf1, **ranges})


# Checkpoints.


@case("one of them is missing")
def checkpoint_without_data(make):
    prefix = make.checkpoint()
    Path(f"{prefix}.data-00000-of-00001").unlink()
    return prefix


@case("no such file")
def checkpoint_without_index(make):
    prefix = make.checkpoint()
    Path(f"{prefix}.index").unlink()
    return prefix


@case("cut short")
def checkpoint_with_truncated_data(make):
    prefix = make.checkpoint()
    cut(Path(f"{prefix}.data-00000-of-00001"), 0.5)
    return prefix


@case("not a readable TensorFlow checkpoint")
def checkpoint_with_truncated_index(make):
    prefix = make.checkpoint()
    cut(Path(f"{prefix}.index"), 0.5)
    return prefix


@case("not a readable TensorFlow checkpoint")
def checkpoint_with_a_text_index(make):
    prefix = make.checkpoint()
    Path(f"{prefix}.index").write_text("index\n" * 100)
    return prefix


@case("cannot read MobilenetV2/")
def checkpoint_with_flipped_bits(make):
    prefix = make.checkpoint()
    path = Path(f"{prefix}.data-00000-of-00001")
    data = np.frombuffer(path.read_bytes(), "uint8").copy()
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data.tobytes())
    return prefix


@case("missing in the file .1.: block_3_project_BN/beta")
def checkpoint_without_a_variable(make):
    name = "MobilenetV2/expanded_conv_3/project/BatchNorm/beta"
    return make.checkpoint({k: v for k, v in make.tf1.items() if k != name})


@case("left over in the file")
def checkpoint_with_an_unknown_optimizer(make):
    return make.checkpoint({**make.tf1, f"{KERNEL}/MyOptimizer": make.tf1[KERNEL]})


@case("TensorFlow 2 object checkpoint")
def checkpoint_of_tensorflow_2(make):
    variable = tf.Variable(tf.ones([2]))
    return tf.train.Checkpoint(v=variable).write(str(make.folder / "tf2"))


@case("holds several checkpoints")
def folder_with_several_checkpoints(make):
    write_checkpoint(make.folder / "first.ckpt", make.tf1)
    write_checkpoint(make.folder / "second.ckpt", make.tf1)
    return make.folder


# Keras files.


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


# Archives.


@case("cut short")
def archive_cut_in_the_middle(make):
    return cut(write_archive(make.folder / "r.tar.gz", {"frozen.pb": make.graph}), 0.5)


@case("cut short|not a readable")
def archive_with_flipped_bits(make):
    path = write_archive(make.folder / "r.tar.gz", {"frozen.pb": make.graph})
    data = np.frombuffer(path.read_bytes(), "uint8").copy()
    data[len(data) // 2 :][:50] ^= 0xFF
    path.write_bytes(data.tobytes())
    return path


@case("not a readable .tar.gz")
def gzip_of_text(make):
    return make.write(gzip.compress(b"text" * 1000), "r.tar.gz")


@case("an empty archive|not a readable")
def empty_archive(make):
    return write_archive(make.folder / "r.tar.gz", {})


@case("holds neither a frozen graph")
def archive_of_something_else(make):
    return write_archive(make.folder / "r.tar.gz", {"README.md": b"text"})


@case("holds several graphs")
def archive_of_several_graphs(make):
    members = {"a/frozen_a.pb": make.graph, "b/frozen_b.pb": make.graph}
    return write_archive(make.folder / "r.tar.gz", members)


@case("one of them is missing")
def archive_with_half_a_checkpoint(make):
    prefix = make.checkpoint()
    members = {"model.ckpt.index": Path(f"{prefix}.index").read_bytes()}
    for file in make.folder.glob("model.ckpt.*"):
        file.unlink()
    return write_archive(make.folder / "r.tar.gz", members)


@case("neither a frozen graph")
def archive_with_a_damaged_graph(make):
    return write_archive(make.folder / "r.tar.gz", {"frozen.pb": make.graph[:-1]})


@case("leads outside")
def archive_with_path_traversal(make):
    members = {"frozen.pb": make.graph, "../../executed": b"x"}
    return write_archive(make.folder / "r.tar.gz", members)


@case("leads outside")
def archive_with_an_absolute_path(make):
    members = {"frozen.pb": make.graph, str(make.folder / "executed"): b"x"}
    return write_archive(make.folder / "r.tar.gz", members)


def archive_with(make, member: tarfile.TarInfo, data: bytes = b"") -> Path:
    path = make.folder / "r.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member, io.BytesIO(data))
    return path


@case("a link or device")
def archive_with_a_symbolic_link(make):
    member = tarfile.TarInfo("frozen.pb")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return archive_with(make, member)


@case("a link or device")
def archive_with_a_device(make):
    member = tarfile.TarInfo("frozen.pb")
    member.type = tarfile.FIFOTYPE
    return archive_with(make, member)


@case("unpacks to more than")
def archive_that_announces_a_terabyte(make):
    member = tarfile.TarInfo("frozen.pb")
    member.size = 2**40
    return make.write(gzip.compress(member.tobuf() + bytes(10**6)), "r.tar.gz")


@case("more than 1000 members")
def archive_of_countless_members(make):
    return write_archive(make.folder / "r.tar.gz", {f"file_{i}": b"" for i in range(1500)})


@case("a header of")
def archive_with_a_huge_header(make):
    # tarfile reads an extended header whole, whatever length it announces.
    member = tarfile.TarInfo("header")
    member.type, member.size = tarfile.XHDTYPE, 2**32
    return make.write(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(10**6)), "r.tar.gz")


def test_there_are_enough_cases():
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", list(CASES))
def test_damaged_or_foreign_file(network, tmp_path, name):
    function, message = CASES[name]
    folder = tmp_path / "files"
    folder.mkdir()
    maker = Maker(network, folder)
    path = function(maker)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match=message) as error:
        load_weights(maker.case.model, path)
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert growth < MAX_GROWTH_KILOBYTES
    assert len(str(error.value)) < 2000
    assert maker.case.is_unchanged()
    assert not list(tmp_path.rglob("executed")), "code or a path of the file took effect"


def test_inspection_does_not_need_a_whole_file(network, tmp_path):
    maker = Maker(network, tmp_path)
    info = inspect(graph_with_another_variable(maker))
    assert info.unknown == ("extra/weights",) and info.alpha == 0.35


def test_sparse_file_beyond_the_limit_is_not_read(network, tmp_path):
    path = tmp_path / "graph.pb"
    with open(path, "wb") as file:
        file.write(b"\x0a")
        file.truncate(2**40)
    try:
        with pytest.raises(WeightsError, match="too many for a frozen"):
            inspect(path)
    finally:
        path.unlink()
        shutil.rmtree(tmp_path, ignore_errors=True)
