"""What is true about the frames of a rendered set, as tables in its info/."""

import csv
import hashlib
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from mmagga.data.masks import LABELS
from mmagga.data.synthetic.cameras import CAMERAS
from mmagga.data.synthetic.layouts import LAYOUTS
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
    """Two tables grow with each tracklet; the others are written when all went well."""

    def __init__(self, folder: Path, spec: SyntheticSpec, layout: str) -> None:
        self.folder, self.spec, self.layout = folder, spec, layout
        # a frame's name is its path, of which in MARS the last part is enough
        self.name = TrackletPlan.stem if layout == "mars" else LAYOUTS[layout].place
        self.rows, self.frames = Counter[str](), Counter[str]()
        self.queries = 0
        self.people: dict[int, tuple[str, int]] = {}
        self.pixels, self.files = hashlib.sha256(), hashlib.sha256()

    def __enter__(self) -> "Tables":
        self.texts = [self._text("tracklets.csv"), self._text("frames.csv")]
        self.tracklets, self.per_frame = (_csv(file) for file in self.texts)
        self.tracklets.writerow(_COLUMNS)
        self.per_frame.writerow(["frame", "occluded", "cut"])
        return self

    def _text(self, name: str) -> Any:
        return (self.folder / name).open("w", encoding="utf-8", newline="\n")

    def add(self, written: Written) -> None:
        """Add one tracklet; they must come in the order of the plans."""
        plan = written.plan
        self.rows[plan.split] += 1
        self.frames[plan.split] += plan.frames
        self.queries += plan.query
        if plan.pid > 0:
            self.people[plan.pid] = plan.split, plan.index
        self.pixels.update(written.pixels)
        self.files.update(written.files)

        names = [self.name(plan, t) for t in range(plan.frames)]
        row = self.rows[plan.split]
        who = [plan.split, row, plan.pid, plan.camid, plan.number, plan.frames, int(plan.query)]
        hidden = sum(written.occluded) / plan.frames
        self.tracklets.writerow([*who, written.direction, written.obstacle, f"{hidden:.3f}"])
        for name, share, cut in zip(names, written.occluded, written.cut):
            self.per_frame.writerow([name, f"{share:.3f}", cut])

    def __exit__(self, error: object, *_: object) -> None:
        for file in self.texts:
            file.close()
        if error is None:
            self._identities()
            self._about()

    def _identities(self) -> None:
        with self._text("identities.csv") as file:
            table = _csv(file)
            for number, (pid, (split, index)) in enumerate(sorted(self.people.items())):
                row = {"pid": pid, "split": split, **identity(self.spec.seed, split, index).row()}
                if number == 0:
                    table.writerow(row)
                table.writerow(row.values())

    def _about(self) -> None:
        about = {
            "renderer": RENDERER,
            **({} if self.layout == "mars" else {"layout": self.layout}),
            "spec": spec_values(self.spec),
            "cameras": [camera.name for camera in CAMERAS[: self.spec.cameras]],
            "labels": LABELS,
            "tracklets": self.rows,
            "queries": self.queries,
            "frames": self.frames,
            # pixels: before encoding, the same on every machine; files: as written here
            "digest": {"pixels": self.pixels.hexdigest(), "files": self.files.hexdigest()},
        }
        with self._text("dataset.json") as file:
            file.write(json.dumps(about, indent=2) + "\n")


def spec_values(spec: SyntheticSpec) -> dict[str, Any]:
    """Return the fields of a spec as dataset.json has them: `without` only where it is used."""
    values = asdict(spec)
    return values if spec.without else {k: v for k, v in values.items() if k != "without"}


def _csv(file: Any) -> Any:
    return csv.writer(file, lineterminator="\n")
