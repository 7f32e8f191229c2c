"""Data sets as `Tracklets`. A reader takes a folder and a split number and opens no frame."""

from collections.abc import Callable
from pathlib import Path

from mmagga.config import Config
from mmagga.data.files.index import checked
from mmagga.data.readers.duke_video import load_duke_video
from mmagga.data.readers.ilids_vid import load_ilids_vid
from mmagga.data.readers.mars import load_mars, load_synthetic
from mmagga.data.readers.own_video import load_mot
from mmagga.data.readers.prid2011 import load_prid2011
from mmagga.data.tracklets import Tracklets
from mmagga.errors import MmaggaError

DATASETS: dict[str, Callable[[Path, int], Tracklets]] = {
    "synthetic": load_synthetic,
    "mars": load_mars,
    "ilids_vid": load_ilids_vid,
    "prid2011": load_prid2011,
    "duke_video": load_duke_video,
    "mot": load_mot,
}
"""Name of a data set: its reader. Add your own with one more line."""


def load_tracklets(
    dataset: str, root: str | Path, split: int = 0, *, preset: str | None = None
) -> Tracklets:
    """Read a data set; `split` chooses among the ten of iLIDS-VID and PRID 2011.

    With `preset`, such as "demo", the built-in data set is rendered first where it is missing.
    Raises MmaggaError for a name or split that does not exist, DataError for missing files or
    files that do not fit together.
    """
    read = find_reader(dataset)
    if preset is not None and dataset == "synthetic":
        from mmagga.data.synthetic import render

        render(root, preset)
    return read(Path(root).expanduser(), split)


def load_checked(
    dataset: str,
    root: str | Path,
    split: int = 0,
    *,
    preset: str | None = None,
    progress: bool = True,
    compare: bool = True,
) -> Tracklets:
    """Read a data set and check its frames, where they are new or have changed since.

    With `compare=False` an index is trusted, see `mmagga.data.files.index.checked`.

    Raises DataError for bad frames, see `mmagga.data.files.index.check_frames`; else as
    `load_tracklets`.
    """
    tracklets = load_tracklets(dataset, root, split, preset=preset)
    return checked(tracklets, progress=progress, compare=compare)


def load_for(config: Config, *, progress: bool = True) -> Tracklets:
    """Read and check the data set of a configuration, see `load_checked`."""
    where = config.dataset, config.root, config.split
    return load_checked(*where, progress=progress, compare=config.compares_frames())


def find_reader(dataset: str) -> Callable[[Path, int], Tracklets]:
    """Return the reader of a data set; MmaggaError for a name that does not exist."""
    if dataset not in DATASETS:
        raise MmaggaError(f"no data set is named {dataset!r}; there are {', '.join(DATASETS)}")
    return DATASETS[dataset]
