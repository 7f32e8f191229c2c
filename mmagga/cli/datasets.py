"""The verbs about data sets: render one, look at one, check, pack or crop one."""

from pathlib import Path
from typing import Literal

from mmagga.errors import MmaggaError
from mmagga.system.files import require_writable


def render(
    root: Path,
    *,
    preset: Literal[
        "tiny",
        "demo",
        "world",
        "world-clear",
        "tuning",
        "start",
        "medium",
        "large",
    ] = "demo",
    layout: Literal["mars", "ilids_vid", "prid2011", "duke_video"] = "mars",
    without: Literal["occluder", "bag", "hair", "upper", "lower"] | None = None,
    workers: int | None = None,
) -> None:
    """Render the built-in data set, with its masks, in the layout of a real one.

    Example: python -m mmagga render --root data/synthetic-demo

    Args:
        root: Folder to make.
        preset: How many people, cameras and tracklets.
        layout: Data set whose reader is to read it.
        without: Leave out occluders, or one part of everybody; all other pixels stay the same.
        workers: Processes; the bytes do not depend on them.
    """
    from mmagga.data.synthetic import render

    made = render(root, preset, layout=layout, without=without or "", workers=workers)
    print(f"rendered: {made}")


def summary(dataset: str, root: Path, split: int = 0) -> None:
    """Read a data set and count its identities, tracklets, cameras and frames.

    Example: python -m mmagga data summary --dataset mars --root /data/mars

    Args:
        dataset: Its name, such as mars.
        root: Its folder.
        split: Which of ten splits, where there are ten.
    """
    from mmagga.data import load_tracklets

    tracklets = load_tracklets(dataset, root, split)
    print(tracklets.summary().to_string(), *tracklets.notes, sep="\n")


def check(
    dataset: str,
    root: Path,
    *,
    split: int = 0,
    on_bad: Literal["error", "drop"] = "error",
    verify: bool = False,
    workers: int | None = None,
) -> None:
    """Decode every frame once and write the index that training goes by.

    Example: python -m mmagga data check --dataset mars --root /data/mars

    Args:
        dataset: Its name, such as mars.
        root: Its folder; nothing is written there.
        split: Which of ten splits, where there are ten: all share an index if they have the same
            persons.
        on_bad: Stop at bad frames, naming them, or leave them out and count them.
        verify: Only compare every file with the hash in the index, to find bit rot.
        workers: Processes; by default one for each CPU.
    """
    from mmagga.data import load_tracklets
    from mmagga.data.files import index

    tracklets = load_tracklets(dataset, root, split)
    if verify:
        print(f"{index.verify(tracklets, workers=workers):,} frames unchanged")
    else:
        print(index.check_frames(tracklets, workers=workers, on_bad=on_bad))


def pack(
    dataset: str,
    root: Path,
    out: Path,
    *,
    split: int = 0,
    height: int = 256,
    width: int = 128,
) -> None:
    """Pack all frames into one file, which loads faster; pixels stay identical.

    Example: python -m mmagga data pack --dataset mars --root /data/mars --out /data/mars.pack

    Args:
        dataset: Its name, such as mars.
        root: Its folder.
        out: The file to write.
        split: Which of ten splits, where there are ten.
        height: Pixels that frames are resized to.
        width: Pixels that frames are resized to.
    """
    from mmagga.data import load_checked
    from mmagga.data.files.packed import pack

    require_writable(out)
    pack(load_checked(dataset, root, split), out, (height, width))
    print(f"packed: {out}, {out.stat().st_size / 1e9:.3g} GB. Use it: --packed {out}")


def crop(
    *,
    videos: tuple[Path, ...],
    tracks: tuple[Path, ...],
    out: Path,
    identities: Path | None = None,
    max_gap: int = 25,
    classes: tuple[str, ...] = (),
    numbers: Literal["auto", "names", "order"] = "auto",
    first_frame: int | None = None,
) -> None:
    """Cut tracked people out of your own video; the result is the data set "mot".

    Example: python -m mmagga data crop --videos a.mp4 b.mp4 --tracks a.txt b.txt --out data/own

    Tracks are text lines `frame, id, left, top, width, height[, confidence[, class]]`, separated
    by commas, semicolons, tabs or blanks, with or without a header, plain or packed (gzip, zip).

    Args:
        videos: A video file, or a folder of frames, for each camera.
        tracks: Its tracks in MOTChallenge's form, in the same order.
        out: Folder to make.
        identities: CSV file with the columns camera, track, pid and perhaps piece: who is who.
        max_gap: Frames that a track may be absent before it is cut in pieces.
        classes: Names or numbers of the classes to keep, or all; persons by default.
        numbers: Pictures of a folder are found by the numbers in their names, or counted in order.
        first_frame: Number of the first picture where pictures are counted; by default 0 or 1.
    """
    from mmagga.data.readers.own_video import crop_video

    if len(videos) != len(tracks):
        raise MmaggaError(f"{len(videos)} videos, but {len(tracks)} files of tracks: one for each")
    require_writable(out / "tracklets.csv")
    pairs = list(zip(videos, tracks, strict=True))
    tracklets = crop_video(
        pairs,
        out,
        identities=identities,
        max_gap=max_gap,
        classes=classes,
        numbers=numbers,
        first_frame=first_frame,
    )
    print(tracklets.summary().to_string(), *tracklets.notes, sep="\n")
