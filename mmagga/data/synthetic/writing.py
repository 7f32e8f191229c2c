"""Writing a rendered data set to disk, in the layout of a real one, so that its reader reads it.

bbox_train/0001/0001C1T0001F001.jpg   a frame in MARS's layout; `layouts` has the other three
masks/bbox_train/0001/….png           under the same name a label for each pixel, see `LABELS`
info/identities.csv                   what each person wears, and who differs from whom in what
info/tracklets.csv, frames.csv        direction, obstacle; share hidden and parts cut off
info/dataset.json                     spec, version and digests; written last

Beside these lies what the layout's reader wants: name lists and tables in MARS's info/, ten splits
for iLIDS-VID and PRID 2011.
"""

import hashlib
import json
import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial as bind
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmagga.data.masks import LABELS, PALETTE
from mmagga.data.synthetic.cameras import CAMERAS
from mmagga.data.synthetic.film import film
from mmagga.data.synthetic.layouts import LAYOUTS
from mmagga.data.synthetic.plan import PRESETS, SyntheticSpec, TrackletPlan
from mmagga.data.synthetic.tables import RENDERER, Tables, Written, spec_values
from mmagga.errors import DataError, ResourceError, SettingError
from mmagga.system.cpus import usable_cpus
from mmagga.system.progress import progress as progress_bar
from mmagga.system.spawn import without_main

_SMALL = 400
"""Frames below which starting worker processes takes longer than rendering."""


def render(
    root: str | Path,
    spec: SyntheticSpec | str = "demo",
    *,
    layout: str = "mars",
    without: str = "",
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Render a data set into `root`, unless it is there already, and return its path.

    `spec` is a `SyntheticSpec` or the name of one in `PRESETS`, `layout` one of `LAYOUTS`, which
    may have no choice of cameras, tracklets, distractors or junk. `without` renders a twin: the
    same tracklets without their occluders ("occluder") or without one part of everybody ("bag",
    "hair", "upper", "lower"), all other pixels the same, see `counterfactual`. `workers` processes
    (all cores by default) change the speed and nothing else. Frames go to `root`.partial first: a
    folder named `root` is always complete. Raises DataError if something else is at `root`,
    ResourceError if the disk is too small.
    """
    root = Path(root).expanduser()
    if isinstance(spec, str):
        if spec not in PRESETS:
            raise ValueError(f"the presets are {', '.join(PRESETS)}, not {spec!r}")
        spec = PRESETS[spec]
    if layout not in LAYOUTS:
        raise ValueError(f"the layouts are {', '.join(LAYOUTS)}, not {layout!r}")
    spec = replace(spec, **LAYOUTS[layout].fixed, without=without or spec.without)
    if _is_there(root, spec, layout):
        return root
    frames = sum(plan.frames for plan in LAYOUTS[layout].plans(spec))
    scratch = root.with_name(root.name + ".partial")
    if scratch.exists():  # what an interrupted run left behind
        shutil.rmtree(scratch)
    (scratch / "info").mkdir(parents=True)
    _check_space(scratch, frames, spec, layout)
    bar = progress_bar(total=frames, unit="frame", desc=root.name, enabled=progress)
    with bar, Tables(scratch / "info", spec, layout) as tables:
        LAYOUTS[layout].write_tables(scratch, spec)
        for written in _film_all(scratch, spec, layout, frames=frames, workers=workers):
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
    digest, layout = hashlib.sha256(), layout_of(about)
    for plan in LAYOUTS[layout].plans(_spec_from(about["spec"])):
        digest.update(_digest(_read(root, layout, plan)))
    if digest.hexdigest() != about["digest"]["files"]:
        raise DataError(
            f"{root}: frames or masks differ from what was rendered; delete it, render again."
        )


def read_about(root: str | Path) -> dict[str, Any]:
    """Read what a rendered data set says of itself; DataError where there is none."""
    path = Path(root) / "info" / "dataset.json"
    if not path.is_file():
        raise DataError(f"{root} holds no rendered data set (no info/dataset.json): render one")
    about = json.loads(path.read_text("utf-8"))
    if about.get("renderer") != RENDERER:
        raise DataError(
            f"{root} was made by version {about.get('renderer')} of the renderer, this is version "
            f"{RENDERER}: delete it, render again."
        )
    return about


def spec_of(root: str | Path) -> SyntheticSpec:
    """Return the spec that a data set was rendered from."""
    return _spec_from(read_about(root)["spec"])


def _spec_from(values: dict[str, Any]) -> SyntheticSpec:
    return SyntheticSpec(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def layout_of(about: dict[str, Any]) -> str:
    """Return the name of a rendered data set's layout."""
    return about.get("layout", "mars")


def _read(root: Path, layout: str, plan: TrackletPlan) -> Iterator[bytes]:
    for t in range(plan.frames):
        for path in _paths(root, layout, plan, t):
            if not path.is_file():
                raise DataError(f"{path} is missing; delete {root} and render it again.")
            yield path.read_bytes()


def _is_there(root: Path, spec: SyntheticSpec, layout: str) -> bool:
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
    version = about.get("renderer")
    wanted = {"layout": layout, **json.loads(json.dumps(spec_values(spec)))}
    found = {"layout": layout_of(about), **about.get("spec", {})}
    if version == RENDERER and found == wanted:
        return True
    if version != RENDERER:
        what = f"made by version {version} of the renderer, this is version {RENDERER}"
    else:
        what = "; ".join(
            f"{name} is {found.get(name)}, wanted {wanted.get(name)}"
            for name in {**wanted, **found}
            if found.get(name) != wanted.get(name)
        )
    raise DataError(
        f"{root} holds another rendered data set ({what}). Delete it or choose another folder."
    )


def _check_space(folder: Path, frames: int, spec: SyntheticSpec, layout: str) -> None:
    """Files take whole 4 KiB blocks; a noisy JPEG has about half a byte a pixel, a PNG three."""
    pixels = spec.height * spec.width
    need = frames * (8192 + (pixels // 2 if LAYOUTS[layout].suffix == ".jpg" else 3 * pixels))
    free = shutil.disk_usage(folder).free
    if free < need:
        shutil.rmtree(folder)
        raise ResourceError(
            f"{frames:,} frames need about {need / 1e9:.1f} GB, and {folder.parent} has "
            f"{free / 1e9:.1f} GB free. Make room, or choose a smaller preset."
        )


# ---- frames ------------------------------------------------------------------------------------


def _film_all(
    root: Path, spec: SyntheticSpec, layout: str, *, frames: int, workers: int | None
) -> Iterator[Written]:
    """Render every tracklet, in the order of the plans."""
    if workers is None:
        workers = usable_cpus() if frames >= _SMALL else 1
    if workers < 1:
        raise SettingError(f"workers: at least 1, not {workers}")
    work, plans = bind(_write, root, spec, layout), LAYOUTS[layout].plans(spec)
    if workers == 1:
        yield from map(work, plans)
        return
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
            with without_main():
                written = pool.map(work, plans, chunksize=4)
            yield from written
    except BrokenProcessPool as error:
        raise ResourceError(
            "A rendering process died, most likely for want of memory. With workers=1 everything "
            "stays in one process."
        ) from error


def _write(root: Path, spec: SyntheticSpec, layout: str, plan: TrackletPlan) -> Written:
    shot = film(spec, plan)
    pixels = hashlib.sha256(shot.frames.tobytes() + shot.masks.tobytes()).digest()
    files = []
    for t, (frame, mask) in enumerate(zip(shot.frames, shot.masks)):
        paths = _paths(root, layout, plan, t)
        image = encoded(frame, plan, layout)
        for path, data in zip(paths, (image, _png(mask, palette=True))):
            if t == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            files.append(data)
    return Written(plan, pixels, _digest(iter(files)), *shot[2:])


def _digest(files: Iterator[bytes]) -> bytes:
    digest = hashlib.sha256()
    for data in files:
        digest.update(data)
    return digest.digest()


def _paths(root: Path, layout: str, plan: TrackletPlan, t: int) -> tuple[Path, Path]:
    """Return the files of a frame and of its mask."""
    place = LAYOUTS[layout].place(plan, t)
    return root / f"{place}{LAYOUTS[layout].suffix}", root / "masks" / f"{place}.png"


def encoded(frame: np.ndarray, plan: TrackletPlan, layout: str) -> bytes:
    """Return the file of a frame."""
    return _jpeg(frame, plan.camid) if LAYOUTS[layout].suffix == ".jpg" else _png(frame)


def _jpeg(frame: np.ndarray, camid: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=CAMERAS[camid - 1].quality)
    return buffer.getvalue()


def _png(pixels: np.ndarray, *, palette: bool = False) -> bytes:
    buffer = BytesIO()
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette([channel for label in LABELS for channel in PALETTE[label]])
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
