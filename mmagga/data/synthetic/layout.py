"""Writing a rendered data set to disk, in MARS's layout, so that MARS's reader reads it.

bbox_train/0001/0001C1T0001F001.jpg   frames; bbox_test/ likewise, junk in 00-1, distractors in 0000
masks/bbox_train/0001/….png           a label for each pixel, see `LABELS`
info/train_name.txt, test_name.txt    frame names, in the order that the tables count
info/tracks_{train,test}_info.mat     first, last (1-based), person, camera of each tracklet
info/query_IDX.mat                    1-based rows of the test table
info/identities.csv                   what each person wears, and who differs from whom in what
info/tracklets.csv, frames.csv        direction, obstacle; share hidden and parts cut off
info/dataset.json                     spec, version and digests; written last
"""

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import partial as bind
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from mmagga.data.synthetic.cameras import CAMERAS
from mmagga.data.synthetic.film import film
from mmagga.data.synthetic.labels import LABELS, PALETTE
from mmagga.data.synthetic.plan import PRESETS, SyntheticSpec, TrackletPlan, plans
from mmagga.data.synthetic.tables import RENDERER, Tables, Written
from mmagga.errors import DataError, ResourceError

_SMALL = 400
"""Frames below which starting worker processes takes longer than rendering."""


def render(
    root: str | Path,
    spec: SyntheticSpec | str = "demo",
    *,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Render a data set into `root`, unless it is there already, and give its path.

    `spec` is a `SyntheticSpec` or the name of one in `PRESETS`. `workers` processes (all cores by
    default) change the speed and nothing else. Frames go to `root`.partial first: a folder named
    `root` is always complete. Raises DataError if something else is at `root`, ResourceError if
    the disk is too small.
    """
    root = Path(root)
    if isinstance(spec, str):
        if spec not in PRESETS:
            raise ValueError(f"the presets are {', '.join(PRESETS)}, not {spec!r}")
        spec = PRESETS[spec]
    if _is_there(root, spec):
        return root
    frames = sum(plan.frames for plan in plans(spec))
    scratch = root.with_name(root.name + ".partial")
    if scratch.exists():  # what an interrupted run left behind
        shutil.rmtree(scratch)
    (scratch / "info").mkdir(parents=True)
    _check_space(scratch, frames, spec)
    bar = tqdm(total=frames, unit="frame", desc=root.name, disable=None if progress else True)
    with bar, Tables(scratch / "info", spec) as tables:
        for written in _film_all(scratch, spec, frames, workers):
            tables.add(written)
            bar.update(written.plan.frames)
    if root.exists():
        root.rmdir()  # _is_there made sure that it is empty
    scratch.rename(root)
    return root


def verify(root: str | Path) -> None:
    """Read every frame and mask of a rendered data set; raises DataError if one has changed."""
    root = Path(root)
    about = json.loads((root / "info" / "dataset.json").read_text("utf-8"))
    digest = hashlib.sha256()
    for plan in plans(_spec_from(about["spec"])):
        digest.update(_digest(_read(root, plan)))
    if digest.hexdigest() != about["digest"]["files"]:
        raise DataError(
            f"{root}: frames or masks differ from what was rendered; delete it, render again."
        )


def _spec_from(values: dict[str, Any]) -> SyntheticSpec:
    return SyntheticSpec(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _read(root: Path, plan: TrackletPlan) -> Iterator[bytes]:
    for t in range(plan.frames):
        for path in _paths(root, plan, t):
            if not path.is_file():
                raise DataError(f"{path} is missing; delete {root} and render it again.")
            yield path.read_bytes()


def _is_there(root: Path, spec: SyntheticSpec) -> bool:
    """Whether `root` holds this very data set; raises DataError if it holds anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    about_path = root / "info" / "dataset.json"
    if not about_path.is_file():
        raise DataError(
            f"{root} exists, but holds no rendered data set (no info/dataset.json). "
            "Choose another folder, or move what is there."
        )
    about = json.loads(about_path.read_text("utf-8"))
    wanted = {"renderer": RENDERER, "spec": json.loads(json.dumps(asdict(spec)))}
    found = {"renderer": about.get("renderer"), "spec": about.get("spec", {})}
    if found == wanted:
        return True
    if found["renderer"] != RENDERER:
        what = f"made by version {found['renderer']} of the renderer, this is version {RENDERER}"
    else:
        what = "; ".join(
            f"{name} is {found['spec'].get(name)}, wanted {value}"
            for name, value in wanted["spec"].items()
            if found["spec"].get(name) != value
        )
    raise DataError(
        f"{root} holds another rendered data set ({what}). Delete it or choose another folder."
    )


def _check_space(folder: Path, frames: int, spec: SyntheticSpec) -> None:
    """Files take whole 4 KiB blocks; a noisy JPEG has about half a byte a pixel."""
    need = frames * (8192 + spec.height * spec.width // 2)
    free = shutil.disk_usage(folder).free
    if free < need:
        shutil.rmtree(folder)
        raise ResourceError(
            f"{frames:,} frames need about {need / 1e9:.1f} GB, and {folder.parent} has "
            f"{free / 1e9:.1f} GB free. Make room, or choose a smaller preset."
        )


# ---- frames ------------------------------------------------------------------------------------


def _film_all(
    root: Path, spec: SyntheticSpec, frames: int, workers: int | None
) -> Iterator[Written]:
    """Render every tracklet, in the order of the plans."""
    if workers is None:
        usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
        workers = len(usable(0)) if frames >= _SMALL else 1
    work = bind(_write, root, spec)
    if workers == 1:
        yield from map(work, plans(spec))
        return
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
            yield from pool.map(work, plans(spec), chunksize=4)
    except BrokenProcessPool as error:
        raise ResourceError(
            "A rendering process died: out of memory, or a script called render() outside "
            "`if __name__ == '__main__':`. With workers=1 everything stays in one process."
        ) from error


def _write(root: Path, spec: SyntheticSpec, plan: TrackletPlan) -> Written:
    shot = film(spec, plan)
    pixels = hashlib.sha256(shot.frames.tobytes() + shot.masks.tobytes()).digest()
    encoded = []
    for t, (frame, mask) in enumerate(zip(shot.frames, shot.masks)):
        for path, data in zip(_paths(root, plan, t), (_jpeg(frame, plan.camid), _png(mask))):
            if t == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            encoded.append(data)
    return Written(plan, pixels, _digest(iter(encoded)), *shot[2:])


def _digest(files: Iterator[bytes]) -> bytes:
    digest = hashlib.sha256()
    for data in files:
        digest.update(data)
    return digest.digest()


def _paths(root: Path, plan: TrackletPlan, t: int) -> tuple[Path, Path]:
    """Give the files of a frame and of its mask."""
    place, stem = Path(f"bbox_{plan.split}", plan.folder), plan.stem(t)
    return root / place / f"{stem}.jpg", root / "masks" / place / f"{stem}.png"


def _jpeg(frame: np.ndarray, camid: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=CAMERAS[camid - 1].quality)
    return buffer.getvalue()


def _png(mask: np.ndarray) -> bytes:
    buffer = BytesIO()
    image = Image.fromarray(mask)
    image.putpalette([channel for label in LABELS for channel in PALETTE[label]])
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
