"""Label masks: pictures whose pixel values are class indices, not colours or brightness.

Palette PNGs, as PASCAL VOC has them, show each class in a colour; the index behind the colour is
the label. Ordinary picture readers give the colour instead, and stretch grey of few bits.
"""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

VOID = 255  # in all masks of prepared data sets: pixels without a label

_GRAY_16 = ("I", "I;16", "I;16B")
# Pillow scales grey of 2 and 4 bits to 0..255; these are its names for such pixels.
_STRETCH = {"L;2": 85, "L;4": 17}


class MaskError(ValueError):
    """A mask that cannot be used; the message names the file, what is wrong and the remedy."""


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """Reads a PNG with a palette, or in grey of 1 to 16 bits, as indices.

    Returns:
        uint8 array [height, width], rotated as its EXIF tag, if any, tells.

    Raises:
        MaskError: the file is missing, corrupt, not a PNG, holds colours or values above 255.
    """
    try:
        with Image.open(path) as image:
            if image.format != "PNG":
                raise MaskError(
                    f"{path}: a mask must be a PNG, not {image.format}, which may change its "
                    "values; export the masks as PNG"
                )
            if image.mode not in ("P", "L", "1", *_GRAY_16):
                raise MaskError(
                    f"{path}: holds colours, not class indices: its pixels are {image.mode}; "
                    "convert each colour to the index of its class and save a palette or grey PNG"
                )
            stretch = _STRETCH.get(image.tile[0][3], 1)
            pixels = np.asarray(ImageOps.exif_transpose(image)).astype(np.int32)
    except MaskError:
        raise
    except FileNotFoundError:
        raise MaskError(f"{path}: there is no such mask file; check the path") from None
    except Image.UnidentifiedImageError:
        raise MaskError(f"{path}: not an image in a known format; export the mask as PNG") from None
    except Exception as error:  # Pillow's plugins raise errors of many types.
        raise MaskError(
            f"{path}: the mask cannot be read ({error}); fetch or export it again"
        ) from error
    pixels = pixels // stretch
    if pixels.max() > 255:
        raise MaskError(
            f"{path}: holds the value {pixels.max()}, but class indices go up to 254 and 255 is "
            "void; export class indices (and not, for example, ids of instances)"
        )
    return pixels.astype(np.uint8)


def decode_mask(encoded: tf.Tensor) -> tf.Tensor:
    """A mask of a prepared data set (scalar string) -> uint8 [height, width, 1], 255 = void.

    For the 8-bit grey PNGs that prepared data sets hold; a palette PNG would become brightness.
    """
    return tf.io.decode_png(encoded, channels=1)
