"""The four layouts: which tracklets a set of each kind has, how its files are named, its tables.

    mars        bbox_{train,test}/0001/0001C1T0001F001.jpg
    ilids_vid   i-LIDS-VID/sequences/cam{1,2}/person001/cam1_person001_00001.png
    prid2011    prid_2011/multi_shot/cam_{a,b}/person_0001/0001.png
    duke_video  DukeMTMC-VideoReID/{train,query,gallery}/0001/0001/0001_C1_F0001_X00001.jpg

The layouts with two cameras have every person once in each and leave it to ten splits, drawn from
the seed, who is trained on: no distractors, no junk, half of the persons tested.
"""

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.io import savemat

from mmagga.data.synthetic.dice import Dice
from mmagga.data.synthetic.plan import SyntheticSpec, TrackletPlan, plans

SPLITS = 10
"""Of the sets with two cameras."""


class Layout(NamedTuple):
    """How the files of a data set are named, and what its reader wants besides frames."""

    plans: Callable[[SyntheticSpec], Iterator[TrackletPlan]]
    place: Callable[[TrackletPlan, int], str]
    """Path of a frame, counted from 0, below the root, without its extension."""
    suffix: str
    """Extension of the frames; masks are always .png."""
    write_tables: Callable[[Path, SyntheticSpec], None]
    """Writes, below a root, what says who is trained on and who is searched for."""
    fixed: dict[str, Any]
    """Fields of the spec that leave no choice here."""


# ---- MARS --------------------------------------------------------------------------------------


def _mars_place(plan: TrackletPlan, t: int) -> str:
    return f"bbox_{plan.split}/{plan.folder}/{plan.stem(t)}"


def _mars_tables(root: Path, spec: SyntheticSpec) -> None:
    """Write the name lists; rows of first, last (from 1), person, camera; the rows of queries."""
    queries: list[int] = []
    for split in ("train", "test"):
        rows, last = [], 0
        with (root / f"info/{split}_name.txt").open("w", encoding="utf-8", newline="\n") as names:
            for plan in (plan for plan in plans(spec) if plan.split == split):
                rows.append((last + 1, last + plan.frames, plan.pid, plan.camid))
                last += plan.frames
                names.writelines(f"{plan.stem(t)}.jpg\n" for t in range(plan.frames))
                if plan.query:
                    queries.append(len(rows))
        table = np.array(rows, np.int32).reshape(-1, 4)
        _savemat(root / f"info/tracks_{split}_info.mat", f"track_{split}_info", table)
    fits = len(rows) <= np.iinfo(np.uint16).max
    index = np.array([queries], np.uint16 if fits else np.uint32)
    _savemat(root / "info/query_IDX.mat", "query_IDX", index)


# ---- two cameras -------------------------------------------------------------------------------

_TWO_CAMERAS = {"cameras": 2, "tracklets": (2, 2), "distractors": 0, "junk": 0}


def _pairs(spec: SyntheticSpec) -> Iterator[TrackletPlan]:
    """Plan as ever: two tracklets in two cameras are one in each. Who is tested, splits say."""
    for plan in plans(spec):
        yield plan._replace(split="all", index=plan.pid - 1, query=False)


def _draw_splits(spec: SyntheticSpec) -> list[list[int]]:
    """Draw ten orders of all persons; the first half of each is for testing."""
    persons = range(1, spec.train_ids + spec.test_ids + 1)
    return [Dice(spec.seed, "split", k).sample(persons, len(persons)) for k in range(SPLITS)]


def _ilids_place(plan: TrackletPlan, t: int) -> str:
    camera, person = f"cam{plan.camid}", f"person{plan.pid:03d}"
    return f"i-LIDS-VID/sequences/{camera}/{person}/{camera}_{person}_{t + 1:05d}"


def _ilids_splits(root: Path, spec: SyntheticSpec) -> None:
    path = root / "train-test people splits/train_test_splits_ilidsvid.mat"
    path.parent.mkdir()
    _savemat(path, "ls_set", np.array(_draw_splits(spec), np.uint16))


def _prid_place(plan: TrackletPlan, t: int) -> str:
    camera = "ab"[plan.camid - 1]
    return f"prid_2011/multi_shot/cam_{camera}/person_{plan.pid:04d}/{t + 1:04d}"


def _prid_splits(root: Path, spec: SyntheticSpec) -> None:
    splits = []
    for order in _draw_splits(spec):
        names, half = [f"person_{pid:04d}" for pid in order], len(order) // 2
        splits.append({"train": sorted(names[half:]), "test": sorted(names[:half])})
    (root / "splits_prid2011.json").write_bytes((json.dumps(splits) + "\n").encode())


# ---- DukeMTMC-VideoReID ------------------------------------------------------------------------


def _duke(spec: SyntheticSpec) -> Iterator[TrackletPlan]:
    """Ask once for each person; distractors have ids of their own, as persons nobody asks for."""
    known = spec.train_ids + spec.test_ids
    if known + spec.distractors > 9999:
        raise ValueError(f"duke_video numbers persons and distractors, to 9999 in all: {spec}")
    for pid, group in groupby(plans(spec), key=lambda plan: plan.pid):
        person = list(group)
        if pid == 0:
            for i, plan in enumerate(person):
                yield plan._replace(index=spec.test_ids + i, pid=known + i + 1, number=1)
            continue
        asked = next((plan for plan in person if plan.query), None)
        for number, plan in enumerate(person, start=1):
            yield plan._replace(number=number, query=plan is asked)


def _duke_place(plan: TrackletPlan, t: int) -> str:
    side = "train" if plan.split == "train" else "query" if plan.query else "gallery"
    person = f"{plan.pid:04d}"
    # as in the true set, a frame is every twelfth of its video
    stem = f"{person}_C{plan.camid}_F{t + 1:04d}_X{12 * t + 1:05d}"
    return f"DukeMTMC-VideoReID/{side}/{person}/{plan.number:04d}/{stem}"


def _no_tables(root: Path, spec: SyntheticSpec) -> None:
    """Write nothing: the folders say it all."""


LAYOUTS = {
    "mars": Layout(plans, _mars_place, ".jpg", _mars_tables, {}),
    "ilids_vid": Layout(_pairs, _ilids_place, ".png", _ilids_splits, _TWO_CAMERAS),
    "prid2011": Layout(_pairs, _prid_place, ".png", _prid_splits, _TWO_CAMERAS),
    "duke_video": Layout(_duke, _duke_place, ".jpg", _no_tables, {"junk": 0}),
}
"""By the name of the data set that they belong to."""


def _savemat(path: Path, name: str, values: np.ndarray) -> None:
    """Write a MATLAB file without the date that SciPy puts into its header."""
    buffer = BytesIO()
    savemat(buffer, {name: values})
    header = b"MATLAB 5.0 MAT-file, written by mmagga"
    path.write_bytes(header.ljust(116) + buffer.getvalue()[116:])
