"""Golden pixels for each kind of file, and the right words for each damaged one."""

import errno
import io
import multiprocessing
import os
import pickle
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmagga.data import frames
from mmagga.data.files import decoding
from mmagga.data.files.decoding import BadFrame, decode
from mmagga.data.frames import open_frames
from mmagga.data.tracklets import Tracklets, make_tracklets
from mmagga.errors import DataError, ResourceError

SIDE = 16


def picture(seed: int, size: tuple[int, int] = (64, 32)) -> Image.Image:
    """Smooth noise, so that JPEG has something to code."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 4, 3), np.uint8)
    return Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def small_set(root: Path, lengths: tuple[int, ...] = (3, 1, 5)) -> Tracklets:
    """Tracklet i is person i + 1; its folder's name has a blank, brackets and Chinese letters."""
    rows, names = [], []
    for i, length in enumerate(lengths):
        rows.append(("train", i + 1, 1 + i % 2, len(names), length))
        names += [f"行人 #{i} [a]/{k:03}.jpg" for k in range(length)]
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(root / name, quality=90)
    return make_tracklets("small", root, rows, names)


def png(width: int, height: int, depth: int, rows: bytes) -> bytes:
    """Write an RGB file by hand, for what Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _make_bad_files() -> dict[str, tuple[bytes | str, str, str]]:
    """Name -> content or "missing", "folder", "pipe"; kind; what the message says."""
    jpeg, whole = encoded(picture(0), "JPEG"), encoded(picture(0), "PNG")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    large = encoded(Image.new("L", (5000, 8)), "PNG")
    return {
        "truncated.jpg": (jpeg[:-60], "damaged", "is damaged (image file is truncated"),
        "truncated.png": (whole[: len(whole) // 2], "damaged", "truncated"),
        "header only.jpg": (jpeg[:30], "damaged", "damaged"),
        "flipped.png": (bytes(flipped), "damaged", "is damaged"),
        "empty.jpg": (b"", "empty", "has 0 bytes"),
        "page.jpg": (b"<!DOCTYPE html><h1>404", "not an image", "starts with b'<!DOCTYPE ht'"),
        "program.jpg": (encoded(picture(0), "EPS"), "not an image", "starts with b'%!PS-Adobe"),
        "missing.jpg": ("missing", "missing", "does not exist"),
        "folder.jpg": ("folder", "not a file", "is a folder"),
        "pipe.jpg": ("pipe", "not a file", "is a device or pipe"),
        "bomb.png": (png(30_000, 30_000, 8, bytes(64)), "size", "is too large"),
        "lesser bomb.png": (png(10_000, 10_000, 8, bytes(64)), "size", "is too large"),
        "one pixel.png": (encoded(Image.new("RGB", (1, 1)), "PNG"), "size", "is 1×1 pixels"),
        "long.png": (large, "size", "is 5000×8 pixels; 8 to 4096 a side"),
        "float.tif": (encoded(Image.new("F", (16, 16)), "TIFF"), "mode", "of mode F"),
    }


BAD = _make_bad_files()


def write_bad(path: Path, content: bytes | str) -> None:
    if content == "folder":
        path.mkdir()
    elif content == "pipe":
        os.mkfifo(path)
    elif content != "missing":
        path.write_bytes(content)


# --- pixels -------------------------------------------------------------------------------------


def flat(mode: str, value: int | tuple) -> Image.Image:
    return Image.new(mode, (SIDE, SIDE), value)


def with_palette(**info) -> Image.Image:
    image = flat("P", 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.info.update(info)
    return image


def sixteen_bit_colour() -> bytes:
    row = b"\0" + struct.pack(">HHH", 0xABCD, 0xFFFF, 0x01FF) * SIDE
    return png(SIDE, SIDE, 16, row * SIDE)


GOLDEN = {
    "grey": (encoded(flat("L", 77), "PNG"), (77, 77, 77)),
    "one bit": (encoded(flat("1", 1), "PNG"), (255, 255, 255)),
    "palette": (encoded(with_palette(), "PNG"), (10, 20, 30)),
    "palette, transparent": (encoded(with_palette(transparency=1), "PNG"), (0, 0, 0)),
    "palette, half": (encoded(with_palette(transparency=b"\xff\x80"), "PNG"), (5, 10, 15)),
    "grey with alpha": (encoded(flat("LA", (200, 128)), "PNG"), (100, 100, 100)),
    "alpha": (encoded(flat("RGBA", (255, 100, 0, 51)), "PNG"), (51, 20, 0)),
    "colour key": (encoded(flat("RGB", (9, 9, 9)), "PNG", transparency=(9, 9, 9)), (0, 0, 0)),
    "CMYK": (encoded(flat("CMYK", (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
    "CMYK, JPEG": (encoded(flat("CMYK", (0, 255, 255, 0)), "JPEG", quality=100), (255, 0, 0)),
    "16 bit": (encoded(flat("I;16", 0xABCD), "PNG"), (0xAB, 0xAB, 0xAB)),
    "16 bit, white": (encoded(flat("I;16", 0xFFFF), "TIFF"), (255, 255, 255)),
    "16 bit colour": (sixteen_bit_colour(), (0xAB, 0xFF, 0x01)),
    "WebP": (encoded(flat("RGB", (1, 2, 3)), "WEBP", lossless=True), (1, 2, 3)),
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_golden_pixels(tmp_path, kind):
    content, colour = GOLDEN[kind]
    path = tmp_path / "its name says.jpg"
    path.write_bytes(content)
    pixels = decode(path)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (SIDE, SIDE, 3)
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [list(colour)]
    np.testing.assert_array_equal(decode(content), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(kind, orientation):
    upright = np.asarray(picture(1, (32, 16)))
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif)
    np.testing.assert_array_equal(decode(content), upright)


@pytest.mark.parametrize("size", [(64, 32), (128, 64), (40, 16), (64, 64)])
def test_resize_is_torchvisions(size):
    from torchvision.transforms import Resize

    content = encoded(picture(2), "JPEG")
    expected = Resize(size)(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(decode(content, size), np.asarray(expected))


# --- damaged files ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_at_once_in_plain_words(tmp_path, name):
    content, kind, words = BAD[name]
    write_bad(tmp_path / name, content)
    start = time.monotonic()
    with pytest.raises(DataError) as raised:
        decode(tmp_path / name, (64, 32))
    assert time.monotonic() - start < 1
    assert isinstance(raised.value, BadFrame)
    assert raised.value.kind == kind
    assert raised.value.code == 3
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / name} ")
    assert words in message
    assert "Copy it again" in message
    assert "\n" not in message


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_file_cut_anywhere_is_whole_or_refused(kind):
    content = encoded(picture(3), kind)
    whole = decode(content)
    for end in range(0, len(content), 1 if kind == "JPEG" else 11):
        try:
            pixels = decode(content[:end])
        except BadFrame:
            continue
        np.testing.assert_array_equal(pixels, whole, err_msg=f"cut at {end} of {len(content)}")


@pytest.mark.parametrize(
    ("failures", "code", "tries"), [(3, "EIO", 4), (9, "EIO", 4), (9, "EACCES", 1)]
)
def test_only_an_io_error_is_tried_again_three_times(tmp_path, monkeypatch, failures, code, tries):
    path = tmp_path / "a.png"
    picture(0).save(path)
    attempts = []

    def flaky(*arguments, **options):
        attempts.append(1)
        if len(attempts) <= failures:
            raise OSError(getattr(errno, code), "no luck")
        return open(*arguments, **options)

    monkeypatch.setattr(decoding, "open", flaky, raising=False)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    if failures < tries:
        decode(path)
    else:
        error, told = (
            (ResourceError, "no luck at .*a.png: the disk")
            if code == "EIO"
            else (BadFrame, "a.png cannot be read \\(no luck\\)")
        )
        with pytest.raises(error, match=told):
            decode(path)
    assert len(attempts) == tries


def test_a_bad_frame_survives_pickling():
    error = pickle.loads(pickle.dumps(BadFrame("a.jpg is gone", "missing")))
    assert (str(error), error.kind) == ("a.jpg is gone", "missing")
    assert str(BadFrame("one argument, as torch's workers pass it")).startswith("one")


# --- reading tracklets --------------------------------------------------------------------------


def test_read_gives_the_frames_asked_for(tmp_path):
    tracklets = small_set(tmp_path)
    reader = open_frames(tracklets, (64, 32))
    clip = reader.read(2, [4, 0, 4, 1])
    assert clip.shape == (4, 64, 32, 3)
    expected = [decode(tracklets.frames(2)[k], (64, 32)) for k in (4, 0, 4, 1)]
    np.testing.assert_array_equal(clip, expected)
    np.testing.assert_array_equal(
        open_frames(tracklets.subset([2]), (64, 32)).read(0, [4, 0, 4, 1]), expected
    )


def test_a_frame_that_repeats_is_decoded_once(tmp_path, monkeypatch):
    reader = open_frames(small_set(tmp_path), (64, 32))
    calls = []
    monkeypatch.setattr(frames, "decode", lambda *a: calls.append(a) or np.zeros((64, 32, 3)))
    assert len(reader.read(1, [0] * 8)) == 8
    assert len(calls) == 1


@pytest.mark.parametrize("positions", [[3], [-1], [0, 7]])
def test_positions_outside_the_tracklet_are_refused(tmp_path, positions):
    reader = open_frames(small_set(tmp_path), (64, 32))
    with pytest.raises(IndexError, match="tracklet 0 has frames 0 to 2"):
        reader.read(0, positions)


def test_a_spawned_process_reads_the_same(tmp_path):
    reader = open_frames(small_set(tmp_path), (64, 32))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(reader.read, (2, [0, 3])), reader.read(2, [0, 3]))
