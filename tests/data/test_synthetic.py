import csv
import hashlib
import json
import shutil
import time
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from mmagga.data import load_tracklets
from mmagga.data.synthetic import (
    LABELS,
    PRESETS,
    SyntheticSpec,
    plans,
    render,
    render_tracklet,
    verify,
    writing,
)
from mmagga.data.synthetic.people import identity
from mmagga.errors import DataError, ResourceError

TINY = PRESETS["tiny"]
LABEL = {name: number for number, name in LABELS.items()}

# SHA-256 over all frames and masks of the tiny preset before they are encoded, so it holds on every
# machine and for every version of Pillow and zlib. It may only change together with RENDERER.
GOLDEN = "46223935f5208cbc34f37390f3e254f64b8cbc28c00a3aeacab87edcc9694f7c"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("synthetic") / "tiny", "tiny", progress=False)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def tracks(root: Path, split: str) -> tuple[list[str], np.ndarray]:
    names = (root / f"info/{split}_name.txt").read_text().split()
    return names, loadmat(root / f"info/tracks_{split}_info.mat")[f"track_{split}_info"]


def frame_and_mask(root: Path, split: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    place = f"bbox_{split}/{name[:4]}/{name}"
    with (
        Image.open(root / place) as frame,
        Image.open(root / "masks" / Path(place).with_suffix(".png")) as mask,
    ):
        assert frame.format == "JPEG"
        assert mask.mode == "P"
        return np.asarray(frame), np.asarray(mask)


def files(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


# ---- the same everywhere -----------------------------------------------------------------------


def test_two_workers_write_the_same_bytes_as_one(root: Path, tmp_path: Path) -> None:
    again = render(tmp_path / "again", TINY, workers=2, progress=False)
    assert files(again) == files(root)


def test_the_pixels_are_those_that_were_released(root: Path) -> None:
    about = json.loads((root / "info/dataset.json").read_text())
    assert about["digest"]["pixels"] == GOLDEN


def test_another_seed_gives_other_people() -> None:
    plan = next(plans(TINY))
    frames, masks = render_tracklet(TINY, plan)
    other_frames, other_masks = render_tracklet(replace(TINY, seed=1), plan)
    assert (frames != other_frames).mean() > 0.5
    assert (masks != other_masks).any()


# ---- layout ------------------------------------------------------------------------------------


def test_the_reader_of_mars_reads_it(root: Path) -> None:
    tracklets = load_tracklets("synthetic", root)
    splits = Counter(tracklets.table["split"])
    wanted = Counter(
        "train" if plan.split == "train" else "query" if plan.query else "gallery"
        for plan in plans(TINY)
        if plan.pid >= 0
    )
    assert splits == wanted
    assert all(path.is_file() for row in range(len(tracklets)) for path in tracklets.frames(row))


@pytest.mark.parametrize("split", ["train", "test"])
def test_tables_count_the_files(root: Path, split: str) -> None:
    names, rows = tracks(root, split)
    assert set(names) == {path.name for path in (root / f"bbox_{split}").rglob("*.jpg")}
    assert len(names) == len(set(names))
    assert rows[0, 0] == 1
    assert rows[-1, 1] == len(names)
    assert (rows[1:, 0] == rows[:-1, 1] + 1).all()
    for first, last, pid, camid in rows:
        person = "00-1" if pid < 0 else f"{pid:04d}"
        assert {name[:6] for name in names[first - 1 : last]} == {f"{person}C{camid}"}


def test_there_is_one_query_for_each_person_and_camera(root: Path) -> None:
    _, rows = tracks(root, "test")
    queries = loadmat(root / "info/query_IDX.mat")["query_IDX"]
    assert queries.dtype == np.uint16
    assert queries.shape == (1, queries.size)
    asked = [tuple(rows[row - 1, 2:]) for row in queries[0].astype(int)]
    assert len(set(asked)) == len(asked)
    assert set(asked) == {tuple(row[2:]) for row in rows if row[2] > 0}
    assert {-1, 0} < set(rows[:, 2])  # junk and distractors


def test_some_queries_need_the_other_queries_in_the_gallery() -> None:
    cameras: dict[int, Counter[int]] = {}
    for plan in plans(PRESETS["demo"]):
        if plan.split == "test" and plan.pid > 0:
            cameras.setdefault(plan.pid, Counter())[plan.camid] += 1
    lonely = [pid for pid, seen in cameras.items() if sorted(seen.values()) == [1, 1]]
    assert len(lonely) == 2
    assert all(len(seen) >= 2 for seen in cameras.values())
    assert sum(max(seen.values()) > 1 for seen in cameras.values()) == len(cameras) - len(lonely)


def test_tables_tell_what_is_in_the_pictures(root: Path) -> None:
    frames = read_csv(root / "info/frames.csv")
    assert [row["frame"] + ".jpg" for row in frames] == [
        name for split in ("train", "test") for name in tracks(root, split)[0]
    ]
    people = read_csv(root / "info/identities.csv")
    assert [int(row["pid"]) for row in people] == list(range(1, 10))
    rows = read_csv(root / "info/tracklets.csv")
    assert len(rows) == len(list(plans(TINY)))


# ---- pictures and masks ------------------------------------------------------------------------


def test_masks_fit_frames_and_show_a_person(root: Path) -> None:
    known = {row["frame"]: row for row in read_csv(root / "info/frames.csv")}
    for split in ("train", "test"):
        for name in tracks(root, split)[0]:
            frame, mask = frame_and_mask(root, split, name)
            assert frame.shape == (*mask.shape, 3) == (TINY.height, TINY.width, 3)
            assert set(np.unique(mask)) <= set(LABELS)
            truth = known[name[:-4]]
            clean = not float(truth["occluded"]) and not truth["cut"]
            if clean and not name.startswith(("00-1", "0000")):
                seen = Counter(mask.ravel().tolist())
                assert min(seen[LABEL[part]] for part in ("head", "torso", "legs")) > 40, name
            if float(truth["occluded"]) > 0:
                assert LABEL["occluder"] in mask


def test_occlusion_is_a_choice_and_changes_nothing_else() -> None:
    clear = SyntheticSpec(6, 0, cameras=2, tracklets=(2, 3), frames=(6, 8), occlusion=0)
    hidden = 0
    for plan in list(plans(clear))[:8]:
        frames, masks = render_tracklet(clear, plan)
        assert LABEL["occluder"] not in masks
        covered_frames, covered = render_tracklet(replace(clear, occlusion=1), plan)
        hidden += LABEL["occluder"] in covered
        # what is not hidden is the same person at the same place (up to shadows and sensor blur)
        person = (masks >= LABEL["head"]) & (covered != LABEL["occluder"])
        assert (covered[person] == masks[person]).all()
        assert np.median(np.abs(frames[person].astype(int) - covered_frames[person])) <= 1
    assert hidden >= 7


def test_a_walker_moves_and_the_camera_tints() -> None:
    spec = replace(TINY, occlusion=0, height=64, width=32)
    plan = next(plan for plan in plans(spec) if plan.pid == 1)._replace(frames=6)
    legs = render_tracklet(spec, plan)[1] == LABEL["legs"]
    assert (legs[0] != legs[3]).sum() > 20
    here, there = (
        render_tracklet(spec, plan._replace(camid=camid))[0].mean((0, 1, 2)) for camid in (1, 2)
    )
    assert np.abs(here - there).max() > 5


def test_it_renders_at_the_papers_size() -> None:
    spec = replace(TINY, height=256, width=128)
    frames, masks = render_tracklet(spec, next(plans(spec))._replace(frames=1))
    assert frames.shape == (1, 256, 128, 3)
    assert masks.shape == (1, 256, 128)


def test_members_of_a_group_differ_in_what_the_table_says_and_in_nothing_else() -> None:
    for group in range(0, 16, 2):
        members = [identity(0, "train", 3 * group + member) for member in range(3)]
        differs = members[0].differs
        assert differs
        for what in ("upper", "lower", "shoes", "bag", "hair_colour", "jacket", "height", "skin"):
            looks = {getattr(member, what) for member in members}
            assert len(looks) == (3 if what.removesuffix("_colour") in differs else 1), what


# ---- the folder --------------------------------------------------------------------------------


def test_a_complete_set_is_left_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "film", None)  # nothing may be rendered
    assert render(root, "tiny") == root
    verify(root)


def test_a_changed_frame_is_found(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    victim = next((copy / "bbox_train").rglob("*.jpg"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    with pytest.raises(DataError, match="differ"):
        verify(copy)
    victim.unlink()
    with pytest.raises(DataError, match="missing"):
        verify(copy)


def test_another_set_in_the_folder_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="seed is 0, wanted 1"):
        render(root, replace(TINY, seed=1))


def test_foreign_files_are_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="no rendered data set"):
        render(tmp_path, "tiny")
    assert (tmp_path / "thesis.txt").exists()


def test_an_interrupted_run_leaves_no_data_set_and_can_be_repeated(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = writing.film, iter(range(99))

    def stop_at_third(*args: object) -> object:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(writing, "film", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        render(tmp_path / "set", "tiny", workers=1, progress=False)
    assert not (tmp_path / "set").exists()
    monkeypatch.undo()
    assert files(render(tmp_path / "set", "tiny", workers=1, progress=False)) == files(root)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_full_disk_is_noticed_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(ResourceError, match="frames need about"):
        render(tmp_path / "set", "large")
    assert not any(tmp_path.iterdir())


# ---- plans -------------------------------------------------------------------------------------


def test_the_large_plan_is_quick_and_small() -> None:
    start = time.perf_counter()
    tracemalloc.start()
    rows = sum(1 for _ in plans(PRESETS["large"]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == 20_000
    assert peak < 2_000_000
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_name_every_frame_once(preset: str) -> None:
    spec = PRESETS[preset]
    stems = {plan.stem(0) for plan in plans(spec)}
    assert len(stems) == sum(1 for _ in plans(spec))
    assert len({plan.pid for plan in plans(spec)} - {0, -1}) == spec.train_ids + spec.test_ids


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cameras", 7),
        ("tracklets", (1, 2)),
        ("frames", (3, 1000)),
        ("occlusion", 1.5),
        ("height", 8),
        ("train_ids", 9999),
        ("junk", -1),
    ],
)
def test_a_spec_that_cannot_be_rendered_says_so(field: str, value: object) -> None:
    with pytest.raises(ValueError, match="must"):
        replace(TINY, **{field: value})


def test_an_unknown_preset_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tiny, demo, .*, medium, large"):
        render(tmp_path / "set", "huge")
