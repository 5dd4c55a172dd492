from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tasks.common.atomic_write import write_json
from tasks.detection.coco_evaluation import METRICS, CocoEvaluator

CATEGORY_IDS = [3, 17, 44, 90]
LABEL_NAMES = ["car", "cat", "bottle", "toothbrush"]


def random_boxes(rng, count):
    corner = rng.uniform(0.0, 0.6, [count, 2])
    return np.concatenate([corner, corner + rng.uniform(0.03, 0.4, [count, 2])], axis=-1)


def synthetic_set(num_images=8, num_labels=3, seed=0):
    """Ground truth as keyword arguments of add_ground_truth; the last label does not occur."""
    rng = np.random.default_rng(seed)
    images = []
    for number in range(num_images):
        height, width = (int(x) for x in rng.integers(100, 700, 2))
        count = int(rng.integers(0 if number else 1, 7))
        boxes = random_boxes(rng, count)
        areas = 0.7 * height * width * np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)
        images.append(
            {
                "image_id": 1000 - 7 * number,
                "height": height,
                "width": width,
                "boxes": boxes.astype(np.float32),
                "labels": rng.integers(0, num_labels, count),
                "areas": areas.astype(np.float32),
                "is_crowd": rng.uniform(size=count) < 0.2,
            }
        )
    images[0]["is_crowd"][:] = False
    return images


def random_detections(images, count=20, num_labels=3, seed=1):
    """A batch of detections: jittered ground truth and inventions, [batch, count, ...]."""
    rng = np.random.default_rng(seed)
    boxes, classes = [], []
    for image in images:
        true = np.resize(image["boxes"], [count // 2, 4]) if len(image["boxes"]) else None
        label = np.resize(image["labels"], count // 2)
        invented = random_boxes(rng, count // 2)
        true = invented if true is None else true + rng.normal(0, 0.02, true.shape)
        boxes.append(np.concatenate([true, invented]))
        classes.append(np.concatenate([label, rng.integers(0, num_labels, count // 2)]))
    return {
        "image_ids": np.array([image["image_id"] for image in images]),
        "boxes": np.array(boxes, np.float32),
        "scores": rng.uniform(0, 1, [len(images), count]).astype(np.float32),
        "classes": np.array(classes, np.int32),
        "num_detections": np.full([len(images)], count, np.int32),
    }


def make_evaluator(images, category_ids=CATEGORY_IDS, label_names=LABEL_NAMES):
    evaluator = CocoEvaluator(category_ids, label_names)
    for image in images:
        evaluator.add_ground_truth(**image)
    return evaluator


def add_annotations_as_detections(evaluator, images):
    for image in images:
        keep = ~image["is_crowd"]
        # Padding beyond num_detections must not count, whatever it holds.
        padding = np.ones([3])
        evaluator.add_detections(
            image_ids=np.array([image["image_id"]]),
            boxes=np.concatenate([image["boxes"][keep], np.ones([3, 4])])[np.newaxis],
            scores=np.concatenate([np.ones(keep.sum()), padding])[np.newaxis],
            classes=np.concatenate([image["labels"][keep], 0 * padding])[np.newaxis].astype(int),
            num_detections=np.array([keep.sum()]),
        )


def coco_directory_set(folder, split):
    """Ground truth of a COCO annotation file, its category ids and names."""
    coco = json.loads((folder / f"annotations/instances_{split}2017.json").read_text())
    category_ids = [category["id"] for category in coco["categories"]]
    names = [category["name"] for category in coco["categories"]]
    images = []
    for info in coco["images"]:
        objects = [a for a in coco["annotations"] if a["image_id"] == info["id"]]
        x, y, width, height = np.array([a["bbox"] for a in objects]).reshape(-1, 4).T
        size = np.array([info["height"], info["width"]] * 2)
        images.append(
            {
                "image_id": info["id"],
                "height": info["height"],
                "width": info["width"],
                "boxes": (np.stack([y, x, y + height, x + width], -1) / size).astype(np.float32),
                "labels": np.array([category_ids.index(a["category_id"]) for a in objects]),
                "areas": np.array([a["area"] for a in objects]),
                "is_crowd": np.array([bool(a["iscrowd"]) for a in objects]),
            }
        )
    return images, category_ids, names


def test_annotations_as_detections_score_one():
    images = synthetic_set()
    evaluator = make_evaluator(images)
    add_annotations_as_detections(evaluator, images)
    metrics = evaluator.evaluate()
    assert tuple(metrics) == (*METRICS, "AP_per_class")
    for name in ("AP", "AP50", "AP75", "AR_100"):
        assert metrics[name] == pytest.approx(1.0)
    assert metrics["AP_per_class"]["car"] == pytest.approx(1.0)
    assert metrics["AP_per_class"]["toothbrush"] is None
    assert any(image["is_crowd"].any() for image in images)


@pytest.mark.parametrize("split", ["train", "val"])
def test_annotations_of_real_data_as_detections_score_one(reference, split):
    images, category_ids, names = coco_directory_set(reference / "data/coco_mini", split)
    evaluator = make_evaluator(images, category_ids, names)
    add_annotations_as_detections(evaluator, images)
    metrics = evaluator.evaluate()
    for name in METRICS:
        if name not in ("AR_1", "AR_10"):
            assert metrics[name] == pytest.approx(1.0), name
    present = {names[label] for image in images for label in image["labels"][~image["is_crowd"]]}
    assert {name for name, ap in metrics["AP_per_class"].items() if ap is not None} == present


def test_equals_the_api_run_on_the_annotation_file_itself(reference, tmp_path, capsys):
    folder = reference / "data/coco_mini"
    images, category_ids, names = coco_directory_set(folder, "train")
    detections = random_detections(images, num_labels=len(names))
    evaluator = make_evaluator(images, category_ids, names)
    for start in range(0, len(images), 10):
        evaluator.add_detections(**{k: v[start : start + 10] for k, v in detections.items()})
    metrics = evaluator.evaluate()
    assert capsys.readouterr().out == ""

    write_json(tmp_path / "results.json", evaluator.results())
    truth = COCO(str(folder / "annotations/instances_train2017.json"))
    api = COCOeval(truth, truth.loadRes(str(tmp_path / "results.json")), "bbox")
    api.evaluate()
    api.accumulate()
    api.summarize()
    assert 0.01 < metrics["AP"] < 0.99
    np.testing.assert_allclose([metrics[name] for name in METRICS], api.stats, atol=1e-9)

    for category_id, name in zip(category_ids, names, strict=True):
        api.params.catIds = [category_id]
        api.evaluate()
        api.accumulate()
        api.summarize()
        expected = None if api.stats[0] == -1 else pytest.approx(api.stats[0], abs=1e-9)
        assert metrics["AP_per_class"][name] == expected


def test_equals_the_evaluator_of_tf_models():
    tf = pytest.importorskip("tensorflow")
    coco_evaluator = pytest.importorskip("official.vision.evaluation.coco_evaluator")
    images = [image for image in synthetic_set(12, seed=5) if len(image["boxes"])]
    detections = random_detections(images)
    evaluator = make_evaluator(images)
    evaluator.add_detections(**detections)
    metrics = evaluator.evaluate()

    peer = coco_evaluator.COCOEvaluator(None, include_mask=False, need_rescale_bboxes=False)
    category_ids = np.array(CATEGORY_IDS)
    for row, image in enumerate(images):
        size = np.tile([image["height"], image["width"]], 2)
        truth = {
            "source_id": image["image_id"],
            "height": image["height"],
            "width": image["width"],
            "num_detections": len(image["boxes"]),
            "boxes": (image["boxes"] * size).astype(np.float32),
            "classes": category_ids[image["labels"]],
            "areas": image["areas"],
            "is_crowds": image["is_crowd"].astype(np.int32),
        }
        found = {
            "source_id": image["image_id"],
            "num_detections": detections["num_detections"][row],
            "detection_boxes": (detections["boxes"][row] * size).astype(np.float32),
            "detection_classes": category_ids[detections["classes"][row]],
            "detection_scores": detections["scores"][row],
        }
        peer.update_state(
            *({k: tf.constant(v)[tf.newaxis] for k, v in part.items()} for part in (truth, found))
        )
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    names += ["ARmax1", "ARmax10", "ARmax100", "ARs", "ARm", "ARl"]
    result = peer.result()
    assert 0.01 < metrics["AP"] < 0.99
    np.testing.assert_allclose(
        [metrics[name] for name in METRICS], [result[name] for name in names], atol=1e-6
    )


def one_object(is_crowd=False):
    return {
        "image_id": 1,
        "height": 100,
        "width": 200,
        "boxes": np.array([[0.1, 0.2, 0.5, 0.6]]),
        "labels": np.array([1]),
        "areas": np.array([3000.0]),
        "is_crowd": np.array([is_crowd]),
    }


def detections_of_image_one(boxes, scores):
    return {
        "image_ids": [1],
        "boxes": np.array([boxes]),
        "scores": np.array([scores]),
        "classes": np.ones([1, len(scores)], int),
        "num_detections": [len(scores)],
    }


def test_results_are_coco_results():
    evaluator = make_evaluator([one_object()])
    evaluator.add_detections(**detections_of_image_one([[0.1, 0.2, 0.5, 0.65]], [0.75]))
    (result,) = evaluator.results()
    assert result.pop("bbox") == pytest.approx([40.0, 10.0, 90.0, 40.0], abs=1e-9)
    assert result == {"image_id": 1, "category_id": 17, "score": 0.75}
    # Evaluating leaves no trace in what is written afterwards.
    evaluator.evaluate()
    assert set(evaluator.results()[0]) == {"image_id", "category_id", "bbox", "score"}


def test_detections_in_a_crowd_region_do_not_count():
    inside = [[0.2, 0.3, 0.3, 0.4], [0.3, 0.3, 0.4, 0.4]]
    true = [0.7, 0.1, 0.9, 0.15]
    image = one_object(is_crowd=True)
    image["boxes"] = np.concatenate([image["boxes"], [true]])
    for key in ("labels", "areas", "is_crowd"):
        image[key] = np.append(image[key], [{"labels": 1, "areas": 200.0, "is_crowd": 0}[key]])
    for crowd, expected in ((True, 1.0), (False, 1 / 6)):
        # Without the crowd flag the two better ones are false positives and the region is missed:
        # precision 1/3 up to recall 1/2, which is 51 of the 101 recall points.
        image["is_crowd"] = np.array([crowd, False])
        evaluator = make_evaluator([image])
        evaluator.add_detections(**detections_of_image_one([*inside, true], [0.9, 0.8, 0.3]))
        assert evaluator.evaluate()["AP"] == pytest.approx(expected, abs=0.01)


def test_no_detections_at_all_give_zero():
    for add in (False, True):
        evaluator = make_evaluator(synthetic_set())
        if add:
            evaluator.add_detections(
                image_ids=[1000],
                boxes=np.zeros([1, 5, 4]),
                scores=np.zeros([1, 5]),
                classes=np.zeros([1, 5], int),
                num_detections=[0],
            )
        metrics = evaluator.evaluate()
        assert metrics["AP"] == 0.0 and metrics["AR_100"] == 0.0
        assert metrics["AP_per_class"]["car"] == 0.0
        assert metrics["AP_per_class"]["toothbrush"] is None


def test_detections_may_come_before_the_ground_truth():
    images = synthetic_set()
    evaluator = CocoEvaluator(CATEGORY_IDS, LABEL_NAMES)
    add_annotations_as_detections(evaluator, images)
    for image in images:
        evaluator.add_ground_truth(**image)
    assert evaluator.evaluate()["AP"] == pytest.approx(1.0)


def test_no_ground_truth_is_an_error():
    empty = one_object() | {
        "boxes": np.zeros([0, 4]),
        "labels": np.zeros([0], int),
        "areas": np.zeros([0]),
        "is_crowd": np.zeros([0], bool),
    }
    for images in ([], [empty], [one_object(is_crowd=True)]):
        with pytest.raises(ValueError, match=f"no ground truth in the {len(images)} images"):
            make_evaluator(images).evaluate()


def test_bad_input_is_named():
    evaluator = make_evaluator([one_object()])
    with pytest.raises(ValueError, match="ground truth of image 1 was added before"):
        evaluator.add_ground_truth(**one_object())
    with pytest.raises(ValueError, match="label 4, but labels go from 0 to 3"):
        evaluator.add_ground_truth(**(one_object() | {"image_id": 2, "labels": np.array([4])}))
    good = detections_of_image_one([[0.1, 0.2, 0.5, 0.6]], [0.5])
    with pytest.raises(ValueError, match="image 1 has a score that is not finite"):
        evaluator.add_detections(**(good | {"scores": np.array([[np.nan]])}))
    with pytest.raises(ValueError, match="image 1 has a box that is not finite"):
        evaluator.add_detections(**(good | {"boxes": np.full([1, 1, 4], np.inf)}))
    with pytest.raises(ValueError, match=r"boxes of shape \[1, 5\] for 1 labels"):
        evaluator.add_detections(**(good | {"boxes": np.zeros([1, 1, 5])}))
    evaluator.add_detections(**good)
    with pytest.raises(ValueError, match="detections of image 1 were added before"):
        evaluator.add_detections(**good)
    evaluator.add_detections(**(good | {"image_ids": [5]}))
    with pytest.raises(ValueError, match="first: image 5"):
        evaluator.evaluate()


@pytest.mark.parametrize(
    ("category_ids", "label_names", "message"),
    [
        ([1, 2], ["a"], "one entry for each label"),
        ([1, 1], ["a", "b"], "category_ids must be unique"),
        ([1, 2], ["a", "a"], "label_names must be unique"),
    ],
)
def test_labels_must_fit(category_ids, label_names, message):
    with pytest.raises(ValueError, match=message):
        CocoEvaluator(category_ids, label_names)
