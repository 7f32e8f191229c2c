"""From frame files to pixels: one decoder and one set of rules, for training and test alike.

| found                       | given                                                        |
|-----------------------------|--------------------------------------------------------------|
| RGB, grey, palette, CMYK    | RGB as Pillow converts it                                    |
| transparency                | composited on `BACKGROUND`, as dark as the border of a crop  |
| 16-bit samples              | their high byte, so that full scale stays full scale         |
| EXIF orientation            | applied                                                      |
| another size than asked for | resized bilinearly with antialiasing, as torchvision does it |
| anything else               | `BadFrame`: it names the file, what was found, what to do    |

JPEG draft mode would be faster, but gives other pixels; nothing here uses it.
"""

import errno
import hashlib
import os
import stat
import time
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmagga.errors import DataError
from mmagga.system.shortage import shortage

FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP")
"""Detected from the content. Pillow's other readers are disabled: EPS, for one, runs a program."""
SMALLEST, LARGEST = 8, 4096
"""Pixels a side that a frame may have."""
BACKGROUND = (0, 0, 0)
"""What shows through transparent pixels."""
LARGEST_FILE = 2 * 4 * LARGEST**2
"""Bytes: the largest picture allowed, uncompressed, in 16 bit with alpha."""

_EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}
_RETRY_SECONDS = (0.05, 0.2, 0.8)
_ORIENTATION = 0x0112


class BadFrame(DataError):
    """A frame that cannot be used; `kind` is what reports count."""

    def __init__(self, message: str, kind: str = "damaged") -> None:
        super().__init__(message)
        self.kind = kind


def decode(
    source: str | Path | bytes, size: tuple[int, int] | None = None, *, name: str = "bytes"
) -> np.ndarray:
    """Return a frame, from a file or its content, as (H, W, 3) uint8 RGB; see the module's table.

    `size` is (H, W); None keeps the frame's own. `name` stands for the content in errors.
    Raises BadFrame, a DataError.
    """
    if isinstance(source, bytes):
        return to_pixels(open_image(source, name), size, name)
    return to_pixels(open_image(read_bytes(source), source), size, source)


def read_bytes(path: str | Path) -> bytes:
    """Read a frame file. An I/O error is tried again three times, everything else fails at once."""
    for wait in (*_RETRY_SECONDS, None):
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or pipe"
                raise _bad(path, "not a file", f"is {kind}, expected an image file")
            if status.st_size == 0:
                raise _bad(path, "empty", "has 0 bytes")
            if status.st_size > LARGEST_FILE:
                raise _bad(path, "size", f"has {status.st_size:,} bytes, more than any frame")
            with open(path, "rb", buffering=0) as file:
                return file.read()
        except FileNotFoundError as error:
            raise _bad(path, "missing", "does not exist") from error
        except OSError as error:
            error.filename = str(path)
            if (short := shortage(error)) is None:
                raise _bad(path, "unreadable", f"cannot be read ({error.strerror})") from error
            if error.errno != errno.EIO or wait is None:
                raise short from error  # the machine's fault: the frame may be whole
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def file_hash(content: bytes) -> np.ndarray:
    """Return the (16,) uint8 BLAKE2b of a frame file's content, as the index keeps it."""
    return np.frombuffer(hashlib.blake2b(content, digest_size=16).digest(), np.uint8)


def open_image(data: bytes, name: str | Path) -> Image.Image:
    """Read the header of a frame and check its size and mode, before any pixel is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        found = f"starts with {data[:12]!r}, which is none of {', '.join(FORMATS)}"
        raise _bad(name, "not an image", found) from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _bad(name, "size", f"is too large ({error})") from error
    except MemoryError:
        raise
    except Exception as error:  # on damaged files Pillow's readers raise nearly anything
        raise _bad(name, "damaged", f"has a damaged header ({error})") from error
    if min(image.size) < SMALLEST or max(image.size) > LARGEST:
        found = f"is {image.width}×{image.height} pixels; {SMALLEST} to {LARGEST} a side are usable"
        raise _bad(name, "size", found)
    if image.mode not in _EIGHT_BIT and not image.mode.startswith("I;16"):
        raise _bad(name, "mode", f"has pixels of mode {image.mode}, expected 8 or 16 bit")
    return image


def to_pixels(image: Image.Image, size: tuple[int, int] | None, name: str | Path) -> np.ndarray:
    """Decode an opened frame fully: (H, W, 3) uint8 RGB of `size`, or of its own if None."""
    try:
        image.load()
        if image.getexif().get(_ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(image)
        image = _to_rgb(image)
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise _bad(name, "damaged", f"is damaged ({error})") from error
    if size is not None and image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.array(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, BACKGROUND)
        image = Image.alpha_composite(opaque, image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _bad(name: str | Path, kind: str, found: str) -> BadFrame:
    remedy = "Copy it again, or leave bad frames out: python -m mmagga data check --on-bad drop"
    return BadFrame(f"{name} {found}. {remedy}", kind)
