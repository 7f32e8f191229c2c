"""Delimited text as trackers and spreadsheets write it, also packed: fields with their lines."""

import codecs
import csv
import gzip
import io
import re
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mmagga.errors import DataError

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?")
_COMMENTED_HEADER = re.compile('^\\s*#\\s*(?="?frame)', re.IGNORECASE)
_OTHER_PACKERS = (b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd")
_SAMPLE = 20
"""Lines that the separator is chosen by."""


class Line(NamedTuple):
    """The fields of one line of a file, without blanks around them."""

    number: int
    """From 1."""
    fields: list[str]


def read_lines(path: Path) -> list[Line]:
    """Read the lines of a text file, split at tabs, semicolons, commas or blanks.

    The file may be packed by gzip or zip, have a byte order mark and any line ends, quote its
    fields and end its lines with a separator. Empty lines and comments (`#`) are left out.

    Raises DataError for what is no text, or cannot be unpacked or split.
    """
    lines = re.split(r"\r\n|\r|\n", _decode(path, _unpack(path)))
    lines = [_COMMENTED_HEADER.sub("", line) for line in lines]
    kept = [(number, line) for number, line in enumerate(lines, start=1) if _says_something(line)]
    separator = _separator([line for _, line in kept])
    found = (Line(number, _split(path, number, line, separator)) for number, line in kept)
    return [line for line in found if line.fields]


def to_number(field: str) -> float | None:
    """Read a number with a decimal point or a decimal comma; None for anything else."""
    return float(field.replace(",", ".")) if _NUMBER.fullmatch(field) else None


def _unpack(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    try:
        if data.startswith(b"\x1f\x8b"):
            return gzip.decompress(data)
        if data.startswith(b"PK\x03\x04"):
            return _only_member(path, data)
    except (OSError, EOFError, RuntimeError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be unpacked ({error}): copy it again") from error
    if data.startswith(_OTHER_PACKERS):
        raise DataError(f"{path} is packed, neither by gzip nor by zip: unpack it")
    return data


def _only_member(path: Path, data: bytes) -> bytes:
    """Read the one file in a zip archive; what macOS adds to archives does not count."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        names = [name for name in names if not name.startswith("__MACOSX/")]
        names = [name for name in names if not PurePosixPath(name).name.startswith(".")]
        if len(names) != 1:
            raise DataError(f"{path} holds {len(names)} files, expected one: unpack it")
        return archive.read(names[0])


def _decode(path: Path, data: bytes) -> str:
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line} is not text in UTF-8: save the file as UTF-8"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{path}, line {line} is not text in UTF-8: save the file as UTF-8")
    return text


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _separator(lines: list[str]) -> str | None:
    """Choose the separator by the first lines that begin with a number; None for blanks."""
    numeric = [line for line in lines if line.lstrip(' "')[:1].isdigit()]
    sample = (numeric or lines)[:_SAMPLE]
    for separator in "\t;":
        if sum(separator in line for line in sample) * 2 > len(sample):
            return separator
    # Between blanks a comma is a decimal one, so that what stands before it has blanks in it.
    starts = [line.strip().split(",")[:3] for line in sample]
    if any(len(re.split(r"\s+", field.strip())) > 1 for start in starts for field in start):
        return "," if not numeric else None
    return "," if any(len(start) > 1 for start in starts) else None


def _split(path: Path, number: int, line: str, separator: str | None) -> list[str]:
    if separator is None:
        fields = line.replace('"', "").split()
    else:
        try:
            fields = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
        except csv.Error as error:
            raise DataError(f"{path}, line {number} cannot be split: {error}") from error
    fields = [field.strip() for field in fields]
    while fields and not fields[-1]:
        fields.pop()
    return fields
