"""Every frame is decoded once, before the first training step; training opens only what passed.

The index is one compressed file in a cache folder, never in the data set: for each frame its name,
bytes, times, hash, width, height, mode and fault. 1.2 million frames are about 45 MB.
"""

import hashlib
import os
import re
import tempfile
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pandas as pd

from mmagga.data.files.names import join_names, positions, refuse_escapes, split_names, used_frames
from mmagga.data.files.scanning import ROW, look_again, scan
from mmagga.data.tracklets import Tracklets
from mmagga.errors import DataError, ResourceError
from mmagga.system.files import commit, unwritable, write_csv

VERSION = 2
NAMED = 5
"""Bad frames that an error names; the whole list is in `bad.csv` beside the index."""


class _OutdatedError(DataError):
    """An index that is whole, but of other frames or of another version: `checked` makes it."""


@dataclass(frozen=True)
class Report:
    """What `check_frames` found. `print` it."""

    tracklets: Tracklets
    """What is left: all of it, or all but the bad frames and the tracklets they emptied."""
    path: Path
    """The index."""
    frames: int
    """Frames looked at."""
    bad: pd.DataFrame
    """One row a bad frame: name, kind."""
    dropped: tuple[int, ...]
    """Rows of the tracklets that had no good frame."""
    sizes: pd.Series
    """Good frames of each "width×height"."""
    modes: pd.Series
    """Good frames of each mode; all but RGB are converted, see `mmagga.data.files.decoding`."""

    def __str__(self) -> str:
        return (
            f"{self.tracklets.dataset}: {self.frames:,} frames checked, {len(self.bad):,} bad"
            f"{_counts(self.bad)}, {len(self.dropped)} tracklets left empty\n"
            f"sizes: {_top(self.sizes)}\nmodes: {_top(self.modes)}\nindex: {self.path}"
        )


def cache_dir(tracklets: Tracklets) -> Path:
    """Return the folder for what is derived from a data set: $MMAGGA_CACHE or ~/.cache/mmagga, ….

    One folder for each data set, root and set of names; subsets and splits share it.
    """
    root = tracklets.root.resolve()
    names = np.sort(tracklets.names, kind="stable")  # splits have orders of their own
    key = hashlib.sha256(os.fsencode(root) + b"\0" + join_names(names)).hexdigest()
    name = f"{re.sub(r'[^A-Za-z0-9._-]', '_', tracklets.dataset)}-{key[:12]}"
    base = _cache_base(name)
    if base.resolve().is_relative_to(root):
        raise DataError(f"the cache {base} is inside the data set {root}: set MMAGGA_CACHE")
    return base / name


def _cache_base(name: str) -> Path:
    """Return where caches lie: a folder of temporary files if the usual place cannot be used."""
    try:
        named = os.environ.get("MMAGGA_CACHE")
        usual = Path(named).expanduser() if named else Path.home() / ".cache" / "mmagga"
        if (usual / name / "index.npz").exists():
            return usual  # also where it may only be read
        reason = unwritable(usual / name)
        if reason is None:
            usual.mkdir(parents=True, exist_ok=True)
            return usual
    except (OSError, RuntimeError) as error:  # no home folder, or one of no ordinary kind
        reason = str(error)
    user = getattr(os, "getuid", lambda: "user")()
    temporary = Path(tempfile.gettempdir()) / f"mmagga-cache-{user}"
    warnings.warn(
        f"the cache folder cannot be used ({reason}): {temporary} is used, which may be emptied at "
        "any time. Set MMAGGA_CACHE to a writable folder",
        stacklevel=3,
    )
    return temporary


def check_frames(
    tracklets: Tracklets,
    *,
    workers: int | None = None,
    progress: bool = True,
    on_bad: Literal["error", "drop"] = "error",
) -> Report:
    """Decode every frame in `workers` processes (default: one a core) and write the index.

    Bad frames are listed in `cache_dir(tracklets)`/bad.csv. With "error" any of
    them is a DataError, which counts them by kind and names the first; with "drop" they are left
    out of their tracklets, whose persons and cameras stay as they are, and so are frames that the
    disk cannot read, for which "error" raises ResourceError.
    """
    folder = cache_dir(tracklets)
    used = used_frames(tracklets)
    names = tracklets.names[used]
    refuse_escapes(names)
    rows = scan(
        tracklets.root, names, decode=True, workers=workers, progress=progress,
        skip_io=on_bad == "drop",
    )  # fmt: skip
    bad = _bad_table(names, rows["kind"])
    path, listing = folder / "index.npz", folder / "bad.csv"
    write_csv(listing, bad)
    if len(bad) and (on_bad == "error" or len(bad) == len(names)):
        path.unlink(missing_ok=True)  # an older one would still call these frames good
        raise DataError(_complaint(bad, len(names), tracklets, listing))
    commit(path, lambda file: _save(file, names, rows))
    kept, dropped = _restrict(tracklets, used, rows["kind"], listing)
    good = pd.DataFrame({k: rows[k][rows["kind"] == b""] for k in ("width", "height", "mode")})
    sizes = good["width"].astype(str) + "×" + good["height"].astype(str)
    modes = good["mode"].str.decode("ascii")
    return Report(kept, path, len(names), bad, dropped, sizes.value_counts(), modes.value_counts())


def load_index(tracklets: Tracklets) -> Tracklets:
    """Restrict `tracklets` to the frames that `check_frames` found good; opens no frame.

    Raises DataError if there is no index, if it is damaged, names paths outside the root, or does
    not know some frame.
    """
    folder = cache_dir(tracklets)
    used = used_frames(tracklets)
    rows = _rows_of(tracklets.names[used], folder / "index.npz")
    return _restrict(tracklets, used, rows["kind"], folder / "bad.csv")[0]


def checked(tracklets: Tracklets, *, progress: bool = True, compare: bool = True) -> Tracklets:
    """Return what the index names, after checking new and changed files.

    Where there is no index of these frames yet, every frame is decoded. Else size and times of
    every frame are compared with the index. Those that differ are hashed, and decoded if their
    bytes are others: these are named in a warning and in `notes`, and the index has the new ones
    from then on. `compare=False` trusts the index.

    Raises DataError, see `check_frames`, if a frame is bad.
    """
    folder = cache_dir(tracklets)
    path, used = folder / "index.npz", used_frames(tracklets)
    names, note = tracklets.names[used], ""
    try:
        if not path.exists():
            raise _OutdatedError
        at, (known, rows) = _locate(names, path)
    except _OutdatedError:
        check_frames(tracklets, progress=progress)
        at, (known, rows) = _locate(names, path)
    else:
        if compare:
            fresh, note = _refresh(tracklets, names, rows[at], folder=folder, progress=progress)
            if fresh is not None:
                rows[at] = fresh
                _store(path, known, rows)
    kept, _ = _restrict(tracklets, used, rows["kind"][at], folder / "bad.csv")
    if kept.names is not tracklets.names:  # whose index is another: see `cache_dir`
        left = kept.names[used_frames(kept)]
        found = rows[at][pd.Index(names).get_indexer(pd.Index(left))]
        _store(cache_dir(kept) / "index.npz", left, found)
    return replace(kept, notes=(*kept.notes, note)) if note else kept


def _refresh(
    tracklets: Tracklets, names: np.ndarray, rows: np.ndarray, *, folder: Path, progress: bool
) -> tuple[np.ndarray | None, str]:
    """Look again at frames whose size or times differ: all records, if any is new, and a note."""
    differ = np.flatnonzero(look_again(tracklets.root, names, rows))
    if not len(differ):
        return None, ""
    scanned = partial(scan, tracklets.root, workers=None, progress=progress)
    fresh = scanned(names[differ], decode=False)
    good = (fresh["kind"] == b"") & (rows["kind"][differ] == b"")
    same = good & (fresh["hash"] == rows["hash"][differ]).all(axis=1)
    other = differ[~same]
    rows = rows.copy()
    for column in ("bytes", "mtime", "ctime"):
        rows[column][differ] = fresh[column]
    before = rows[other]
    if len(other):
        looked = scanned(names[other], decode=True)
        for column in ("bytes", "mtime", "ctime", "hash", "width", "height", "mode", "kind"):
            rows[column][other] = looked[column]
    spoilt = other[(rows["kind"][other] != b"") & (before["kind"] == b"")]
    if len(spoilt):
        bad, listing = _bad_table(names[spoilt], rows["kind"][spoilt]), folder / "bad.csv"
        write_csv(listing, bad)
        raise DataError(_complaint(bad, len(names), tracklets, listing))
    changed = other[(rows["hash"][other] != before["hash"]).any(axis=1)]
    if not len(changed):
        return rows, ""
    first = ", ".join(names[changed[:NAMED]])
    note = (
        f"{len(changed):,} of {len(names):,} frames of {tracklets.dataset} in {tracklets.root} "
        f"have changed since they were checked: {first}{', …' if len(changed) > NAMED else ''}. "
        "They were checked again; results from before are of other frames"
    )
    warnings.warn(note, stacklevel=4)
    return rows, note


def verify(tracklets: Tracklets, *, workers: int | None = None, progress: bool = True) -> int:
    """Compare every good frame with the hash in the index; return how many were compared.

    Finds bit rot that still decodes. Raises DataError, which names what is gone or has changed.
    """
    folder = cache_dir(tracklets)
    names = tracklets.names[used_frames(tracklets)]
    known = _rows_of(names, folder / "index.npz")
    names, known = names[known["kind"] == b""], known[known["kind"] == b""]
    rows = scan(tracklets.root, names, decode=False, workers=workers, progress=progress)
    changed = (rows["hash"] != known["hash"]).any(axis=1) & (rows["kind"] == b"")
    rows["kind"][changed] = b"changed"
    bad = _bad_table(names, rows["kind"])
    if len(bad):
        listing = folder / "changed.csv"
        write_csv(listing, bad)
        raise DataError(_complaint(bad, len(names), tracklets, listing))
    return len(names)


def fingerprints(tracklets: Tracklets) -> dict[str, str | None]:
    """Return two hashes: of frames' bytes ("data", None if they were never checked), and of who
    is in which split with which frames ("split"). Neither depends on where the data lie.
    """
    used = used_frames(tracklets)
    split = hashlib.blake2b(digest_size=12)
    columns = ["split", "pid", "camid", "first", "length"]
    split.update(tracklets.table[columns].to_csv(index=False).encode())
    split.update(join_names(tracklets.names[used]))
    hashes = known_hashes(tracklets)
    data = None if hashes is None else hashlib.blake2b(hashes.tobytes(), digest_size=12).hexdigest()
    return {"data": data, "split": split.hexdigest()}


def known_hashes(tracklets: Tracklets) -> np.ndarray | None:
    """Return the (n, 16) hashes of the frames used, sorted as in `names`; None without an index."""
    path = cache_dir(tracklets) / "index.npz"
    if not path.exists():
        return None
    return _rows_of(tracklets.names[used_frames(tracklets)], path)["hash"]


def read_index(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return (F,) names and (F,) records of an index: bytes, hash, width, height, mode, …."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            names, rows, version = split_names(file["names"]), file["rows"], int(file["version"])
    except FileNotFoundError as error:
        raise DataError(f"no index at {path}: run `python -m mmagga data check`") from error
    except Exception as error:  # on damaged files zipfile, zlib and NumPy raise nearly anything
        raise DataError(f"the index {path} is damaged ({error}): check the data again") from error
    if version != VERSION or rows.dtype != ROW or len(names) != len(rows):
        raise _OutdatedError(f"the index {path} is of another version: check the data again")
    refuse_escapes(names)
    return names, rows


def quality(tracklets: Tracklets) -> pd.DataFrame:
    """Count the frames of each finding, size and mode in the index, with their mean file size."""
    _, rows = read_index(cache_dir(tracklets) / "index.npz")
    table = pd.DataFrame(
        {
            "found": np.where(rows["kind"] == b"", b"good", rows["kind"]).astype(str),
            "width": rows["width"],
            "height": rows["height"],
            "mode": rows["mode"].astype(str),
            "kB": rows["bytes"] / 1000,
        }
    )
    groups = table.groupby(["found", "width", "height", "mode"])["kB"]
    return groups.agg(frames="size", mean_kB="mean").reset_index().round({"mean_kB": 1})


# --- tables -------------------------------------------------------------------------------------


def _rows_of(names: np.ndarray, path: Path) -> np.ndarray:
    at, (_, rows) = _locate(names, path)
    return rows[at]


def _locate(
    names: np.ndarray, path: Path
) -> tuple[slice | np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return where `names` are in an index, and what is in it, see `read_index`."""
    known, rows = read_index(path)
    if np.array_equal(names, known):  # the usual case, and seconds faster
        return slice(None), (known, rows)
    at = pd.Index(known).get_indexer(pd.Index(names))
    if (at < 0).any():
        missing = names[at < 0]
        raise _OutdatedError(
            f"the index {path} does not know {len(missing):,} of {len(names):,} frames, the first "
            f"is {missing[0]}: check the data again"
        )
    return at, (known, rows)


def _restrict(
    tracklets: Tracklets, used: np.ndarray, kinds: np.ndarray, listing: Path
) -> tuple[Tracklets, tuple[int, ...]]:
    """Leave out the bad ones of the frames `used`, and the tracklets that this empties."""
    if not (kinds != b"").any():
        return tracklets, ()
    number, row, _ = positions(tracklets)
    good = (kinds == b"")[np.searchsorted(used, number)]
    lengths = np.bincount(row[good], minlength=len(tracklets))
    dropped = tuple(np.flatnonzero(lengths == 0).tolist())
    table = tracklets.table.assign(first=np.cumsum(lengths) - lengths, length=lengths)
    bad = _bad_table(tracklets.names[used], kinds)
    note = f"{len(bad):,} bad frames left out{_counts(bad)}, listed in {listing}"
    if dropped:
        note += f"; tracklets left empty and dropped: {len(dropped)}"
    return replace(
        tracklets,
        table=table[lengths > 0].reset_index(drop=True),
        names=tracklets.names[number[good]],
        notes=(*tracklets.notes, note),
    ), dropped


def _store(path: Path, names: np.ndarray, rows: np.ndarray) -> None:
    """Write an index; a cache that may only be read stays as it is, and is looked at again."""
    with suppress(OSError, ResourceError):
        commit(path, lambda file: _save(file, names, rows))


def _save(file: BinaryIO, names: np.ndarray, rows: np.ndarray) -> None:
    joined = np.frombuffer(join_names(names), np.uint8)
    np.savez_compressed(file, version=VERSION, names=joined, rows=rows)


def _bad_table(names: np.ndarray, kinds: np.ndarray) -> pd.DataFrame:
    bad = kinds != b""
    return pd.DataFrame({"name": names[bad], "kind": np.char.decode(kinds[bad], "ascii")})


def _complaint(bad: pd.DataFrame, total: int, tracklets: Tracklets, listing: Path) -> str:
    first = ", ".join(f"{name} ({kind})" for name, kind in bad.head(NAMED).itertuples(index=False))
    return (
        f"{len(bad):,} of {total:,} frames of {tracklets.dataset} in {tracklets.root} are bad"
        f"{_counts(bad)}: {first}{', …' if len(bad) > NAMED else ''}; all are listed in {listing}. "
        "Copy them again, or leave them out: python -m mmagga data check --on-bad drop"
    )


def _counts(bad: pd.DataFrame) -> str:
    return f" ({_top(bad['kind'].value_counts())})" if len(bad) else ""


def _top(counts: pd.Series) -> str:
    shown = ", ".join(f"{count:,} {value}" for value, count in counts.head(8).items())
    return shown + (f", … {len(counts) - 8} more" if len(counts) > 8 else "")
