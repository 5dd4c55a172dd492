"""SavedModels of all tasks: plain TensorFlow serves them, their answers are the program's."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tiny_programs import assert_same, random_images

from keras_mnv2.deployment.describing import add_accuracy
from keras_mnv2.deployment.description import DeploymentError, Description
from keras_mnv2.deployment.running import load
from keras_mnv2.deployment.saved_model.export import export_saved_model

KINDS = ("classification", "class_map", "logits", "none", "nms")


def decoder_for(program):
    """Resizes, and tells the size that the picture had."""

    def decode(encoded):
        picture = tf.io.decode_jpeg(encoded, channels=3)
        image = tf.image.resize(picture, program.description.input_size)
        return tf.cast(tf.round(image), tf.uint8), {"size": tf.shape(picture)[:2]}

    return decode


@pytest.fixture(scope="module")
def folder(programs, tmp_path_factory):
    """Folder of a SavedModel for each kind, those of `none` and `nms` for uint8."""
    folder = tmp_path_factory.mktemp("exported")
    for kind in KINDS:
        program = programs[kind]
        dtype = "uint8" if kind in ("none", "nms") else "float32"
        decoder = decoder_for(program)
        export = export_saved_model(program, folder / kind, input_dtype=dtype, decoder=decoder)
        assert export.path == folder / kind and export.agreement > 0.9999
    return folder


# What a server has: TensorFlow, and neither Keras nor this package.
SERVER = """
import sys

absent = ("keras", "tf_keras", "keras_mnv2", "tasks")
for name in absent:
    # Importing it raises ModuleNotFoundError.
    sys.modules[name] = None
import numpy as np
import tensorflow as tf

folder, *kinds = sys.argv[1:]
encoded = tf.stack([tf.io.read_file(f"{folder}/{number}.jpg") for number in range(2)])
results = {}
for kind in kinds:
    images = tf.constant(np.load(f"{folder}/{kind}.npy"))
    loaded = tf.saved_model.load(f"{folder}/{kind}")
    assert sorted(loaded.signatures) == ["serving_default", "serving_encoded"]
    for signature, inputs in (
        ("serving_default", {"images": images}),
        ("serving_encoded", {"encoded": encoded}),
    ):
        outputs = loaded.signatures[signature](**inputs)
        results |= {f"{kind}:{signature}:{name}": x.numpy() for name, x in outputs.items()}
found = {name.split(".")[0] for name, module in sys.modules.items() if module is not None}
assert not found.intersection(absent)
np.savez(f"{folder}/results.npz", **results)
"""


def test_plain_tensorflow_serves_them(programs, folder, tmp_path):
    random = np.random.default_rng(5)
    pictures = [random.integers(0, 256, (*size, 3), np.uint8) for size in ((50, 70), (120, 90))]
    encoded = [tf.io.encode_jpeg(picture).numpy() for picture in pictures]
    for kind in KINDS:
        program = programs[kind]
        shutil.copytree(folder / kind, tmp_path / kind)
        dtype = "uint8" if kind in ("none", "nms") else "float32"
        images = random_images(program).astype(dtype)
        np.save(tmp_path / f"{kind}.npy", images)
    for number, picture in enumerate(encoded):
        (tmp_path / f"{number}.jpg").write_bytes(picture)
    subprocess.run([sys.executable, "-c", SERVER, str(tmp_path), *KINDS], check=True)

    results = dict(np.load(tmp_path / "results.npz"))
    for kind in KINDS:
        program = programs[kind]

        def served(signature, kind=kind):
            start = f"{kind}:{signature}:"
            return {key[len(start) :]: x for key, x in results.items() if key.startswith(start)}

        assert_same(program, served("serving_default"), program.predict(random_images(program)))
        found = served("serving_encoded")
        assert found.pop("size").tolist() == [[50, 70], [120, 90]]
        images = np.stack([decoder_for(program)(picture)[0] for picture in encoded])
        assert_same(program, found, program.predict(images))


@pytest.mark.parametrize("kind", KINDS)
def test_load_gives_the_answers_of_the_program(kind, programs, folder):
    model, program = load(folder / kind), programs[kind]
    images = random_images(program)
    assert_same(program, model(images), program.predict(images))
    # Any other batch, and floats that are rounded where the file takes integers.
    shifted = images[:1].astype(np.float32) * 0.9 + 0.25
    seen = np.rint(shifted) if model.description.input_dtype == "uint8" else shifted
    assert_same(program, model(shifted), program.predict(seen))


def test_the_description_is_inside_and_beside(programs, folder):
    for kind in KINDS:
        program = programs[kind]
        description = load(folder / kind).description
        assert (description.format, description.precision) == ("saved_model", "float32")
        assert description.outputs == program.description.outputs
        assert description.label_names == ("ape", "cat", "dog")
        beside = Description.from_json((folder / f"{kind}.json").read_text())
        assert beside == description
    assert load(folder / "none").description.anchors is not None


def test_an_accuracy_is_added_inside_and_beside(folder, tmp_path):
    shutil.copytree(folder / "classification", tmp_path / "saved")
    add_accuracy(tmp_path / "saved", {"top1": 0.5})
    assert load(tmp_path / "saved").description.accuracy == {"top1": 0.5}
    assert json.loads((tmp_path / "saved.json").read_text())["accuracy"] == {"top1": 0.5}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved", "saved.json"]


def test_without_a_decoder_there_is_no_signature_for_pictures(programs, tmp_path):
    export_saved_model(programs["classification"], tmp_path / "saved")
    assert list(tf.saved_model.load(str(tmp_path / "saved")).signatures) == ["serving_default"]


def random_decoder(encoded):
    return tf.cast(tf.random.uniform((64, 96, 3), 0, 256, tf.int32), tf.uint8), {}


def small_decoder(encoded):
    return tf.zeros((8, 8, 3), tf.uint8), {}


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("custom_op", {}, "is an operation of LiteRT"),
        ("classification", {"input_dtype": "int8"}, "takes float32 or uint8"),
        ("classification", {"min_agreement": 1.5}, "does not give the answers"),
        ("classification", {"decoder": random_decoder}, "for encoded pictures does not give"),
        ("classification", {"decoder": small_decoder}, "8"),
    ],
)
def test_a_failed_export_leaves_nothing(kind, options, message, programs, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_saved_model(programs[kind], tmp_path / "out" / "saved", **options)
    assert [path for path in tmp_path.rglob("*") if path.name != "out"] == []


def test_a_disk_that_is_full_for_tensorflow_is_named(programs, tmp_path, monkeypatch):
    def save(module, path, signatures):
        (tmp_path / "out" / path).mkdir()
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", save)
    full = "out/saved cannot be written: No space left on device$"
    with pytest.raises(DeploymentError, match=full):
        export_saved_model(programs["classification"], tmp_path / "out" / "saved")
    assert list(tmp_path.iterdir()) == []


def test_only_an_earlier_export_is_replaced(folder, programs, tmp_path):
    target = tmp_path / "mine"
    target.mkdir()
    (target / "thesis.txt").write_text("all of it")
    with pytest.raises(DeploymentError, match="is a folder already"):
        export_saved_model(programs["classification"], target)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]
    foreign = tmp_path / "foreign"
    tf.saved_model.save(tf.Module(), str(foreign))
    with pytest.raises(DeploymentError, match="is a folder already"):
        export_saved_model(programs["classification"], foreign)
    shutil.rmtree(foreign)
    shutil.copytree(folder / "logits", tmp_path / "saved")
    export_saved_model(programs["classification"], tmp_path / "saved")
    assert load(tmp_path / "saved").description.task == "classification"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"mine", "saved", "saved.json"}


def test_damaged_and_foreign_folders(folder, tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "foreign"))
    with pytest.raises(DeploymentError, match="that keras_mnv2 did not export"):
        load(tmp_path / "foreign")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DeploymentError, match="folder without saved_model.pb"):
        load(tmp_path / "empty")
    for name, damage in {
        "variables/variables.index": b"",
        "saved_model.pb": b"nothing",
        "assets.extra/keras_mnv2.json": b"{}",
    }.items():
        shutil.copytree(folder / "logits", tmp_path / "damaged")
        (tmp_path / "damaged" / name).write_bytes(damage)
        with pytest.raises(DeploymentError, match="damaged"):
            load(tmp_path / "damaged")
        shutil.rmtree(tmp_path / "damaged")
