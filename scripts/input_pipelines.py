"""What benchmark_input.py times: the training pipelines of both sides, and our training step.

The folder is that of `input_photos.write_inputs`. On either side a pipeline is built by the side's
own code, from the record file of encoded images to the batch.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from input_photos import CLASSES

OURS, PEER, STEP = "keras_mnv2", "tf_models", "training step"
# Where the recipe distorts colours, which each side does in its own way: both with that.
WHOLE, PEER_WHOLE = "keras_mnv2, with colours", "tf_models, with colours"

RECIPES = {
    "classification": "imagenet_paper",
    "detection": "coco_320",
    "segmentation": "voc_trainaug",
}

# What the peer does not do in the same way, and OURS and PEER therefore leave out.
LEFT_OUT = {"classification": {"color_distortion": "none"}}

# What the two sides do, and what one does that the other does not.
JOBS = {
    "classification": (
        "decode a random crop (10 to 100 % of the area), flip, resize to 224 x 224. "
        "With colours, ours distorts brightness and saturation of what is resized, as the recipe "
        "has it; the peer's color_jitter distorts brightness, contrast and saturation of the crop. "
        "The peer scales the pixels to the network's range; in ours the network does"
    ),
    "detection": (
        "SSD random crop, flip, resize to 320 x 320, match 2034 anchors and encode their targets. "
        "The peer is its RetinaNet parser with 2100 anchors, the nearest it can have; it scales "
        "the pixels, in ours the network does"
    ),
    "segmentation": (
        "fit into 513 x 513, scale by 0.5 to 2, crop or pad, flip; the same with the mask. "
        "Ours resizes with antialias, the peer without; the peer scales the pixels, in ours the "
        "network does"
    ),
}

Step = Callable[[], Any]


def programs(task: str, with_step: bool) -> tuple[str, ...]:
    """Names of what is timed for a task, the baseline first."""
    whole = (WHOLE, PEER_WHOLE) if task in LEFT_OUT else ()
    return (OURS, PEER, *whole, *((STEP,) if with_step else ()))


def quieten_libraries() -> None:
    """Leaves out what the libraries tell of themselves, such as deprecations inside of them."""
    import tensorflow as tf
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.ERROR)
    tf.get_logger().setLevel("ERROR")


@dataclass(frozen=True)
class Program:
    """One thing to time.

    Attributes:
        name: one of `programs`.
        task: one of `RECIPES`.
        folder: of the images.
        batch_size: images of a batch.
        batches: of a timed step of a pipeline; a training step is of one batch.
    """

    name: str
    task: str
    folder: Path
    batch_size: int
    batches: int

    def build(self) -> tuple[Step, dict[str, Any]]:
        """Returns the function that is timed, and facts about it, ready for JSON.

        Raises:
            ImportError: if tf-models-official, the peer, is missing.
        """
        import tensorflow as tf

        quieten_libraries()
        if self.name == STEP:
            return self._training_step()
        # Pipelines need none, and each process would take its memory.
        tf.config.set_visible_devices([], "GPU")
        is_peer = self.name in (PEER, PEER_WHOLE)
        dataset = PEERS[self.task](self) if is_peer else our_dataset(self)
        iterator = iter(dataset)
        images = dataset.element_spec[0]

        def step() -> None:
            for _ in range(self.batches):
                next(iterator)

        return step, {
            "images": self.batches * self.batch_size,
            "batch": f"{images.dtype.name} {list(images.shape)}",
        }

    def _training_step(self) -> tuple[Step, dict[str, Any]]:
        import tensorflow as tf

        model = our_model(self)
        # The same batch again and again: this is the time without the pipeline.
        batch = next(iter(our_dataset(self)))
        batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
        model.make_train_function()
        parameters = sum(int(weight.shape.num_elements()) for weight in model.trainable_variables)
        device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
        facts = {"images": self.batch_size, "parameters": parameters, "device": device}
        # Reading the loss waits for the step where devices work asynchronously.
        return lambda: float(model.train_function(batches)["loss"]), facts


def our_recipe(program: Program) -> Any:
    """The task's recipe for the images of the folder, for OURS and PEER without `LEFT_OUT`."""
    folder = program.folder
    files = {
        "classification": {
            "dataset": "class_directory",
            "train_list": folder / "classification.txt",
            "class_names": folder / "classes.txt",
        },
        "detection": {
            "dataset": "coco_directory",
            "train_annotations": folder / "instances.json",
        },
        "segmentation": {
            "dataset": "mask_directory",
            "train_split": "train",
            "train_masks": folder / "masks",
            "labels": folder / "labels.txt",
        },
    }[program.task]
    recipes = importlib.import_module(f"tasks.{program.task}.recipes").RECIPES
    return dataclasses.replace(
        recipes[RECIPES[program.task]],
        data_dir=str(folder / "prepared"),
        train_images=str(folder / "images"),
        batch_size=program.batch_size,
        # A step takes as long from any weights, and these need no download.
        backbone_weights=None,
        **{name: str(value) if isinstance(value, Path) else value for name, value in files.items()},
        **(LEFT_OUT.get(program.task, {}) if program.name in (OURS, PEER) else {}),
    )


def our_source(program: Program) -> Any:
    """The images as a data set of ours; it is prepared at the first call."""
    return importlib.import_module(f"tasks.{program.task}.data").open_source(our_recipe(program))


def our_model(program: Program) -> Any:
    """The recipe's network, compiled for training."""
    module = importlib.import_module(f"tasks.{program.task}.model")
    recipe, classes = our_recipe(program), CLASSES[program.task]
    is_detection = program.task == "detection"
    names = [str(number) for number in range(classes)] if is_detection else classes
    model = module.build_model(recipe, names)
    module.compile_model(model, recipe)
    return model


def our_dataset(program: Program) -> Any:
    """The training pipeline of ours, endless batches."""
    data = importlib.import_module(f"tasks.{program.task}.data")
    recipe = our_recipe(program)
    arguments = [our_source(program), recipe]
    if program.task == "detection":
        from keras_mnv2.detection import feature_grid_sizes, ssd_anchors

        size = (recipe.height, recipe.width)
        arguments.append(ssd_anchors(feature_grid_sizes(size), size))
    return data.training_dataset(*arguments)


def _peer_reader(program: Program, module: str, decoder: Any, parser: Any, **settings: Any) -> Any:
    from official.common import dataset_fn
    from official.vision.dataloaders import input_reader_factory

    config = importlib.import_module(f"official.vision.configs.{module}").DataConfig(
        input_path=str(program.folder / f"{program.task}.tfrecord"),
        is_training=True,
        global_batch_size=program.batch_size,
        dtype="float32",
        # As ours: no more than there is.
        shuffle_buffer_size=len(list((program.folder / "images").iterdir())),
        **settings,
    )
    reader = input_reader_factory.input_reader_generator(
        config,
        dataset_fn=dataset_fn.pick_dataset_fn(config.file_type),
        decoder_fn=decoder.decode,
        parser_fn=parser.parse_fn(config.is_training),
    )
    return reader.read()


def _peer_classification(program: Program) -> Any:
    from official.vision.dataloaders import classification_input

    recipe = our_recipe(program)
    parser = classification_input.Parser(
        [recipe.height, recipe.width],
        CLASSES["classification"],
        crop_area_range=(recipe.min_area, 1.0),
        # As far as our saturation goes; the time does not depend on it.
        color_jitter=0.0 if recipe.color_distortion == "none" else 0.5,
    )
    return _peer_reader(program, "image_classification", classification_input.Decoder(), parser)


def _peer_detection(program: Program) -> Any:
    from official.vision.configs import common
    from official.vision.dataloaders import retinanet_input, tf_example_decoder

    recipe = our_recipe(program)
    parser = retinanet_input.Parser(
        [recipe.height, recipe.width],
        # 4 * (20 * 20 + 10 * 10 + 5 * 5) anchors.
        min_level=4,
        max_level=6,
        num_scales=2,
        aspect_ratios=[1.0, 2.0],
        anchor_size=4.0,
        box_coder_weights=[10.0, 10.0, 5.0, 5.0],
        aug_type=common.Augmentation(type="ssd_random_crop"),
        aug_rand_hflip=True,
        keep_aspect_ratio=False,
        dtype="float32",
    )
    return _peer_reader(program, "retinanet", tf_example_decoder.TfExampleDecoder(), parser)


def _peer_segmentation(program: Program) -> Any:
    from official.vision.dataloaders import segmentation_input

    recipe = our_recipe(program)
    parser = segmentation_input.Parser(
        list(recipe.size),
        aug_rand_hflip=True,
        aug_scale_min=recipe.min_scale,
        aug_scale_max=recipe.max_scale,
    )
    return _peer_reader(program, "semantic_segmentation", segmentation_input.Decoder(), parser)


PEERS = {
    "classification": _peer_classification,
    "detection": _peer_detection,
    "segmentation": _peer_segmentation,
}
