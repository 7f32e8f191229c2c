"""Tiny data sets in their true layouts. Every frame is the same small JPEG or PNG, but real."""

import json
import os
from collections.abc import Iterable, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image
from scipy.io import savemat

from mmagga.data.readers import splits

Track = tuple[int, int, int]  # person, camera, frames


@cache
def picture(form: str, size: tuple[int, int] = (16, 32)) -> bytes:
    stream = BytesIO()
    Image.new("RGB", size, (90, 120, 150)).save(stream, form)
    return stream.getvalue()


def write_frames(folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(picture("PNG" if name.endswith("png") else "JPEG"))


# --- MARS ---------------------------------------------------------------------------------------

MARS_TRAIN: list[Track] = [(1, 1, 3), (1, 2, 2), (3, 1, 4), (3, 6, 1)]
MARS_TEST: list[Track] = [
    (-1, 1, 2),
    (-1, 3, 1),
    (0, 2, 3),
    (2, 1, 2),
    (2, 1, 5),
    (2, 4, 3),
    (4, 5, 2),
    (4, 6, 2),
]
MARS_QUERIES = [4, 7]  # rows of MARS_TEST, from 1


def mars(
    root: Path,
    train: Sequence[Track] = MARS_TRAIN,
    test: Sequence[Track] = MARS_TEST,
    queries: Sequence[int] = MARS_QUERIES,
) -> Path:
    (root / "info").mkdir(parents=True)
    for side, tracks in (("train", train), ("test", test)):
        names, table = mars_names(tracks)
        (root / f"info/{side}_name.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            write_frames(root / f"bbox_{side}" / name[:4], [name])
        savemat(
            root / f"info/tracks_{side}_info.mat", {f"track_{side}_info": table.astype(np.int32)}
        )
    savemat(root / "info/query_IDX.mat", {"query_IDX": np.array([queries], np.uint16)})
    return root


def mars_names(tracks: Iterable[Track]) -> tuple[list[str], np.ndarray]:
    """Name the frames of tracklets (person, camera, frames) and give the table's four columns."""
    names: list[str] = []
    table, counts = [], {}
    for person, camera, frames in tracks:
        number = counts[person] = counts.get(person, 0) + 1
        prefix = f"{person:04d}" if person >= 0 else "00-1"
        table.append((len(names) + 1, len(names) + frames, person, camera))
        names += [f"{prefix}C{camera}T{number:04d}F{f:03d}.jpg" for f in range(1, frames + 1)]
    return names, np.array(table)


def mars_from_tables(root: Path, info: Path) -> Path:
    """Lay out MARS without its pictures: the real tables, and name lists built from their rows."""
    from scipy.io import loadmat

    (root / "info").mkdir(parents=True)
    for table in info.glob("*.mat"):
        (root / "info" / table.name).write_bytes(table.read_bytes())
    for side in ("train", "test"):
        rows = loadmat(info / f"tracks_{side}_info.mat")[f"track_{side}_info"].astype(int).tolist()
        names, _ = mars_names((pid, camera, last - first + 1) for first, last, pid, camera in rows)
        (root / f"info/{side}_name.txt").write_text("\n".join(names) + "\n")
        for person in {name[:4] for name in names}:
            (root / f"bbox_{side}" / person).mkdir(parents=True)
    return root


def mars_from_counts(root: Path, counts: dict[str, dict[str, list[int]]]) -> Path:
    """Lay out MARS without pictures from its tracklets a person and camera, two frames each.

    `counts` has "train", "test" and "queries": for each person the tracklets in each camera.
    """
    (root / "info").mkdir(parents=True)
    queries = []
    for side in ("train", "test"):
        tracks = []
        for person, cameras in counts[side].items():
            for camera, number in enumerate(cameras, start=1):
                asked = counts["queries"].get(person, [0] * 6)[camera - 1] * (side == "test")
                queries += range(len(tracks) + 1, len(tracks) + asked + 1)
                tracks += [(int(person), camera, 2)] * number
            (root / f"bbox_{side}" / f"{int(person):04d}").mkdir(parents=True)
        names, table = mars_names(tracks)
        (root / f"info/{side}_name.txt").write_text("\n".join(names), encoding="utf-8")
        savemat(root / f"info/tracks_{side}_info.mat", {f"track_{side}_info": table})
    savemat(root / "info/query_IDX.mat", {"query_IDX": np.array([queries], np.uint16)})
    return root


# --- two cameras --------------------------------------------------------------------------------


def two_cameras(folders: Sequence[Path], persons: Iterable[str], name: str, frames: int) -> None:
    """Write folder/person/frame for both cameras; `name` is a format of camera, person, frame."""
    for person in persons:
        for camera, folder in enumerate(folders, start=1):
            names = [name.format(camera=camera, person=person, frame=f + 1) for f in range(frames)]
            write_frames(folder / person, names)


def prid2011(root: Path, persons: int = 6, frames: int = 3, splits: list | None = None) -> Path:
    names = [f"person_{i:04d}" for i in range(1, persons + 1)]
    shots = root / "prid_2011/multi_shot"
    two_cameras([shots / "cam_a", shots / "cam_b"], names, "{frame:04d}.png", frames)
    if splits is None:
        splits = [
            {"train": names[: persons // 2], "test": names[persons // 2 :]} for _ in range(10)
        ]
    (root / "splits_prid2011.json").write_text(json.dumps(splits))
    return root


def ilids_vid(root: Path, persons: int = 6, frames: int = 3, rows: list | None = None) -> Path:
    names = ilids_persons(persons)
    shots = root / "i-LIDS-VID/sequences"
    form = "cam{camera}_{person}_{frame:05d}.png"
    two_cameras([shots / "cam1", shots / "cam2"], names, form, frames)
    if rows is None:
        rows = [np.roll(np.arange(1, persons + 1), i) for i in range(10)]
    folder = root / "train-test people splits"
    folder.mkdir()
    savemat(folder / "train_test_splits_ilidsvid.mat", {"ls_set": np.array(rows, np.uint16)})
    return root


def ilids_persons(persons: int) -> list[str]:
    """Number persons with holes, as the real folders are."""
    return [f"person{i + i // 4:03d}" for i in range(1, persons + 1)]


def publish(monkeypatch, dataset: str, persons: list[str], train: int) -> list[splits.Split]:
    """Draw ten splits, and let the readers take them for the published ones of `dataset`."""
    drawn = [Random(number).sample(persons, len(persons)) for number in range(10)]
    made = [{"train": sorted(p[:train]), "test": sorted(p[train:])} for p in drawn]
    monkeypatch.setitem(splits.PUBLISHED, dataset, splits.fingerprint(made))
    monkeypatch.setitem(splits.PATTERN, dataset, splits.pattern(made))
    return made


# --- DukeMTMC-VideoReID -------------------------------------------------------------------------

DUKE: dict[str, list[Track]] = {
    "train": [(1, 2, 3), (1, 5, 2)],
    "query": [(3, 1, 2)],
    "gallery": [(3, 6, 12), (9, 8, 1)],
}


def duke_video(root: Path, form: str = "{person:04d}_C{camera}_F{frame:04d}_X{x:05d}.jpg") -> Path:
    for side, tracks in DUKE.items():
        for number, (person, camera, frames) in enumerate(tracks, start=1):
            folder = root / "DukeMTMC-VideoReID" / side / f"{person:04d}" / f"{number:04d}"
            names = [
                form.format(person=person, camera=camera, frame=f, x=30000 + 12 * f)
                for f in range(2, frames + 2)
            ]
            write_frames(folder, names)
    return root


# --- what tests share ---------------------------------------------------------------------------


def shuffle_listings(monkeypatch, seed: int) -> None:
    """Make every way of listing a folder give another order, as another machine would."""
    random = Random(seed)

    class Shuffled(list):
        def __init__(self, items):
            items = list(items)
            super().__init__(random.sample(items, len(items)))

        def __enter__(self):
            return iter(self)

        def __exit__(self, *_):
            pass

    for owner, name in ((os, "listdir"), (os, "scandir"), (Path, "iterdir"), (Path, "glob")):
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, original=original: Shuffled(original(*args)))


def rows(tracklets) -> list[tuple]:
    """Give (split, person, camera, frame names) of each tracklet."""
    return [
        (
            row.split,
            row.pid,
            row.camid,
            tracklets.names[row.first : row.first + row.length].tolist(),
        )
        for row in tracklets.table.itertuples()
    ]
