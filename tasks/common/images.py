"""Pictures in, RGB out: what a network sees is what a person sees in an image viewer.

TensorFlow's decoders ignore the EXIF rotation of phone pictures, misread 16-bit and palette
images and drop the alpha channel. Pillow reads all of them, slowly. So files are looked at once:
those that TensorFlow reads correctly keep their bytes, all others become upright RGB PNGs.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image, ImageOps


class ImageError(ValueError):
    """An image file that cannot be read; the message names the file, the cause and the remedy."""


@dataclass(frozen=True)
class ImageInfo:
    """What a look at an image file tells.

    Attributes:
        height: rows in pixels, as displayed (after the EXIF rotation).
        width: columns in pixels, as displayed.
        rotated: whether displaying it takes an EXIF rotation or reflection.
        tensorflow_reads_it: whether `decode` turns the file's own bytes into the right picture.
    """

    height: int
    width: int
    rotated: bool
    tensorflow_reads_it: bool


def inspect(path: str | os.PathLike) -> ImageInfo:
    """Decodes the whole file, so that a truncated or corrupt one is found, and describes it.

    Raises:
        ImageError: the file is missing, empty, truncated, corrupt, too large or not an image.
    """
    return _inspect(path, _read_bytes(path))


def read_rgb(path: str | os.PathLike) -> np.ndarray:
    """Reads any picture that Pillow reads, as a person sees it.

    The EXIF rotation is applied, 16 bits are scaled to 8, transparency is put over white; grey,
    palette and CMYK pictures become RGB; of an animation the first frame is taken.

    Returns:
        uint8 array [height, width, 3].

    Raises:
        ImageError: the file is missing, empty, truncated, corrupt, too large or not an image.
    """
    return _read_rgb(path, _read_bytes(path))


def encode_upright(path: str | os.PathLike) -> bytes:
    """The file as encoded bytes that `decode` turns into the picture a person sees.

    JPEGs in grey or RGB and 8-bit grey or RGB PNGs without EXIF rotation keep their bytes; all
    other pictures are returned as RGB PNG, without loss.

    Raises:
        ImageError: the file is missing, empty, truncated, corrupt, too large or not an image.
    """
    data = _read_bytes(path)
    if _inspect(path, data).tensorflow_reads_it:
        return data
    return encode_png(_read_rgb(path, data))


def whole_grey_levels(image: tf.Tensor) -> tf.Tensor:
    """Float 0..255 to uint8: a quarter of the bytes on the way to the device."""
    return tf.saturate_cast(tf.round(image), tf.uint8)


def encode_png(pixels: np.ndarray) -> bytes:
    """uint8 array [height, width] or [height, width, 3] -> PNG bytes."""
    buffer = io.BytesIO()
    # The fastest level: the default takes several times as long for a few per cent in size.
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def decode(encoded: tf.Tensor, *, fast: bool = False) -> tf.Tensor:
    """JPEG or PNG bytes (scalar string), as `encode_upright` gives -> uint8 [height, width, 3].

    Args:
        encoded: the bytes.
        fast: decode a JPEG with the approximate cosine transform, TensorFlow's default, by which
            slim's networks were trained and measured; else as Pillow and the JPEG tools do.
    """
    # This op reads PNGs too.
    return tf.io.decode_jpeg(encoded, channels=3, dct_method=_cosine_transform(fast))


def decode_window(encoded: tf.Tensor, window: tf.Tensor, *, fast: bool = False) -> tf.Tensor:
    """The part of what `decode` gives that a window shows; of a JPEG no more is decoded.

    Args:
        encoded: as for `decode`, as is `fast`.
        window: int32 [4], top, left, height and width in pixels, inside the image.

    Returns:
        uint8 [height, width, 3].
    """
    return tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.decode_and_crop_jpeg(
            encoded, window, channels=3, dct_method=_cosine_transform(fast)
        ),
        lambda: tf.image.crop_to_bounding_box(decode(encoded), *tf.unstack(window)),
    )


def _cosine_transform(fast: bool) -> str:
    return "INTEGER_FAST" if fast else "INTEGER_ACCURATE"


def decoded_size(encoded: tf.Tensor) -> tf.Tensor:
    """int32 [2], height and width of what `decode` gives; a JPEG is not decoded for it."""
    return tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.image.extract_jpeg_shape(encoded)[:2],
        lambda: tf.shape(decode(encoded))[:2],
    )


def _read_bytes(path: str | os.PathLike) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such image file; check the path") from None
    except OSError as error:
        reason = error.strerror or error
        raise ImageError(f"{path}: cannot read the image file ({reason})") from error
    if not data:
        raise ImageError(f"{path}: the image file is empty (0 bytes); fetch it again or remove it")
    return data


def _open(path: str | os.PathLike, data: bytes) -> Image.Image:
    try:
        # Checks the checksums of a PNG, which load() does not but TensorFlow does.
        Image.open(io.BytesIO(data)).verify()
        return Image.open(io.BytesIO(data))
    except Image.UnidentifiedImageError:
        raise ImageError(
            f"{path}: not an image in a known format; convert it to JPEG or PNG, or remove it"
        ) from None
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | os.PathLike, error: Exception) -> ImageError:
    if isinstance(error, Image.DecompressionBombError):
        size = str(error).partition(",")[0]  # "Image size (N pixels) exceeds limit of M pixels"
        return ImageError(f"{path}: the image is too large: {size}; scale it down or remove it")
    return ImageError(
        f"{path}: the image is truncated or corrupt ({error}); fetch it again or remove it"
    )


def _inspect(path: str | os.PathLike, data: bytes) -> ImageInfo:
    image = _open(path, data)
    rotated = _orientation(image) in range(2, 9)
    width, height = image.size
    plain = (
        not rotated
        and image.mode in ("L", "RGB")
        and (image.format in ("JPEG", "MPO") or (image.format == "PNG" and _plain_png(data)))
    )
    if not plain:
        height, width, _ = _read_rgb(path, data).shape
        return ImageInfo(height, width, rotated, tensorflow_reads_it=False)
    try:
        # Decoding a JPEG at 1/8 of its size reads all its data in a fraction of the time.
        image.draft(image.mode, (1, 1))
        image.load()
    except Exception as error:  # Pillow's plugins raise errors of many types.
        raise _unreadable(path, error) from error
    return ImageInfo(height, width, rotated, tensorflow_reads_it=True)


def _read_rgb(path: str | os.PathLike, data: bytes) -> np.ndarray:
    image = _open(path, data)
    try:
        image.load()
        if _orientation(image) != 1:
            image = ImageOps.exif_transpose(image)
        if image.mode == "I" or image.mode.startswith("I;16"):
            return _from_16_bits(path, np.asarray(image))
        if image.mode == "F":
            raise ImageError(
                f"{path}: floating-point pixels have no defined white; save it with 8 or 16 bits"
            )
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return np.array(image.convert("RGB"))
    except ImageError:
        raise
    except Exception as error:  # Pillow's plugins raise errors of many types.
        raise _unreadable(path, error) from error


def _from_16_bits(path: str | os.PathLike, pixels: np.ndarray) -> np.ndarray:
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ImageError(
            f"{path}: pixel values {pixels.min()}..{pixels.max()} exceed 16 bits; "
            "save it with 8 or 16 bits"
        )
    # The high byte, as Pillow does for 16-bit RGB; convert("RGB") would clip at 255.
    grey = (pixels.astype(np.uint32) >> 8).astype(np.uint8)
    return np.repeat(grey[..., np.newaxis], 3, axis=-1)


def _plain_png(data: bytes) -> bool:
    # IHDR: bit depth in byte 24, colour type in byte 25 (0 grey, 2 RGB). A tRNS chunk makes a
    # colour transparent.
    return data[24] == 8 and data[25] in (0, 2) and b"tRNS" not in data


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # A broken EXIF block rotates nothing: viewers show the picture as it lies.
        return 1
