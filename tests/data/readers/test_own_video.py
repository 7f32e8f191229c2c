import hashlib

import cv2
import numpy as np
import pandas as pd
import pytest
import trees

from mmagga.data import load_tracklets
from mmagga.data.clips import training_labels
from mmagga.data.files.decoding import decode
from mmagga.data.readers import own_video
from mmagga.data.readers.own_video import crop_video
from mmagga.data.readers.video import read_video
from mmagga.errors import DataError, MmaggaError

HEIGHT, WIDTH = 60, 80


def frame(number):
    """Paint a frame in which every pixel tells where it is and when."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 3, y * 4, np.full_like(x, number)], axis=-1).astype(np.uint8)


def write_folder(folder, count, name="{:06d}.png"):
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        data = cv2.imencode(".png", frame(number))[1]
        (folder / name.format(number)).write_bytes(data.tobytes())
    return folder


def write_tracks(path, *rows):
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def walk(track, frames_, left=10, top=5, width=12, height=20):
    return [(number, track, left, top, width, height, 1, -1, -1, -1) for number in frames_]


@pytest.fixture
def street(tmp_path):
    """Two cameras: tracks 1 and 2 before the first, 7 before the second."""
    one = write_folder(tmp_path / "one", 9)
    two = write_folder(tmp_path / "行人 #1 [a]", 4)
    return [
        (one, write_tracks(tmp_path / "one.txt", *walk(2, range(3, 6)), *walk(1, range(1, 5)))),
        (two, write_tracks(tmp_path / "two.txt", *walk(7, range(1, 5), left=20))),
    ]


def test_two_cameras(street, tmp_path):
    read = trees.rows(crop_video(street, tmp_path / "out", progress=False))
    assert read == [
        ("query", 1, 1, [f"crops/c1_t1_0/00000{i}.png" for i in (1, 2, 3, 4)]),
        ("query", 2, 1, [f"crops/c1_t2_0/00000{i}.png" for i in (3, 4, 5)]),
        ("gallery", 3, 2, [f"crops/c2_t7_0/00000{i}.png" for i in (1, 2, 3, 4)]),
    ]
    tracklets = load_tracklets("mot", tmp_path / "out")
    assert trees.rows(tracklets) == read
    assert not tracklets.queries_in_gallery
    assert tracklets.notes == (
        "camera 1: 7 of 7 boxes cropped, 0 of them clipped; left out: none",
        "camera 2: 4 of 4 boxes cropped, 0 of them clipped; left out: none",
        "identities: unknown; each track is a person of its own, and ranking has no scores",
    )


def test_crops_are_the_pixels_of_the_box(street, tmp_path):
    tracklets = crop_video(street, tmp_path / "out", progress=False)
    pixels = decode(tracklets.frames(2)[1])  # RGB; the frames were painted in BGR
    np.testing.assert_array_equal(pixels, frame(2)[5:25, 20:32, ::-1])


def test_of_one_camera_all_are_queries_and_gallery(street, tmp_path):
    tracklets = crop_video(street[:1], tmp_path / "out", progress=False)
    assert set(tracklets.table["split"]) == {"query"}
    assert tracklets.queries_in_gallery


def test_identities_across_cameras(street, tmp_path):
    names = tmp_path / "who.csv"
    names.write_text("camera,track,pid\n2,7,5\n1,1,5\n1,99,8\n")
    tracklets = crop_video(street, tmp_path / "out", identities=names, progress=False)
    assert tracklets.pids.tolist() == [5, 6, 5]
    assert tracklets.notes[2] == ("identities: 1 are of (camera, track) without a crop: (1, 99)")
    assert tracklets.notes[3].startswith("identities: known for 2 of 3 tracklets")


def test_identities_filled_in_later_by_hand(street, tmp_path):
    crop_video(street, tmp_path / "out", progress=False)
    path = tmp_path / "out/tracklets.csv"
    assert path.read_text() == "camera,track,piece,pid\n1,1,0,\n1,2,0,\n2,7,0,\n"
    path.write_text("camera,track,piece,pid\n2,7,0,4\n1,2,0,4\n1,1,0,9\n")
    tracklets = load_tracklets("mot", tmp_path / "out")
    assert tracklets.pids.tolist() == [9, 4, 4]
    assert tracklets.notes[-1] == "identities: known for all 3 tracklets"


def test_tracks_are_cut_at_gaps_and_shorter_gaps_counted(tmp_path):
    video = write_folder(tmp_path / "video", 20)
    tracks = write_tracks(tmp_path / "t.txt", *walk(3, [1, 2, 5, 6, 10, 11]))
    tracklets = crop_video([(video, tracks)], tmp_path / "out", max_gap=2, progress=False)
    assert [[path.stem[-2:] for path in tracklets.frames(row)] for row in (0, 1)] == [
        ["01", "02", "05", "06"],
        ["10", "11"],
    ]
    assert tracklets.pids.tolist() == [1, 1]  # pieces of one track are one person
    assert "gaps: 1 tracklets skip 2 frame numbers (crops/c1_t3_0)" in tracklets.notes[-1]


def test_bad_boxes_are_counted_and_clipped_ones_cropped(tmp_path):
    video = write_folder(tmp_path / "video", 5)
    (video / "000003.png").write_bytes(b"damaged")
    (video / "000004.png").write_bytes(b"")
    rows = [
        (1, 1, -5, 50, 20, 20, 1),  # clipped to 15×10
        (2, 1, 70.4, -3.2, 300, 400, 1),  # clipped on three sides
        (1, 2, 80, 5, 20, 20, 1),  # outside
        (1, 3, 10, -30, 20, 20, 1),  # outside
        (1, 4, 10, 10, 0, 20, 1),  # of zero size
        (1, 5, 10, 10, 20, -1, 1),  # of zero size
        (1, 6, 77, 10, 20, 20, 1),  # three pixels are left
        (3, 1, 10, 10, 20, 20, 1),  # damaged frame
        (4, 1, 10, 10, 20, 20, 1),  # empty frame
        (6, 1, 10, 10, 20, 20, 1),  # after the end
        (1, 7, 10, 10, 20, 20, 0),  # to be ignored
        (1, 1, 40, 30, 20, 20, 1),  # a second box of track 1 in frame 1
    ]
    tracks = write_tracks(tmp_path / "t.txt", *rows)
    tracklets = crop_video([(video, tracks)], tmp_path / "out", progress=False)
    assert tracklets.lengths.tolist() == [2]
    assert [decode(path).shape for path in tracklets.frames(0)] == [(10, 15, 3), (60, 10, 3)]
    assert tracklets.notes[0] == (
        "camera 1: 2 of 12 boxes cropped, 2 of them clipped; left out: 1 marked to be ignored, "
        "1 repeated in a frame, 2 of zero size, 3 in frames that the video lacks or that cannot "
        "be decoded, 2 outside the picture, 1 under 8 pixels a side"
    )


def test_a_video_file_gives_the_frames_it_holds(tmp_path):
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (WIDTH, HEIGHT))
    for number in range(1, 8):
        writer.write(np.full((HEIGHT, WIDTH, 3), number * 20, np.uint8))
    writer.release()
    assert [(n, round(image.mean() / 20)) for n, image in read_video(path, [2, 3, 6])] == [
        (2, 2),
        (3, 3),
        (6, 6),
    ]
    tracks = write_tracks(tmp_path / "t.txt", *walk(1, [2, 7, 8, 9]))
    tracklets = crop_video([(path, tracks)], tmp_path / "out", progress=False)
    assert [path.name for path in tracklets.frames(0)] == ["000002.png", "000007.png"]
    assert "2 in frames that the video lacks" in tracklets.notes[0]


def test_only_the_wanted_frames_of_a_folder_are_opened_one_at_a_time(tmp_path, monkeypatch):
    video = write_folder(tmp_path / "video", 30)
    opened = []
    fromfile = np.fromfile
    monkeypatch.setattr(
        np, "fromfile", lambda path, *a: opened.append(path.name) or fromfile(path, *a)
    )
    stream = read_video(video, range(5, 30, 5))
    next(stream)
    assert opened == ["000005.png"]
    next(stream)
    assert opened == ["000005.png", "000010.png"]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["10.png", "9.png", "11.png"], [9, 10, 11]),  # numbers, as they are
        (["f10.png", "f9.png", "f11.png"], [1, 2, 3]),  # others: counted, in natural order
        (["1.png", "1.jpg", "2.png"], [1, 2, 3]),
    ],
)
def test_frame_numbers_of_a_folder(tmp_path, names, numbers, monkeypatch):
    trees.write_frames(tmp_path / "video", names)
    trees.shuffle_listings(monkeypatch, 6)
    assert [n for n, _ in read_video(tmp_path / "video", range(1, 20))] == numbers


def test_the_source_is_not_touched_and_the_order_of_folders_does_not_matter(
    street, tmp_path, monkeypatch
):
    def state(folder):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]

    before = [state(video) for video, _ in street]
    plain = trees.rows(crop_video(street, tmp_path / "out", progress=False))
    assert [state(video) for video, _ in street] == before
    trees.shuffle_listings(monkeypatch, 7)
    assert trees.rows(crop_video(street, tmp_path / "again", progress=False)) == plain


def test_targets_that_are_refused(street, tmp_path):
    with pytest.raises(MmaggaError, match="inside the video"):
        crop_video(street, street[0][0] / "crops")
    with pytest.raises(MmaggaError, match="one exists: delete it or choose another"):
        crop_video(street, tmp_path / "one")
    with pytest.raises(MmaggaError, match="at least one camera"):
        crop_video([], tmp_path / "out")


def test_an_interrupted_call_leaves_nothing(street, tmp_path, monkeypatch):
    written = []

    def interrupted(path, image):
        if len(written) == 3:
            raise KeyboardInterrupt
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        written.append(path)

    monkeypatch.setattr(own_video, "_write", interrupted)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        crop_video(street, tmp_path / "out", progress=False)
    assert written
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected frame, id, left"),
        ("1,2,3\n", "has 3 columns; expected frame, id, left"),
        ("1,1,10,10,20,20\n2,1,ten,10,20,20\n", "is no list of tracks"),
        ("1,1,10,10,20,20\n2,1,10,10,20\n", "is no list of tracks"),
        ("1,-1,10,10,20,20,1\n", r"1 boxes have no .* number 1, \[1.0, -1.0.*or detections\?"),
        ("0,1,10,10,20,20,1\n", "1 boxes have no frame from 1"),
        ("1.5,1,10,10,20,20,1\n", "1 boxes have no frame from 1"),
        ("1,1,nan,10,20,20,1\n", "1 boxes have no frame from 1"),
        ("1,1,100,100,20,20,1\n", "nothing to crop: camera 1: 0 of 1 .* 1 outside the picture"),
    ],
)
def test_tracks_that_cannot_be_read(tmp_path, text, message):
    (tmp_path / "t.txt").write_text(text)
    video = write_folder(tmp_path / "video", 2)
    with pytest.raises(DataError, match=message):
        crop_video([(video, tmp_path / "t.txt")], tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing.mp4", "nothing.mp4 does not exist"), ("t.txt", "cannot be opened as a video")],
)
def test_videos_that_cannot_be_read(tmp_path, name, message):
    tracks = write_tracks(tmp_path / "t.txt", *walk(1, [1]))
    with pytest.raises(DataError, match=message):
        crop_video([(tmp_path / name, tracks)], tmp_path / "out", progress=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("camera,track\n1,1\n", "no table of camera, track, pid"),
        ("camera,track,pid\n1,1,bob\n", "no table of camera, track, pid"),
        ("camera,track,pid\n1,1,1.5\n", "no table of camera, track, pid"),
        ("", "no table of camera, track, pid"),
        ("camera,track,pid\n1,1,0\n", "pid count from 1"),
        ("camera,track,pid\n1,,3\n", "none may lack"),
        ("camera,track,pid\n1,1,3\n1,1,4\n", "two rows for .*'track': 1"),
    ],
)
def test_identities_that_cannot_be_read(street, tmp_path, text, message):
    (tmp_path / "who.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        crop_video(street, tmp_path / "out", identities=tmp_path / "who.csv", progress=False)


def test_a_tracklet_without_its_folder(street, tmp_path):
    crop_video(street, tmp_path / "out", progress=False)
    path = tmp_path / "out/tracklets.csv"
    pd.concat(
        [pd.read_csv(path), pd.DataFrame({"camera": [1], "track": [5], "piece": [0]})]
    ).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"c1_t5_0 cannot be listed: No such file"):
        load_tracklets("mot", tmp_path / "out")


def test_nobody_is_there_to_train_on(street, tmp_path):
    tracklets = crop_video(street, tmp_path / "out", progress=False)
    with pytest.raises(DataError, match=r"no training tracklets.*evaluate RUN --dataset mot"):
        training_labels(tracklets.split("train"))
