"""Everything in info/: MARS's name lists and tables, and what is true about the frames."""

import csv
import hashlib
import json
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.io import savemat

from mmagga.data.synthetic.cameras import CAMERAS
from mmagga.data.synthetic.labels import LABELS
from mmagga.data.synthetic.people import identity
from mmagga.data.synthetic.plan import SyntheticSpec, TrackletPlan

RENDERER = 1
"""Goes up when the pixels change; data sets of another version are not taken for this one's."""


_COLUMNS = (
    *("split", "row", "pid", "camid", "tracklet", "frames", "query"),
    *("direction", "obstacle", "occluded"),
)


class Written(NamedTuple):
    """What is known about one tracklet once it is on the disk."""

    plan: TrackletPlan
    pixels: bytes
    """SHA-256 of frames and masks before they were encoded."""
    files: bytes
    """SHA-256 of the encoded files."""
    occluded: list[float]
    cut: list[str]
    direction: str
    obstacle: str


class Tables:
    """Text tables grow with each tracklet; tables of numbers are written when all went well."""

    def __init__(self, folder: Path, spec: SyntheticSpec) -> None:
        self.folder, self.spec = folder, spec
        self.rows: dict[str, list[tuple[int, int, int, int]]] = {"train": [], "test": []}
        self.queries: list[int] = []
        self.frames = {"train": 0, "test": 0}
        self.pixels, self.files = hashlib.sha256(), hashlib.sha256()

    def __enter__(self) -> "Tables":
        self.names = {split: self._text(f"{split}_name.txt") for split in self.rows}
        self.texts = [*self.names.values(), self._text("tracklets.csv"), self._text("frames.csv")]
        self.tracklets, self.per_frame = (_csv(file) for file in self.texts[2:])
        self.tracklets.writerow(_COLUMNS)
        self.per_frame.writerow(["frame", "occluded", "cut"])
        return self

    def _text(self, name: str) -> Any:
        return (self.folder / name).open("w", encoding="utf-8", newline="\n")

    def add(self, written: Written) -> None:
        """Add one tracklet; they must come in the order of the plans."""
        plan = written.plan
        first = self.frames[plan.split] + 1
        last = self.frames[plan.split] = first + plan.frames - 1
        self.rows[plan.split].append((first, last, plan.pid, plan.camid))
        row = len(self.rows[plan.split])
        if plan.query:
            self.queries.append(row)
        self.pixels.update(written.pixels)
        self.files.update(written.files)

        names = [plan.stem(t) for t in range(plan.frames)]
        self.names[plan.split].writelines(f"{name}.jpg\n" for name in names)
        who = [plan.split, row, plan.pid, plan.camid, plan.number, plan.frames, int(plan.query)]
        hidden = sum(written.occluded) / plan.frames
        self.tracklets.writerow([*who, written.direction, written.obstacle, f"{hidden:.3f}"])
        for name, share, cut in zip(names, written.occluded, written.cut):
            self.per_frame.writerow([name, f"{share:.3f}", cut])

    def __exit__(self, error: object, *_: object) -> None:
        for file in self.texts:
            file.close()
        if error is None:
            self._numbers()
            self._identities()
            self._about()

    def _numbers(self) -> None:
        for split, rows in self.rows.items():
            table = np.array(rows, np.int32).reshape(-1, 4)
            _savemat(self.folder / f"tracks_{split}_info.mat", f"track_{split}_info", table)
        fits = len(self.rows["test"]) <= np.iinfo(np.uint16).max
        queries = np.array([self.queries], np.uint16 if fits else np.uint32)
        _savemat(self.folder / "query_IDX.mat", "query_IDX", queries)

    def _identities(self) -> None:
        spec = self.spec
        people = [("train", index, index + 1) for index in range(spec.train_ids)]
        people += [("test", index, spec.train_ids + index + 1) for index in range(spec.test_ids)]
        with self._text("identities.csv") as file:
            table = _csv(file)
            for number, (split, index, pid) in enumerate(people):
                row = {"pid": pid, "split": split, **identity(spec.seed, split, index).row()}
                if number == 0:
                    table.writerow(row)
                table.writerow(row.values())

    def _about(self) -> None:
        about = {
            "renderer": RENDERER,
            "spec": asdict(self.spec),
            "cameras": [camera.name for camera in CAMERAS[: self.spec.cameras]],
            "labels": LABELS,
            "tracklets": {split: len(rows) for split, rows in self.rows.items()},
            "queries": len(self.queries),
            "frames": self.frames,
            # pixels: before encoding, the same on every machine; files: as written here
            "digest": {"pixels": self.pixels.hexdigest(), "files": self.files.hexdigest()},
        }
        with self._text("dataset.json") as file:
            file.write(json.dumps(about, indent=2) + "\n")


def _csv(file: Any) -> Any:
    return csv.writer(file, lineterminator="\n")


def _savemat(path: Path, name: str, values: np.ndarray) -> None:
    """Write a MATLAB file without the date that SciPy puts into its header."""
    buffer = BytesIO()
    savemat(buffer, {name: values})
    header = b"MATLAB 5.0 MAT-file, written by mmagga"
    path.write_bytes(header.ljust(116) + buffer.getvalue()[116:])
