"""Fetching published weights, from a server on the loopback interface."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import threading
import urllib.request
from dataclasses import replace

import pytest
from weight_files import (
    CLASSIFIER,
    DETECTOR,
    assert_same,
    graph_def,
    tf1_arrays,
    write_archive,
    write_checkpoint,
    write_h5,
)

from keras_mnv2.weights import WeightsError, download, load_weights, registry


class Server:
    """Answers GET with `content`, of which it may announce more than it sends."""

    def __init__(self) -> None:
        self.content, self.sent, self.status, self.requests = b"", None, 200, 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802
                outer.requests += 1
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.content)))
                self.end_headers()
                with contextlib.suppress(OSError):  # the client may have seen enough
                    self.wfile.write(outer.content[: outer.sent])

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/{name}"


@pytest.fixture
def server():
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "models"


@pytest.fixture
def detector(network, tmp_path, server, cache, monkeypatch):
    """A small detector that is "published" as an archive on the server."""
    case = network("SSDLite")
    graph = graph_def(tf1_arrays(case.model, case.arrays)).SerializeToString()
    members = {"ssdlite/frozen_inference_graph.pb": graph, "ssdlite/checkpoint": b"text"}
    server.content = write_archive(tmp_path / "release.tar.gz", members).read_bytes()
    entry = replace(DETECTOR, url=server.url("ssdlite.tar.gz"))
    monkeypatch.setattr(registry, "published", lambda: (entry,))
    return case


def cached_files(cache) -> list[str]:
    return sorted(path.name for path in cache.iterdir()) if cache.is_dir() else []


def test_downloaded_and_converted_once(detector, server, cache, capsys):
    for _ in range(3):
        detector.model.set_weights(detector.initial)
        report = load_weights(detector.model, "coco")
        assert_same(detector.model, detector.arrays)
        assert report.loaded == len(detector.arrays)
    assert server.requests == 1
    assert cached_files(cache) == ["ssdlite.tar.gz", "ssdlite.tar.gz.h5", "ssdlite.tar.gz.json"]
    record = json.loads((cache / "ssdlite.tar.gz.json").read_text())
    assert record["sha256"] == download.sha256(cache / "ssdlite.tar.gz")
    assert record["bytes"] == len(server.content)
    assert record["licence"] == "none" and record["url"].endswith("ssdlite.tar.gz")
    output = capsys.readouterr().out
    assert output.count("Downloading") == 1 and f"{len(server.content)}/" in output


def test_builder_takes_the_name(detector, server, cache):
    import keras_mnv2

    model = keras_mnv2.SSDLite(3, (64, 64, 3), alpha=0.35, weights="coco")
    assert_same(model, detector.arrays)


def test_legacy_h5_is_kept_as_it_is(network, tmp_path, server, cache, monkeypatch):
    case = network("MobileNetV2")
    server.content = write_h5(tmp_path / "w.h5", case.model, case.arrays).read_bytes()
    entry = replace(CLASSIFIER, url=server.url("classifier.h5"))
    monkeypatch.setattr(registry, "published", lambda: (entry,))
    load_weights(case.model, "imagenet")
    assert_same(case.model, case.arrays)
    assert cached_files(cache) == ["classifier.h5", "classifier.h5.json"]


def test_archive_with_a_checkpoint(network, tmp_path, server, cache, monkeypatch):
    case = network("DeepLabV3")
    write_checkpoint(tmp_path / "model.ckpt-30000", tf1_arrays(case.model, case.arrays))
    members = {f"deeplab/{f.name}": f.read_bytes() for f in tmp_path.glob("model.ckpt*")}
    server.content = write_archive(tmp_path / "release.tar.gz", members).read_bytes()
    entry = replace(
        DETECTOR, name="pascal_voc", family="DeepLabV3", url=server.url("deeplab.tar.gz")
    )
    monkeypatch.setattr(registry, "published", lambda: (entry,))
    load_weights(case.model, "pascal_voc")
    assert_same(case.model, case.arrays)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.999])
def test_interrupted_download_leaves_nothing(detector, server, cache, keep):
    server.sent = keep if keep >= 1 else int(len(server.content) * keep)
    with pytest.raises(WeightsError, match="the connection ended|IncompleteRead"):
        load_weights(detector.model, "coco")
    assert cached_files(cache) == []
    assert detector.is_unchanged()
    server.sent = None
    load_weights(detector.model, "coco")
    assert_same(detector.model, detector.arrays)


def test_truncated_at_the_source(detector, server, cache):
    server.content = server.content[: len(server.content) // 2]
    with pytest.raises(WeightsError, match="cut short"):
        load_weights(detector.model, "coco")
    assert cached_files(cache) == []


@pytest.mark.parametrize("content", [b"", b"<html>Sign in</html>", b"\x1f\x8b broken"])
def test_something_else_came(detector, server, cache, content):
    server.content = content
    with pytest.raises(WeightsError, match="ssdlite.tar.gz: .*what came"):
        load_weights(detector.model, "coco")
    assert cached_files(cache) == [] and detector.is_unchanged()


def test_archive_with_path_traversal(detector, server, cache, tmp_path):
    members = {"../../../executed": b"x", "frozen.pb": b""}
    server.content = write_archive(tmp_path / "hostile.tar.gz", members).read_bytes()
    with pytest.raises(WeightsError, match="leads outside"):
        load_weights(detector.model, "coco")
    assert cached_files(cache) == [] and not list(tmp_path.rglob("executed"))


def test_another_network_came(detector, server, cache, network, tmp_path):
    other = network("MobileNetV2")
    graph = graph_def(tf1_arrays(other.model, other.arrays)).SerializeToString()
    server.content = write_archive(tmp_path / "o.tar.gz", {"frozen.pb": graph}).read_bytes()
    with pytest.raises(WeightsError, match="not what 'coco' should be"):
        load_weights(detector.model, "coco")
    assert cached_files(cache) == []


@pytest.mark.parametrize("change", ["classes", "unknown"])
def test_almost_the_network_came(detector, server, cache, tmp_path, monkeypatch, change):
    arrays = tf1_arrays(detector.model, detector.arrays)
    if change == "unknown":
        arrays["somebody/elses/weights"] = arrays["BoxPredictor_0/BoxEncodingPredictor/weights"]
    else:
        entry = replace(registry.published()[0], classes=90)
        monkeypatch.setattr(registry, "published", lambda: (entry,))
    graph = graph_def(arrays).SerializeToString()
    server.content = write_archive(tmp_path / "o.tar.gz", {"frozen.pb": graph}).read_bytes()
    with pytest.raises(WeightsError, match="not what 'coco' should be"):
        load_weights(detector.model, "coco")
    assert cached_files(cache) == []


@pytest.mark.parametrize(
    ("here", "there", "is_followed"),
    [
        ("https://a.org/x", "https://b.org/x", True),
        ("https://a.org/x", "http://a.org/x", False),
        ("https://a.org/x", "ftp://a.org/x", False),
        ("http://a.org/x", "http://b.org/x", True),
    ],
)
def test_redirects_stay_encrypted(here, there, is_followed):
    redirect = download._StaysEncrypted().redirect_request
    request = urllib.request.Request(here)
    if is_followed:
        assert redirect(request, None, 302, "Found", {}, there).full_url == there
    else:
        with pytest.raises(WeightsError, match="not https; refused"):
            redirect(request, None, 302, "Found", {}, there)


def test_cached_files_can_be_read_by_others(detector, server, cache):
    before = os.umask(0o022)
    try:
        load_weights(detector.model, "coco")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in cache.iterdir()} == {0o644}


def test_cache_that_cannot_be_written(detector, server, cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file, no folder")
    with pytest.raises(WeightsError, match="cannot use the cache .*KERAS_HOME") as error:
        load_weights(detector.model, "coco")
    assert "network" not in str(error.value) and server.requests == 0


def test_more_than_the_limit(detector, server, cache, monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    with pytest.raises(WeightsError, match="more than 1,000 bytes"):
        load_weights(detector.model, "coco")
    assert cached_files(cache) == []


def test_pinned_checksum(detector, server, cache, monkeypatch):
    entry = replace(registry.published()[0], sha256="0" * 64)
    monkeypatch.setattr(registry, "published", lambda: (entry,))
    with pytest.raises(WeightsError, match="expected 0000"):
        load_weights(detector.model, "coco")
    assert cached_files(cache) == []


def test_changed_file_is_refused(detector, server, cache):
    load_weights(detector.model, "coco")
    path = cache / "ssdlite.tar.gz"
    path.write_bytes(path.read_bytes() + b"\0")
    detector.model.set_weights(detector.initial)
    with pytest.raises(WeightsError, match="the file was changed. Delete it"):
        load_weights(detector.model, "coco")
    assert detector.is_unchanged() and server.requests == 1


def test_changed_conversion_is_made_again(detector, server, cache):
    load_weights(detector.model, "coco")
    path = cache / "ssdlite.tar.gz.h5"
    path.write_bytes(path.read_bytes()[:1000])
    load_weights(detector.model, "coco")
    assert_same(detector.model, detector.arrays)
    assert len(path.read_bytes()) > 1000 and server.requests == 1


@pytest.fixture
def unreachable(detector, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    entry = replace(registry.published()[0], url=f"http://127.0.0.1:{port}/ssdlite.tar.gz")
    monkeypatch.setattr(registry, "published", lambda: (entry,))
    return entry


def test_without_a_network_one_message_says_what_to_do(detector, unreachable, cache):
    with pytest.raises(WeightsError) as error:
        load_weights(detector.model, "coco")
    message = str(error.value)
    assert unreachable.url in message and str(cache / "ssdlite.tar.gz") in message
    assert cached_files(cache) == []


def test_page_not_found_says_the_same(detector, server, cache):
    server.status = 404
    with pytest.raises(WeightsError, match="404.*put it at"):
        load_weights(detector.model, "coco")
    assert cached_files(cache) == []


def test_file_put_there_by_hand(detector, server, unreachable, cache):
    cache.mkdir(parents=True)
    (cache / "ssdlite.tar.gz").write_bytes(server.content)
    load_weights(detector.model, "coco")
    assert_same(detector.model, detector.arrays)
    assert "ssdlite.tar.gz.json" in cached_files(cache)


def test_broken_file_put_there_by_hand(detector, server, unreachable, cache):
    cache.mkdir(parents=True)
    (cache / "ssdlite.tar.gz").write_bytes(server.content[:1000])
    with pytest.raises(WeightsError, match="cut short"):
        load_weights(detector.model, "coco")
    assert cached_files(cache) == ["ssdlite.tar.gz"]
