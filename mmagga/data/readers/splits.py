"""Who is trained on and who is tested: reading split files, and telling the published ones.

A set of splits is a list of `{"train": names, "test": names}`, the form of the public JSON files.
Ten splits of iLIDS-VID or PRID2011 are told by the SHA-256 of their content, whatever the spacing,
the order of the names, or the file format.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmagga.errors import DataError, MmaggaError

Split = dict[str, list[str]]
"""The names of the persons under "train" and under "test"."""

PUBLISHED = {
    "ilids_vid": "061b1de642e6afee80942cd2b1bc659515e1de5a7a6dcb49bbd158edbce30165",
    "prid2011": "93dd187cdd841159d29521beece8e124f1475e8633a83c17793925d0eee2ace2",
}
"""`fingerprint` of the ten published splits of a data set."""
PATTERN = {
    "ilids_vid": "86919f47a63c709af452c4384c0bb016c2da690ada11a2aaf1decf6a82604425",
    "prid2011": "7242e556f73b1095d40c0468bb731cd573ca56735e3429180f226e7596457aa1",
}
"""`pattern` of the same."""


def read_splits(path: Path) -> list[Split]:
    """Read a JSON list of {"train", "test"} name lists, each sorted.

    Raises DataError if the file is damaged or says something else.
    """
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(splits, list) or not splits:
            raise TypeError("it holds no list")
        return [
            {side: sorted(_names(split[side])) for side in ("train", "test")} for split in splits
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f'{path} is not a list of splits {{"train": [names], "test": [names]}} '
            f"({type(error).__name__}: {error}): copy the published file again"
        ) from error


def choose(dataset: str, splits: Sequence[Split], number: int, persons: Iterable[str]) -> Split:
    """Return split `number` after checking it against the person folders there are.

    Raises MmaggaError for a number out of range, DataError for a split that is empty, repeats a
    person, or names one without a folder. That nobody is on both sides, `make_tracklets` checks.
    """
    if not 0 <= number < len(splits):
        raise MmaggaError(f"{dataset} has splits 0 to {len(splits) - 1}, not {number}")
    split, where = splits[number], f"{dataset}, split {number}"
    for side in ("train", "test"):
        if not split[side]:
            raise DataError(f"{where}: no {side} persons")
        if len(set(split[side])) < len(split[side]):
            raise DataError(f"{where}: the {side} persons name somebody twice")
    unknown = sorted((set(split["train"]) | set(split["test"])) - set(persons))
    if unknown:
        raise DataError(
            f"{where}: {len(unknown)} persons have no folder in both cameras ({shorten(unknown)}): "
            "unpack the data set again, or take the split file that belongs to it"
        )
    return split


def only_split(dataset: str, number: int) -> None:
    """Raise MmaggaError unless `number` is 0: `dataset` has one split."""
    if number != 0:
        raise MmaggaError(f"{dataset} has one split, number 0, not {number}")


def origin(dataset: str, splits: Sequence[Split], source: str) -> str:
    """Return a sentence on whether `splits`, read from `source`, are the published ones.

    Drawing the published indices from an unsorted directory listing permutes the persons, on each
    machine in its own way: such splits have the published pattern under other names.
    """
    if fingerprint(splits) == PUBLISHED[dataset]:
        return f"splits: the published ones ({source})"
    if pattern(splits) == PATTERN[dataset]:
        return (
            f"splits: MACHINE-DEPENDENT ({source}): the published ones with the persons exchanged, "
            "as by code that numbers an unsorted folder; results are not comparable with others"
        )
    return (
        f"splits: FOREIGN ({source}): not the published ones; results compare only with their own"
    )


def fingerprint(content: Any) -> str:
    """Return the SHA-256 of plain data, written as JSON without spaces and with sorted keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def pattern(splits: Sequence[Split]) -> str:
    """Hash who is tested together how often, whatever the persons are called."""
    persons = {name for split in splits for side in ("train", "test") for name in split[side]}
    tested = [set(split["test"]) for split in splits]
    return fingerprint(sorted("".join("01"[name in test] for test in tested) for name in persons))


def shorten(items: Sequence[object], shown: int = 5) -> str:
    """Name the first few."""
    return ", ".join(map(str, items[:shown])) + (", …" if len(items) > shown else "")


def _names(names: Any) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError("persons are given as lists of names")
    return names
