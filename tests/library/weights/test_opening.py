"""Every kind of file gives every weight its value."""

from __future__ import annotations

import tarfile

import h5py
import pytest
from weight_files import (
    assert_same,
    graph_def,
    tf1_arrays,
    write_archive,
    write_checkpoint,
    write_graph,
    write_h5,
)

from keras_mnv2.weights import WeightsError, inspect, load_weights, opening

FAMILIES = ("MobileNetV2", "SSDLite", "DeepLabV3")


@pytest.fixture(params=FAMILIES)
def case(request, network):
    return network(request.param)


def originals(case):
    return tf1_arrays(case.model, case.arrays)


def test_frozen_graph(case, tmp_path):
    report = load_weights(case.model, write_graph(tmp_path / "graph.pb", originals(case)))
    assert_same(case.model, case.arrays)
    assert report.loaded == len(case.arrays)
    assert not report.skipped and not report.unused and not report.ignored


def test_checkpoint_by_prefix_by_file_and_by_folder(case, tmp_path):
    (tmp_path / "run").mkdir()
    prefix = write_checkpoint(tmp_path / "run" / "model.ckpt-7", originals(case))
    for path in (prefix, f"{prefix}.index", f"{prefix}.data-00000-of-00001", prefix.parent):
        case.model.set_weights(case.initial)
        load_weights(case.model, path)
        assert_same(case.model, case.arrays)


def test_newest_checkpoint_of_a_folder(network, tmp_path):
    case = network("MobileNetV2")
    arrays = originals(case)
    write_checkpoint(tmp_path / "model.ckpt-9", {name: 0 * array for name, array in arrays.items()})
    write_checkpoint(tmp_path / "model.ckpt-10", arrays)
    load_weights(case.model, tmp_path)
    assert_same(case.model, case.arrays)


def test_archive_with_a_frozen_graph(case, tmp_path):
    members = {
        "release/checkpoint": b"text",
        "release/frozen_inference_graph.pb": graph_def(originals(case)).SerializeToString(),
        "release/saved_model/saved_model.pb": b"\x08\x01",
        "release/saved_model/variables/variables.index": b"",
    }
    path = write_archive(tmp_path / "release.tar.gz", members)
    load_weights(case.model, path)
    assert_same(case.model, case.arrays)
    assert inspect(path).source == str(path)


def test_archive_with_a_checkpoint(case, tmp_path):
    prefix = write_checkpoint(tmp_path / "model.ckpt", originals(case))
    path = tmp_path / "no_extension"
    with tarfile.open(path, "w:gz") as archive:
        for file in sorted(tmp_path.glob("model.ckpt.*")):
            archive.add(file, f"./release/{file.name}")
    for file in tmp_path.glob(f"{prefix.name}.*"):
        file.unlink()
    load_weights(case.model, path)
    assert_same(case.model, case.arrays)


def test_keras_files(case, tmp_path):
    for name in ("model.keras", "model.weights.h5"):
        path = tmp_path / name
        case.model.set_weights(list(case.arrays[key] for key in case.arrays))
        case.model.save(path) if name.endswith(".keras") else case.model.save_weights(path)
        case.model.set_weights(case.initial)
        load_weights(case.model, path)
        assert_same(case.model, case.arrays)
        assert inspect(path).classes == inspect(path).outputs - (inspect(path).family == "SSDLite")


def test_keras_file_tells_the_input_size(network, tmp_path):
    network("SSDLite").model.save(tmp_path / "model.keras")
    assert inspect(tmp_path / "model.keras").input_size == (64, 64)


def test_compiled_model_with_optimizer_state(network, tmp_path):
    case = network("MobileNetV2")
    case.model.set_weights(list(case.arrays.values()))
    case.model.compile(optimizer="adam", loss="mse")
    case.model.optimizer.build(case.model.trainable_variables)
    case.model.save(tmp_path / "model.keras")
    case.model.set_weights(case.initial)
    load_weights(case.model, tmp_path / "model.keras")
    assert_same(case.model, case.arrays)


def test_legacy_h5(network, tmp_path):
    case = network("MobileNetV2")
    load_weights(case.model, write_h5(tmp_path / "weights.h5", case.model, case.arrays))
    assert_same(case.model, case.arrays)


def test_legacy_h5_with_names_of_variable_length(network, tmp_path):
    case = network("MobileNetV2")
    path = write_h5(tmp_path / "weights.h5", case.model, case.arrays)
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = [name.decode() for name in file.attrs["layer_names"]]
    load_weights(case.model, path)
    assert_same(case.model, case.arrays)


def test_legacy_h5_with_other_layer_names_loads_by_topology(network, tmp_path):
    case = network("MobileNetV2")
    path = write_h5(tmp_path / "weights.h5", case.model, case.arrays, lambda name: f"mobl_{name}")
    load_weights(case.model, path)
    assert_same(case.model, case.arrays)


def test_unordered_layers_of_other_names_do_not_load_by_topology(network, tmp_path):
    case = network("MobileNetV2")
    path = write_h5(tmp_path / "weights.h5", case.model, case.arrays, lambda name: f"mobl_{name}")
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = [name.decode() for name in file.attrs["layer_names"]]
    with pytest.raises(WeightsError, match="not a MobileNetV2"):
        load_weights(case.model, path)
    assert case.is_unchanged()


def test_nothing_is_imported_from_the_working_directory(network, tmp_path, monkeypatch):
    case = network("MobileNetV2")
    case.model.set_weights(list(case.arrays.values()))
    case.model.save_weights(tmp_path / "model.weights.h5")
    for module in ("h5py", "json", "resource"):
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    load_weights(case.model, "model.weights.h5")
    assert_same(case.model, case.arrays)
    assert not (tmp_path / "executed").exists()


def test_file_that_may_not_be_read(network, tmp_path, monkeypatch):
    case = network("MobileNetV2")
    path = write_graph(tmp_path / "graph.pb", originals(case))

    def refused(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(opening, "read_graph_def", refused)
    with pytest.raises(WeightsError, match="graph.pb: cannot be read .Permission denied"):
        load_weights(case.model, path)


def test_errors_name_the_archive_not_the_temporary_folder(tmp_path):
    members = {"a/frozen.pb": b"text", "b/README": b""}
    path = write_archive(tmp_path / "r.tar.gz", members)
    with pytest.raises(WeightsError) as error:
        inspect(path)
    assert str(error.value).startswith(f"{path}: frozen.pb: neither a frozen graph")
    members = {"model.ckpt.index": b"", "README": b""}
    with pytest.raises(WeightsError) as error:
        inspect(write_archive(path, members))
    assert str(error.value).startswith(f"{path}: model.ckpt: a checkpoint is")


def test_content_decides_not_the_extension(network, tmp_path):
    case = network("MobileNetV2")
    path = write_h5(tmp_path / "weights.pb", case.model, case.arrays)
    assert inspect(path).format == "Keras legacy .h5"
    load_weights(case.model, path)
    assert_same(case.model, case.arrays)


@pytest.mark.parametrize("size", [(64, 64), (96, 128)])
def test_frozen_graph_tells_its_input_size(network, tmp_path, size):
    case = network("MobileNetV2")
    assert inspect(write_graph(tmp_path / "g.pb", originals(case), size)).input_size == size


def test_name_tells_the_input_size(network, tmp_path):
    case = network("MobileNetV2")
    prefix = write_checkpoint(tmp_path / "mobilenet_v2_0.35_96.ckpt", originals(case))
    assert inspect(prefix).input_size == (96, 96)
