"""scripts/export.py on tiny models of all tasks."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import export
import export_options
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mnv2 import DeepLabV3, MobileNetV2, SSDLite
from keras_mnv2.deployment.expansion import splitting
from keras_mnv2.deployment.running import load
from keras_mnv2.deployment.staging import Export
from tasks.classification.recipes import ClassificationRecipe
from tasks.common.run_folder import open_run_folder
from tasks.datasets.detection_source import open_detection_source

pytest.importorskip("ai_edge_litert", reason="LiteRT is absent: pip install ai-edge-litert")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def models(data_dir, tmp_path_factory):
    """Folder of a model of each task with its label map, as scripts/import_weights.py leaves it."""
    folder = tmp_path_factory.mktemp("models")
    source = open_detection_source("shapes/tiny", data_dir=data_dir)
    names = list(source.label_names)
    keras.utils.set_random_seed(0)
    imported = {"source": "original.pb", "sha256": {"original.pb": "00"}, "published": None}
    for name, model, labels in (
        ("classifier", MobileNetV2((32, 32, 3), alpha=0.35, classes=10), {"labels": names}),
        (
            "detector",
            SSDLite(10, (96, 96, 3), alpha=0.35, class_prior=0.3),
            {"labels": names, "category_ids": list(source.category_ids)},
        ),
        (
            "segmenter",
            DeepLabV3(11, (65, 65, 3), alpha=0.35),
            {"labels": ["background", *names]},
        ),
    ):
        model.save(folder / f"{name}.keras")
        labels = json.dumps({**labels, **imported})
        (folder / f"{name}.keras.labels.json").write_text(labels)
    return folder


@pytest.fixture
def folder(models, tmp_path, monkeypatch):
    """A folder with the models alone, and the current one."""
    shutil.copytree(models, tmp_path / "models")
    monkeypatch.chdir(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def shapes(data_dir):
    return ["--dataset", "shapes/tiny", "--data-dir", data_dir]


@pytest.fixture
def photos(folder):
    """Seven pictures in the folder `photos`, the later the brighter: 0, 30, ... 180."""
    (folder / "photos").mkdir()
    for number in range(7):
        picture = Image.fromarray(np.full((40, 30, 3), 30 * number, np.uint8))
        picture.save(folder / "photos" / f"{number}.png")


def run(line, *words):
    """The command, of a line of words and further ones."""
    export.main([*line.split(), *words])


def task_of(line):
    """What the command would export."""
    task_class, options = export_options.parse_arguments(line.split(), "")
    return task_class(options)


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def test_a_classifier_in_8_bits_with_its_accuracy(folder, shapes, capsys):
    before = names_in(folder)
    run(
        "classifier.keras --format litert --precision int8 --input-dtype uint8 --central-crop 1 "
        "--calibration-count 12 --float-layers Conv1 --evaluate 9 --split validation[:20] "
        "--layer-report",
        *shapes,
    )
    written = {"classifier_int8_in_uint8.tflite", "classifier_int8_in_uint8.tflite.json"}
    assert names_in(folder) - before == written

    description = load("classifier_int8_in_uint8.tflite").description
    assert json.loads((folder / "classifier_int8_in_uint8.tflite.json").read_text()) == json.loads(
        description.to_json()
    )
    assert (description.precision, description.input_dtype) == ("int8", "uint8")
    assert description.label_names[0] == "circle"
    facts = description.quantization
    assert (facts["dataset"], facts["split"], facts["images"]) == ("shapes/tiny", "train", 12)
    assert facts["float_layers"] == ["Conv1"]
    assert any("biases corrected on 12 images" in method for method in facts["methods"])
    assert description.source["file"] == "classifier.keras"
    assert len(description.source["sha256"]) == 64
    assert description.source["central_crop"] == 1.0
    assert description.source["imported_from"]["source"] == "original.pb"
    assert "resized bilinearly" in description.source["pictures"]
    accuracy = description.accuracy
    assert (accuracy["dataset"], accuracy["split"]) == ("shapes/tiny", "validation[:20]")
    assert accuracy["images"] == 9
    assert accuracy["keras"].keys() == accuracy["file"].keys()
    assert 0 <= accuracy["file"]["top5"] <= 1

    printed = capsys.readouterr().out
    assert "calibration: 12 images" in printed
    assert "CONV_2D" in printed and "FULLY_CONNECTED" in printed
    assert "largest difference of probabilities" in printed
    assert f"top1{'':23}{accuracy['keras']['top1']:.4f}" in printed
    assert "block_3_expand" in printed
    assert re.search(r"arena of LiteRT's own kernels: 0\.\d\d MB", printed)


def test_a_training_run_is_calibrated_on_its_own_data(folder, data_dir, capsys):
    recipe = ClassificationRecipe(dataset="shapes/tiny", data_dir=data_dir, height=32, width=32)
    open_run_folder(folder / "run", "classification", recipe)
    shutil.copy("classifier.keras", "run/last.keras")
    shutil.copy("classifier.keras.labels.json", "run/labels.json")
    task = task_of(
        "--run-dir run --checkpoint last --format litert --precision int8 --calibration-count 5"
    )
    images = export.calibration_images(task)
    assert [(image.shape, image.dtype.name) for image in images] == [((1, 32, 32, 3), "uint8")] * 5
    assert "calibration: 5 images" in capsys.readouterr().out
    assert export.default_output(task) == Path("run/last_int8.tflite")
    data = {"dataset": "shapes/tiny", "split": "train"}
    assert export.calibration_data(task) == data
    assert task.source()["file"] == "last.keras"
    assert len(task.program().description.label_names) == 10


def test_a_detector_without_post_processing_for_onnx(folder, capsys):
    pytest.importorskip("onnxruntime", reason="the runtime is absent: pip install onnxruntime")
    pytest.importorskip("tf2onnx", reason="the converter is absent: pip install tf2onnx")
    run("detector.keras --format onnx --postprocessing none --output out/mine.onnx")
    model = load("out/mine.onnx")
    assert names_in(folder / "out") == {"mine.onnx", "mine.onnx.json"}
    assert model.description.postprocessing == "none"
    assert model.description.category_ids == tuple(range(1, 11))
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    expected = keras.saving.load_model("detector.keras").predict_on_batch(images)
    for name, value in model(images).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-4)
    printed = capsys.readouterr().out
    assert "largest difference of class_logits" in printed and "Conv 88" in printed


def test_a_segmenter_of_another_size_serves_encoded_pictures(folder, capsys):
    run("segmenter.keras --format saved_model --size 97 33 --output-stride 32")
    description = load("segmenter_97x33_stride32_saved_model").description
    assert description.input_size == (97, 33) and description.source["output_stride"] == 32
    served = tf.saved_model.load("segmenter_97x33_stride32_saved_model").signatures[
        "serving_encoded"
    ]
    picture = np.random.default_rng(0).integers(0, 256, (200, 50, 3), np.uint8)
    outputs = served(encoded=tf.io.encode_png(picture)[None])
    assert outputs["class_map"].shape == (1, 97, 33)
    # 200 x 50 fits as 97 x 24; the rest is padding.
    assert outputs["valid"].numpy().tolist() == [[97, 24]]
    assert "equal pixels: 100" in capsys.readouterr().out


def test_thresholds_and_split_blocks(folder, photos, capsys):
    run(
        "detector.keras --format litert --score-threshold 0.2 --max-detections 7 "
        "--activation-memory 500000 --compare-images photos --output d.tflite"
    )
    printed = capsys.readouterr().out
    assert "agreement with the Keras model on 4 pictures: " in printed
    assert "split: block_1_depthwise in 2\n" in printed
    assert "peak activation memory (values of 32 bits): 0.66 MB, split 0." in printed
    model = load("d.tflite")
    assert model.description.source["split_expansion"] == {"block_1_depthwise": 2}
    assert model.description.score_threshold == 0.2
    # Of the recipe.
    assert model.description.iou_threshold == 0.6
    found = model(np.zeros((1, 96, 96, 3), np.uint8))
    assert found["boxes"].shape == (1, 7, 4)


def test_activations_of_8_bits_count_one_byte(folder, capsys):
    """What needs 0.66 MB in float needs no splitting to stay within 0.17 MB."""
    line = "detector.keras --format litert --activation-memory 170000"
    model, ways = export.with_split_blocks(task_of(f"{line} --precision int8"))
    assert ways == {}
    assert "(values of 8 bits): 0.17 MB, split 0.17 MB" in capsys.readouterr().out
    for precision in ("float32", "float16", "dynamic"):
        with pytest.raises(ValueError, match="a peak of 170000 bytes of activations cannot be"):
            export.with_split_blocks(task_of(f"{line} --precision {precision}"))


def test_every_block_is_split(folder):
    task = task_of("classifier.keras --format litert --split-expansion 2")
    model, ways = export.with_split_blocks(task)
    assert ways == 2
    # An imported classifier stands behind a scaling of the pixels.
    names = {layer.name for layer in model.layers[-1].layers}
    assert {"block_1_depthwise_part_2", "block_16_depthwise_part_2"} <= names


def test_a_splitting_that_changes_the_answers_is_refused(folder, monkeypatch):
    def spoilt(network, ways):
        twin = keras.models.clone_model(network)
        twin.set_weights(network.get_weights())
        twin.get_layer("predictions").bias.assign(np.eye(10)[0])
        return twin

    monkeypatch.setattr(splitting, "split_expansion", spoilt)
    task = task_of("classifier.keras --format litert --split-expansion 2")
    with pytest.raises(ValueError, match="splitting the blocks changes the answers .* by 0?[1-9]"):
        export.with_split_blocks(task)


def test_an_agreement_that_proves_nothing_is_reported_as_such(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.onnx").touch()
    program = SimpleNamespace(predict=lambda images: {"probabilities": np.ones((len(images), 1))})
    monkeypatch.setattr(export, "load", lambda path: program.predict)
    compared = export.Compared(np.zeros((2, 8, 8, 3), np.uint8), "pictures")
    description = SimpleNamespace(outputs={"probabilities": ""})
    for is_telling in (True, False):
        done = Export(tmp_path / "a.onnx", description, 1.0, is_telling)
        export.report(done, program, compared, {})
        printed = capsys.readouterr().out
        assert "agreement with the Keras model on 2 pictures: 1.000000 (1 is equal)" in printed
        assert ("which proves nothing" in printed) == (not is_telling)


BAD = [
    ("classifier.keras --format keras", 2, "invalid choice: 'keras'"),
    ("--format litert", 2, "give either a MODEL or --run-dir"),
    ("classifier.keras --run-dir x --format litert", 2, "give either a MODEL or --run-dir"),
    ("classifier.keras --format onnx --precision int8", 2, "--precision: only for --format litert"),
    (
        "classifier.keras --format litert --float-layers a --calibration-count 3",
        2,
        "--float-layers, --calibration-count: only for --precision int8",
    ),
    ("classifier.keras --format litert --split test", 2, "--split: only with --evaluate"),
    (
        "classifier.keras --format litert --precision int8 {shapes} --split test",
        2,
        "--split: only with --evaluate (see --calibration-split)",
    ),
    (
        "segmenter.keras --format onnx --dataset shapes --ignore-label 0",
        2,
        "--dataset, --ignore-label: only with --evaluate, or with --precision int8",
    ),
    (
        "detector.keras --format litert --precision int8 {shapes} --calibration-images broken",
        2,
        "--data-dir, --dataset: only with --evaluate, or with --precision int8 without "
        "--calibration-images",
    ),
    ("classifier.keras --format litert --annotations x", 2, "unrecognized arguments"),
    ("classifier.keras --format litert --evaluate -3", 2, "--evaluate -3 must be at least 1"),
    ("classifier.keras --format litert --evaluate 0", 2, "without a number, all images"),
    (
        "classifier.keras --format litert --precision int8 --calibration-count 0",
        2,
        "--calibration-count 0 must be at least 1",
    ),
    ("missing.keras --format litert", 1, "missing.keras is missing"),
    ("notes.keras --format litert", 1, "notes.keras is not a readable .keras file"),
    ("half.keras --format onnx", 1, "half.keras is not a readable .keras file"),
    ("unbuilt.keras --format litert", 1, "unbuilt.keras holds a model that was never built"),
    ("classifier.tflite --format litert", 1, "classifier.tflite is exported already"),
    ("run --format litert", 1, "run is the folder of a training run: give it as --run-dir run"),
    ("--run-dir none --format litert", 1, "config.json is missing"),
    ("--run-dir empty --checkpoint best --format litert", 1, "config.json is missing"),
    (
        "classifier.keras --format litert --precision int8",
        1,
        "classifier.keras does not say what data it is for",
    ),
    (
        "classifier.keras --format litert --precision int8 --calibration-images empty",
        1,
        "no pictures at 'empty'",
    ),
    (
        "classifier.keras --format litert --precision int8 --calibration-images broken",
        1,
        "photo.jpg",
    ),
    (
        "detector.keras --format litert --precision int8 {shapes} --calibration-split holdout",
        1,
        "no split 'holdout'",
    ),
    # The data are looked at before anything is written.
    ("classifier.keras --format onnx --evaluate 3 --split holdout {shapes}", 1, "'holdout'"),
    ("detector.keras --format onnx --postprocessing custom_op", 1, "is an operation of LiteRT"),
    (
        "detector.keras --format litert --postprocessing none --score-threshold 0.3",
        1,
        "go with --postprocessing nms",
    ),
    (
        "detector.keras --format litert --precision int8 {shapes} --calibration-count 5 "
        "--score-threshold 0.99",
        1,
        "nothing scores more than 0.99 in any of the 5 calibration images",
    ),
    (
        "detector.keras --format onnx --score-threshold 0.9999 --compare-images grey.png",
        1,
        "nothing scores more than 0.9999 in any of the 1 pictures, so that the exported file "
        "cannot be compared: give photos of what the detector is for (--compare-images), or",
    ),
    ("classifier.keras --format litert --compare-images empty", 1, "no pictures at 'empty'"),
    ("detector.keras --format litert --resizable", 1, "resizable=True"),
    ("detector.keras --format litert --input-dtype int8", 1, "input_dtype='int8'"),
    ("segmenter.keras --format litert --size 64 64", 1, "a multiple of the output stride"),
    (
        "classifier.keras --format litert --activation-memory 9 --split-expansion 2",
        2,
        "give either --activation-memory or --split-expansion",
    ),
    (
        "classifier.keras --format litert --activation-memory 1000",
        1,
        "a peak of 1000 bytes of activations cannot be reached by splitting blocks",
    ),
    ("classifier.keras --format litert --output empty", 1, "empty must end in .tflite"),
    (
        "classifier.keras --format litert --precision int8 --calibration-images nowhere "
        "--output mine.tflite",
        1,
        "mine.tflite is there already and is no export",
    ),
    ("classifier.keras --format onnx --output mine.onnx", 1, "mine.onnx is there already"),
    ("classifier.keras --format saved_model --output broken", 1, "broken is a folder already"),
]


@pytest.mark.parametrize(("line", "status", "message"), BAD)
def test_bad_input_ends_in_one_message(line, status, message, folder, shapes, capsys):
    for name in ("notes.keras", "mine.tflite", "mine.onnx"):
        (folder / name).write_text("no model")
    content = (folder / "classifier.keras").read_bytes()
    (folder / "half.keras").write_bytes(content[: len(content) // 2])
    keras.Sequential([keras.layers.Dense(3)]).save(folder / "unbuilt.keras")
    for name in ("empty", "broken", "run"):
        (folder / name).mkdir()
    (folder / "run" / "config.json").write_text("{}")
    (folder / "broken" / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    Image.new("RGB", (40, 30), "grey").save(folder / "grey.png")
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        run(line.replace("{shapes}", " ".join(shapes)))
    assert ended.value.code == status
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("classifier.keras --format litert --precision float32", "classifier.tflite"),
        ("classifier.keras --format onnx --input-dtype uint8", "classifier_in_uint8.onnx"),
        (
            "classifier.keras --format litert --precision int8 --input-dtype int8 "
            "--output-dtype uint8",
            "classifier_int8_in_int8_out_uint8.tflite",
        ),
        (
            "classifier.keras --format litert --any-batch --resizable --split-expansion 4",
            "classifier_any_batch_any_size_split4.tflite",
        ),
        ("detector.keras --format saved_model", "detector_saved_model"),
        ("detector.keras --format onnx --postprocessing none", "detector_raw.onnx"),
        (
            "detector.keras --format litert --precision float16 --postprocessing custom_op "
            "--score-threshold 0.30 --iou-threshold 0.5 --max-detections 20",
            "detector_float16_custom_op_score0.3_iou0.5_max20.tflite",
        ),
        (
            "segmenter.keras --format litert --logits --size 97 33 --output-stride 32",
            "segmenter_logits_97x33_stride32.tflite",
        ),
    ],
)
def test_names_tell_exports_apart(line, name, folder):
    assert export.default_output(task_of(line)).name == name


def test_calibration_pictures_are_spread_over_all(folder, photos):
    task = task_of(
        "classifier.keras --format litert --precision int8 --calibration-count 3 "
        "--calibration-images photos"
    )
    images = export.calibration_images(task)
    assert [int(image.max()) for image in images] == [0, 60, 120]
    assert export.calibration_data(task) == {"pictures": ["photos"]}


class FindsBrightness:
    """Stands for a program of a detector that sees only bright images."""

    def __init__(self, threshold, postprocessing="nms"):
        self.description = SimpleNamespace(
            task="detection", postprocessing=postprocessing, score_threshold=threshold
        )

    def predict(self, image):
        return {"num_detections": np.int32([image.max() > self.description.score_threshold])}


@pytest.mark.parametrize(
    ("brightness", "chosen"),
    [
        # Evenly spread, and one of them has a detection.
        ([0, 0, 9, 0, 0, 0, 9, 9], [0, 9, 0, 9]),
        ([0, 9, 0, 8, 0, 0, 0, 7], [9, 8, 7]),
        ([0, 9, 0, 8, 7, 0, 6, 0, 5, 4], [9, 8, 7, 6]),
    ],
)
def test_a_file_is_compared_on_images_with_detections(brightness, chosen):
    images = [np.full((1, 2, 2, 3), value, np.uint8) for value in brightness]
    for postprocessing in ("nms", "custom_op"):
        found = export.telling_images(FindsBrightness(3, postprocessing), images, "images")
        assert found[:, 0, 0, 0].tolist() == chosen
    # Raw outputs can be compared on any.
    spread = [brightness[i] for i in export.evenly_spread(len(brightness), 4)]
    for postprocessing in ("none", None):
        found = export.telling_images(FindsBrightness(99, postprocessing), images, "images")
        assert found[:, 0, 0, 0].tolist() == spread


def test_a_file_is_compared_on_pictures_that_the_user_names(folder, photos, monkeypatch):
    monkeypatch.setattr(export, "made_up_images", lambda _: np.zeros((2, 96, 96, 3), np.uint8))
    task = task_of("detector.keras --format onnx --compare-images photos")
    images, kind = export.compared_images(task, FindsBrightness(160), None)
    # Of the seven the only one in which something is found.
    assert images.shape == (1, 96, 96, 3) and images.max() == 180
    assert kind == "pictures"
    # Rather than on those of the calibration.
    calibration = [np.full((1, 96, 96, 3), 255, np.uint8)]
    images, _ = export.compared_images(task, FindsBrightness(40), calibration)
    assert images.max(axis=(1, 2, 3)).tolist() == [0, 30, 90, 150]
    task.arguments.compare_images = None
    assert export.compared_images(task, FindsBrightness(40), calibration).images.max() == 255
    with pytest.raises(ValueError, match=r"any of the 2 made-up pictures, .*\(--compare-images\)"):
        export.compared_images(task, FindsBrightness(40), None)


def test_pictures_of_background_alone_are_followed_by_made_up_ones(folder, photos):
    task = task_of("segmenter.keras --format onnx --compare-images photos")

    def network(images, training):
        # The pictures are grey, and those made up are not.
        return 20 * (images - tf.reduce_mean(images, -1, keepdims=True))[..., :2] - (0.0, 9.0)

    def finish(logits):
        return {"class_map": tf.cast(tf.argmax(logits, -1), tf.uint8)}

    program = dataclasses.replace(task.program(), network=network, finish=finish)
    images, kind = export.compared_images(task, program, None)
    assert kind == "pictures and made-up pictures" and images.shape == (6, 65, 65, 3)
    found = program.predict(images)["class_map"]
    assert not found[:4].any() and found[4:].any()


def test_help_shows_the_options_of_the_task(folder, capsys):
    for line, shown in (
        ("--help", {"--format"}),
        ("detector.keras --help", {"--format", "--postprocessing", "--annotations"}),
        ("segmenter.keras --help", {"--format", "--logits", "--masks"}),
    ):
        with pytest.raises(SystemExit) as ended:
            run(line)
        printed = capsys.readouterr().out
        assert ended.value.code == 0
        known = {"--format", "--postprocessing", "--annotations", "--logits", "--masks"}
        assert {option for option in known if f"{option} " in printed} == shown
