"""Published weights by name: a loopback server with archives of the reference files."""

from __future__ import annotations

import functools
import http.server
import io
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_mnv2
from keras_mnv2.weights import WeightsError, published, registry

DETECTOR = "ssdlite_mobilenet_v2_coco_2018_05_09"
SEGMENTER = "deeplabv3_mnv2_pascal_train_aug_2018_01_29"


def write_archive(path: Path, members: dict[str, bytes]) -> None:
    # Fast, not small.
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def archives(reference, tmp_path_factory):
    """Folder with an archive of each network, of the names of the releases."""
    folder = tmp_path_factory.mktemp("server")
    graph = reference / "reference" / "ssdlite" / "frozen_inference_graph.pb"
    members = {f"{DETECTOR}/checkpoint": b"text", f"{DETECTOR}/{graph.name}": graph.read_bytes()}
    write_archive(folder / f"{DETECTOR}.tar.gz", members)
    checkpoint = reference / "reference" / "deeplab" / "deeplabv3_mnv2_pascal"
    files = sorted(checkpoint.glob("model.ckpt-30000.*"))
    members = {f"deeplabv3_mnv2_pascal_train_aug/{file.name}": file.read_bytes() for file in files}
    write_archive(folder / f"{SEGMENTER}.tar.gz", members)
    return folder


@pytest.fixture
def server(archives, tmp_path, monkeypatch):
    """Publishes the archives on the loopback interface; the folder they are served from."""
    folder = tmp_path / "server"
    folder.mkdir()
    for file in archives.iterdir():
        (folder / file.name).symlink_to(file)
    handler = functools.partial(Handler, directory=str(folder))
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    entries = []
    for entry in published():
        if Path(entry.url).name in (f"{DETECTOR}.tar.gz", f"{SEGMENTER}.tar.gz"):
            url = f"http://127.0.0.1:{httpd.server_address[1]}/{Path(entry.url).name}"
            # The reference detector knows one class.
            classes = 1 if entry.family == "SSDLite" else entry.classes
            entries.append(replace(entry, url=url, classes=classes))
    monkeypatch.setattr(registry, "published", lambda: tuple(entries))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert len(entries) == 2
    yield folder
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def cached(tmp_path):
    return lambda: sorted(file.name for file in (tmp_path / "keras" / "models").glob("*"))


def test_detector(server, cached, reference):
    files = reference / "reference" / "ssdlite"
    image, expected = np.load(files / "inputs.npz")["images"][:1], np.load(files / "outputs.npz")
    model = keras_mnv2.SSDLite(1, (300, 300, 3), weights="coco")
    found = model.predict(image, verbose=0)
    np.testing.assert_allclose(found["box_encodings"], expected["box_encodings"][:1], atol=1e-4)
    np.testing.assert_allclose(found["class_logits"], expected["class_logits"][:1], atol=5e-4)
    names = [f"{DETECTOR}.tar.gz{suffix}" for suffix in ("", ".h5", ".json")]
    assert cached() == names
    # Once it is there, nothing is asked of the server.
    (server / f"{DETECTOR}.tar.gz").unlink()
    again = keras_mnv2.SSDLite(1, (300, 300, 3), weights="coco")
    for here, there in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(here, there)


def test_segmenter(server, cached, reference):
    expected = np.load(reference / "reference" / "deeplab" / "expected.npz")
    model = keras_mnv2.DeepLabV3(weights="pascal_voc")
    outputs = keras.Model(model.input, [model.get_layer("logits").output, model.output])
    logits, upsampled = outputs.predict(expected["cat/image"][None], verbose=0)
    np.testing.assert_allclose(logits[0], expected["cat/logits"], atol=2e-3)
    assert (upsampled[0].argmax(-1) == expected["cat/mask"]).mean() >= 0.999
    assert cached() == [f"{SEGMENTER}.tar.gz{suffix}" for suffix in ("", ".h5", ".json")]


def replace_file(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


@pytest.mark.parametrize("name", [DETECTOR, SEGMENTER])
@pytest.mark.parametrize("damage", ["truncated", "broken", "traversal"])
def test_damaged_archive_leaves_nothing(server, cached, tmp_path, name, damage):
    path = server / f"{name}.tar.gz"
    data = path.read_bytes()
    if damage == "truncated":
        replace_file(path, data[: len(data) * 3 // 4])
    elif damage == "broken":
        middle = len(data) // 2
        replace_file(path, data[:middle] + bytes(1000) + data[middle + 1000 :])
    else:
        with tarfile.open(path) as archive:
            members = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}
        path.unlink()
        write_archive(path, {**members, "../../../executed": b"x"})
    message = "leads outside" if damage == "traversal" else "not a readable .tar.gz|cut short"
    with pytest.raises(WeightsError, match=message):
        if name == DETECTOR:
            keras_mnv2.SSDLite(1, (300, 300, 3), weights="coco")
        else:
            keras_mnv2.DeepLabV3(weights="pascal_voc")
    assert cached() == [] and not list(tmp_path.rglob("executed"))
