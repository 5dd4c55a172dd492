"""Label masks are read as indices whatever the PNG's form, and colours are refused."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from mask_files import mask_of, write_mask
from PIL import Image

from tasks.common.images import encode_png
from tasks.datasets.masks import MaskError, decode_mask, read_mask


@pytest.mark.parametrize("palette", [False, True])
def test_grey_and_palette_give_indices(tmp_path, palette):
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    write_mask(tmp_path / "mask.png", mask, palette)
    read = read_mask(tmp_path / "mask.png")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, mask)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("palette", [False, True])
def test_few_bits(tmp_path, bits, palette):
    """Written by hand, as Pillow writes no grey of two or four bits."""
    mask = np.random.default_rng(0).integers(0, 2**bits, (5, 16))
    digits = (mask[..., np.newaxis] >> np.arange(bits)[::-1]) & 1
    packed = np.packbits(digits.reshape(5, -1), axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 16, 5, bits, 3 if palette else 0, 0, 0, 0))]
    if palette:
        chunks.append((b"PLTE", bytes(range(3 * 2**bits)[::-1]) if bits < 8 else bytes(768)))
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    (tmp_path / "mask.png").write_bytes(content)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), mask)


def test_sixteen_bits_where_the_values_fit(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(mask_of(0, 7, 255).astype(np.uint16)).save(path)
    np.testing.assert_array_equal(read_mask(path), mask_of(0, 7, 255))
    Image.fromarray(mask_of(0, 7).astype(np.uint16) * 1000).save(path)
    with pytest.raises(MaskError, match=r"mask\.png: holds the value 7000.*export class indices"):
        read_mask(path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_are_refused(tmp_path, mode):
    Image.new(mode, (4, 3)).save(tmp_path / "mask.png")
    with pytest.raises(MaskError, match=rf"mask\.png: holds colours, .* {mode}; convert each"):
        read_mask(tmp_path / "mask.png")


def test_lossy_formats_are_refused(tmp_path):
    Image.fromarray(mask_of(0, 1)).save(tmp_path / "mask.png", "JPEG")
    with pytest.raises(MaskError, match=r"mask\.png: a mask must be a PNG, not JPEG"):
        read_mask(tmp_path / "mask.png")


def test_unreadable_files(tmp_path):
    path = tmp_path / "mask.png"
    with pytest.raises(MaskError, match=r"mask\.png: there is no such mask file"):
        read_mask(path)
    path.write_bytes(b"")
    with pytest.raises(MaskError, match=r"mask\.png: not an image in a known format"):
        read_mask(path)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    path.write_bytes(encode_png(noise)[:2000])
    with pytest.raises(MaskError, match=r"mask\.png: the mask cannot be read \(.*truncated"):
        read_mask(path)


def test_rotation_tag_turns_a_mask_like_its_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(mask).save(tmp_path / "mask.png", exif=exif)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), np.rot90(mask, -1))


def test_decoding_of_stored_masks():
    mask = mask_of(0, 1, 20, 255)
    decoded = next(iter(tf.data.Dataset.from_tensors(encode_png(mask)).map(decode_mask)))
    assert decoded.dtype == tf.uint8
    np.testing.assert_array_equal(decoded, mask[..., np.newaxis])
