"""Every kind of file is read as a person sees it, or refused with a clear message."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tasks.common.images import (
    ImageError,
    decode,
    decode_window,
    decoded_size,
    encode_png,
    encode_upright,
    inspect,
    read_rgb,
)

ORIENTATION = 0x0112


def picture(height=24, width=40):
    """Four flat quarters: red, green / blue, white; survives JPEG and shows any rotation."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (220, 20, 20)
    image[: height // 2, width // 2 :] = (20, 220, 20)
    image[height // 2 :, : width // 2] = (20, 20, 220)
    image[height // 2 :, width // 2 :] = 250
    return image


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def save_rotated(path, pixels, orientation):
    """Stores `pixels` as they are, with an EXIF tag that tells viewers to turn them."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return save(path, pixels, exif=exif)


def png(bit_depth, colour_type, rows, height, width):
    """A PNG of any bit depth, which Pillow cannot write."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def assert_upright(path, expected, tolerance=0):
    """All three ways of reading a file agree on the picture."""
    pixels = read_rgb(path)
    assert pixels.dtype == np.uint8 and pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance
    np.testing.assert_array_equal(decode(tf.constant(encode_upright(path))), pixels)
    info = inspect(path)
    assert (info.height, info.width) == expected.shape[:2]


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_keeps_its_bytes(tmp_path, progressive):
    path = save(tmp_path / "a.jpg", picture(), quality=98, subsampling=0, progressive=progressive)
    assert_upright(path, picture(), tolerance=8)
    assert encode_upright(path) == path.read_bytes()


def test_gray_jpeg_and_png_keep_their_bytes(tmp_path):
    gray = np.tile(np.arange(40, dtype=np.uint8) * 6, (24, 1))
    for name, tolerance in (("a.jpg", 4), ("a.png", 0)):
        path = save(tmp_path / name, gray)
        assert_upright(path, np.repeat(gray[..., None], 3, -1), tolerance)
        assert encode_upright(path) == path.read_bytes()


def test_rgb_png_keeps_its_bytes(tmp_path):
    path = save(tmp_path / "a.png", picture())
    assert_upright(path, picture())
    assert encode_upright(path) == path.read_bytes()


TURNS = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, 1),
}


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize("orientation", TURNS)
def test_exif_rotation_is_applied(tmp_path, name, orientation):
    path = save_rotated(tmp_path / name, picture(), orientation)
    stored = np.array(Image.open(save(tmp_path / f"stored_{name}", picture())))
    assert_upright(path, TURNS[orientation](stored))
    assert inspect(path).rotated


def test_exif_orientation_one_keeps_the_bytes(tmp_path):
    path = save_rotated(tmp_path / "a.jpg", picture(), 1)
    assert encode_upright(path) == path.read_bytes()


def test_cmyk_jpeg(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(picture()).convert("CMYK").save(path, quality=98, subsampling=0)
    assert_upright(path, picture(), tolerance=12)
    assert not inspect(path).tensorflow_reads_it


def test_sixteen_bit_gray_is_scaled_not_clipped(tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint16) * 257, (4, 1))
    path = tmp_path / "a.png"
    Image.fromarray(ramp).save(path)
    expected = np.tile(np.arange(256, dtype=np.uint8)[:, None], (4, 1, 3))
    assert_upright(path, expected)


def test_sixteen_bit_rgb_is_scaled_not_clipped(tmp_path):
    pixels = np.arange(2 * 4 * 3, dtype=">u2").reshape(2, 4, 3) * 257 * 10
    path = tmp_path / "a.png"
    path.write_bytes(png(16, 2, [row.tobytes() for row in pixels], 2, 4))
    assert_upright(path, (pixels // 257).astype(np.uint8))


def test_four_bit_gray_png(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(4, 0, [bytes([0x0F, 0x80])] * 2, 2, 4))
    gray = np.array([[0, 255, 8 * 17, 0]] * 2, np.uint8)
    assert_upright(path, np.repeat(gray[..., None], 3, -1))


def test_palette_png_and_gif(tmp_path):
    for name in ("a.png", "a.gif"):
        Image.fromarray(picture()).quantize(4).save(tmp_path / name)
        assert_upright(tmp_path / name, picture(), tolerance=2)


def test_bitmap_and_bilevel(tmp_path):
    assert_upright(save(tmp_path / "a.bmp", picture()), picture())
    bits = np.indices((8, 8)).sum(0) % 2 == 0
    Image.fromarray(bits).save(tmp_path / "b.png")
    assert_upright(tmp_path / "b.png", np.repeat(bits[..., None] * np.uint8(255), 3, -1))


def test_alpha_is_put_over_white(tmp_path):
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[..., 3] = [255, 0, 51]  # opaque black, transparent, one fifth black
    expected = np.zeros((2, 3, 3), np.uint8) + np.uint8([[0], [255], [204]])
    assert_upright(save(tmp_path / "a.png", pixels), expected, tolerance=1)


def test_transparent_palette_and_transparent_colour(tmp_path):
    indices = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8))
    palette = indices.convert("P")
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.save(tmp_path / "palette.png", transparency=0)
    expected = np.full((2, 2, 3), 255, np.uint8)
    expected[0, 1] = expected[1, 0] = (200, 100, 50)
    assert_upright(tmp_path / "palette.png", expected)
    rgb = np.array([[[1, 2, 3], [200, 100, 50]], [[200, 100, 50], [1, 2, 3]]], np.uint8)
    Image.fromarray(rgb).save(tmp_path / "colour.png", transparency=(1, 2, 3))
    assert_upright(tmp_path / "colour.png", expected)


def test_names_with_spaces_quotes_and_umlauts(tmp_path):
    assert_upright(save(tmp_path / "Möwe's \u98de bild.png", picture()), picture())


def refusal(path):
    """The message that all functions refuse the file with."""
    messages = set()
    for function in (read_rgb, encode_upright, inspect):
        with pytest.raises(ImageError) as caught:
            function(path)
        messages.add(str(caught.value))
    (message,) = messages
    assert str(path) in message
    return message


def test_missing_file(tmp_path):
    assert "no such image file" in refusal(tmp_path / "absent.jpg")


def test_folder(tmp_path):
    assert "cannot read" in refusal(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    assert "empty (0 bytes)" in refusal(tmp_path / "a.jpg")


def test_text_file(tmp_path):
    (tmp_path / "a.jpg").write_text("<html>404 not found</html>")
    assert "convert it to JPEG or PNG" in refusal(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_truncated_file(tmp_path, name, kept):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = save(tmp_path / name, noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    assert "truncated or corrupt" in refusal(path)


def test_png_with_wrong_checksum(tmp_path):
    path = save(tmp_path / "a.png", picture())
    data = bytearray(path.read_bytes())
    data[-14] ^= 0xFF  # the checksum of the pixels, before the 12 bytes of the end chunk
    path.write_bytes(data)
    assert "truncated or corrupt" in refusal(path)


def test_too_many_pixels(tmp_path):
    (tmp_path / "a.png").write_bytes(png(8, 2, [], 20_000, 10_000))
    message = refusal(tmp_path / "a.png")
    assert "too large: Image size (200000000 pixels) exceeds limit of 178956970 pixels; " in message
    assert "scale it down" in message and "corrupt" not in message


def test_floating_point_image(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tif")
    assert "floating-point" in refusal(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["rgb.jpg", "gray.jpg", "rgb.png", "gray.png"])
def test_decoded_size(tmp_path, name):
    pixels = picture() if name.startswith("rgb") else picture()[..., 0]
    encoded = save(tmp_path / name, pixels).read_bytes()
    (size,) = tf.data.Dataset.from_tensors(encoded).map(decoded_size)
    assert size.dtype == tf.int32 and size.numpy().tolist() == [24, 40]


def test_size_of_a_jpeg_takes_its_header_only(tmp_path):
    encoded = save(tmp_path / "a.jpg", picture()).read_bytes()
    header = tf.constant(encoded[: encoded.index(b"\xff\xda") + 20])
    assert decoded_size(header).numpy().tolist() == [24, 40]
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(header)


def test_encode_png_is_lossless():
    for pixels in (picture(), picture()[..., 0]):
        decoded = np.asarray(Image.open(io.BytesIO(encode_png(pixels))))
        np.testing.assert_array_equal(decoded, pixels)


def test_decode_agrees_with_pillow_on_photographs(reference):
    for path in sorted((reference / "data/coco_mini/val2017").glob("*.jpg"))[:10]:
        assert encode_upright(path) == path.read_bytes()
        np.testing.assert_array_equal(decode(tf.io.read_file(str(path))), read_rgb(path))


@pytest.mark.parametrize("kind", ["grey.jpg", "rgb.jpg", "subsampled.jpg", "rgb.png", "grey.png"])
@pytest.mark.parametrize("window", [(0, 0, 37, 53), (5, 11, 20, 30), (36, 52, 1, 1)])
def test_a_window_is_that_part_of_the_picture(tmp_path, kind, window):
    # Smooth, as the colours of a subsampled JPEG are interpolated across the edge of the window.
    rows, columns = np.mgrid[0:37, 0:53]
    image = np.stack([3 * rows, 4 * columns, 2 * (rows + columns)], axis=-1).astype(np.uint8)
    options = {"subsampling": 2 if kind == "subsampled.jpg" else 0} if "jpg" in kind else {}
    path = save(tmp_path / kind, image[..., 0] if "grey" in kind else image, **options)
    top, left, height, width = window
    for fast in (False, True):
        whole = decode(path.read_bytes(), fast=fast).numpy().astype(int)
        found = decode_window(path.read_bytes(), tf.constant(window), fast=fast).numpy()
        assert found.shape == (height, width, 3) and found.dtype == np.uint8
        expected = whole[top : top + height, left : left + width]
        np.testing.assert_allclose(found.astype(int), expected, atol=2 if options else 0)


def test_fast_decoding_is_what_tensorflow_does_by_default(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    encoded = save(tmp_path / "noise.jpg", noise).read_bytes()
    fast = decode(encoded, fast=True).numpy()
    np.testing.assert_array_equal(fast, tf.io.decode_jpeg(encoded, channels=3))
    assert not np.array_equal(fast, decode(encoded))
