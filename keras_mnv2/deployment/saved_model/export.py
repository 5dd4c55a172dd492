"""SavedModel: signatures for images and for encoded pictures, which plain TensorFlow serves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_mnv2.deployment.agreement import agreement
from keras_mnv2.deployment.description import DeploymentError
from keras_mnv2.deployment.fixed_network import INPUT_NAME
from keras_mnv2.deployment.float_files import float_description
from keras_mnv2.deployment.programs import Program
from keras_mnv2.deployment.sample_pictures import sample_images
from keras_mnv2.deployment.saved_model.description_file import write_description
from keras_mnv2.deployment.saved_model.running import IMAGES_SIGNATURE, SavedModelRunner
from keras_mnv2.deployment.staging import Export, staged
from keras_mnv2.deployment.telling import made_up_images
from keras_mnv2.deployment.verification import verify

ENCODED_SIGNATURE = "serving_encoded"
ENCODED_INPUT = "encoded"

# From one encoded picture, a scalar string, to uint8 [height, width, 3] of the network's input
# size, and further outputs by name.
Decoder = Callable[[tf.Tensor], tuple[tf.Tensor, dict[str, tf.Tensor]]]


def export_saved_model(
    program: Program,
    folder: str | os.PathLike,
    *,
    input_dtype: str = "float32",
    decoder: Decoder | None = None,
    images: np.ndarray | None = None,
    min_agreement: float | None = None,
) -> Export:
    """Writes a SavedModel that runs without keras and keras_mnv2.

    It has the signature `serving_default`, from `images` (RGB 0..255 [B, height, width, 3], any
    B) to the program's outputs by name; and, with a decoder, `serving_encoded`, from `encoded`
    (JPEG or PNG files, strings [B]) to the same outputs and those that the decoder adds. Like all
    of TensorFlow's decoders, they do not apply the EXIF rotation of phone pictures.

    Args:
        program: to be exported; a detector's with `postprocessing` "none" or "nms".
        folder: to be written, a new one, an empty one or an earlier export.
        input_dtype: of `images`, "float32" or "uint8".
        decoder: see `Decoder`. The tasks have those of their evaluations.
        images: uint8 [B, height, width, 3] to compare file and program on, best photos of the
            kind that the file is for; by default made-up ones.
        min_agreement: that must be reached in the comparison, see
            `keras_mnv2.deployment.verification`; by default that of float32 files.

    Raises:
        DeploymentError: (a ValueError) if the program or an argument does not suit the format,
            the folder cannot be written, or the file does not give the program's answers. Nothing
            is then written.
    """
    description = float_description(program, "saved_model", input_dtype)
    if images is None:
        images = made_up_images(program)
    with staged(folder, description) as temporary:
        module, signatures = _served(program, input_dtype, decoder)
        try:
            tf.saved_model.save(module, str(temporary), signatures=signatures)
        except tf.errors.OpError as error:  # which TensorFlow raises of a full disk, too
            raise OSError(error.message) from error
        write_description(temporary, description)
        run = SavedModelRunner(temporary)
        reached = verify(program, run, description, images, min_agreement)
        if decoder is not None:
            _verify_decoder(program, run, decoder, images[:2])
    return Export(Path(folder), description, *reached)


def _served(
    program: Program, input_dtype: str, decoder: Decoder | None
) -> tuple[tf.Module, dict[str, Any]]:
    """What holds the variables, and the signatures."""
    size = program.description.input_size
    module = tf.Module(name="served")
    # TensorFlow's own variables: with those of Keras, loading would ask for Keras.
    module.parameters = [variable.value for variable in program.network.variables]

    spec = tf.TensorSpec([None, *size, 3], input_dtype, INPUT_NAME)
    signatures = {IMAGES_SIGNATURE: tf.function(program, [spec], autograph=False)}
    if decoder is not None:
        of_one = tf.function(decoder, [tf.TensorSpec([], tf.string)], autograph=False)
        decoded = tf.nest.map_structure(
            lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype),
            of_one.get_concrete_function().structured_outputs,
        )

        def of_encoded(encoded):
            images, more = tf.map_fn(of_one, encoded, fn_output_signature=decoded)
            return {**program(tf.ensure_shape(images, [None, *size, 3])), **more}

        spec = tf.TensorSpec([None], tf.string, ENCODED_INPUT)
        signatures[ENCODED_SIGNATURE] = tf.function(of_encoded, [spec], autograph=False)
    return module, signatures


def _verify_decoder(
    program: Program, run: SavedModelRunner, decoder: Decoder, images: np.ndarray
) -> None:
    """Raises DeploymentError unless encoded pictures give what their decoded images give.

    Args:
        program: that was exported.
        run: the SavedModel.
        decoder: that its signature contains.
        images: uint8 [B, height, width, 3] to be encoded, besides made-up ones.
    """
    height, width = program.description.input_size
    # Another size than the network's, so that there is something to resize.
    pictures = [*sample_images((height + 7, 2 * width + 5)), *images]
    encoded = tf.stack([tf.io.encode_png(picture) for picture in pictures])
    images, more = zip(*(decoder(picture) for picture in encoded), strict=True)
    expected = program.predict(tf.stack(images).numpy())
    found = run.signature(ENCODED_SIGNATURE, {ENCODED_INPUT: encoded})
    same = all(
        np.array_equal(found.pop(name), [values[name] for values in more]) for name in more[0]
    )
    if not same or not agreement(program.description, expected, found) > 0.99:
        raise DeploymentError(
            "the signature for encoded pictures does not give the answers of the Keras model on "
            "what the decoder makes of them. Nothing was written"
        )
