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
from mmagga.data.readers.video import find_frames, read_frames
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
        "camera 1: pictures are found by the numbers in their names, 1 to 9",
        "camera 2: 4 of 4 boxes cropped, 0 of them clipped; left out: none",
        "camera 2: pictures are found by the numbers in their names, 1 to 4",
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
    assert tracklets.one_camera
    assert tracklets.notes[-2].startswith("one camera: each tracklet is searched among all others")


def test_identities_across_cameras(street, tmp_path):
    names = tmp_path / "who.csv"
    names.write_text("camera,track,pid\n2,7,5\n1,1,5\n1,99,8\n")
    tracklets = crop_video(street, tmp_path / "out", identities=names, progress=False)
    assert tracklets.pids.tolist() == [5, 6, 5]
    assert tracklets.notes[-2] == ("identities: 1 are of (camera, track) without a crop: (1, 99)")
    assert tracklets.notes[-1].startswith("identities: known for 2 of 3 tracklets")


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
    assert tracklets.pids.tolist() == [1, 2]  # a tracker may use an id again
    assert "1 tracks are absent for more than 2 frames and cut in pieces there (3)" in str(
        tracklets.notes
    )
    assert "gaps: 1 tracklets skip 2 frame numbers (crops/c1_t3_0)" in tracklets.notes[-1]


@pytest.mark.parametrize(
    ("text", "pids"),
    [
        ("camera,track,pid\n1,3,8\n", [8, 8]),
        ("camera,track,piece,pid\n1,3,0,8\n1,3,1,5\n", [8, 5]),
        ("camera,track,piece,pid\n1,3,,8\n1,3,1,5\n", [8, 5]),
        ("camera,track,piece,pid\n1,3,1,5\n", [6, 5]),
    ],
)
def test_pieces_of_a_track_may_be_different_persons(tmp_path, text, pids):
    video = write_folder(tmp_path / "video", 20)
    tracks = write_tracks(tmp_path / "t.txt", *walk(3, [1, 2, 10, 11]))
    (tmp_path / "who.csv").write_text(text)
    found = crop_video(
        [(video, tracks)], tmp_path / "out", identities=tmp_path / "who.csv", max_gap=2,
        progress=False,
    )  # fmt: skip
    assert found.pids.tolist() == pids


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
    for frames, shift in ([2, 3, 6], 0), ([0, 2, 6], 1):  # frame 0: the tracker counts from 0
        found = read_frames(path, find_frames(path, frames).places)
        assert [(n, round(image.mean() / 20)) for n, image in found] == [
            (n, n + shift) for n in frames
        ]
    tracks = write_tracks(tmp_path / "t.txt", *walk(1, [2, 7, 8, 9]))
    tracklets = crop_video([(path, tracks)], tmp_path / "out", progress=False)
    assert [path.name for path in tracklets.frames(0)] == ["000002.png", "000007.png"]
    assert "2 in frames that the video lacks" in tracklets.notes[0]
    assert tracklets.notes[1] == "camera 1: frame 1 is the first picture of the video"


def test_only_the_wanted_frames_of_a_folder_are_opened_one_at_a_time(tmp_path, monkeypatch):
    video = write_folder(tmp_path / "video", 30)
    opened = []
    fromfile = np.fromfile
    monkeypatch.setattr(
        np, "fromfile", lambda path, *a: opened.append(path.name) or fromfile(path, *a)
    )
    stream = read_frames(video, find_frames(video, range(5, 30, 5)).places)
    next(stream)
    assert opened == ["000005.png"]
    next(stream)
    assert opened == ["000005.png", "000010.png"]


def numbered(folder, names, monkeypatch, frames=range(1, 20), **options):
    """Which picture each frame is found in."""
    trees.write_frames(folder, names)
    trees.shuffle_listings(monkeypatch, 6)
    found = find_frames(folder, frames, **options)
    return {number: path.name for number, path in found.places.items()}, found.notes


@pytest.mark.parametrize(
    ("names", "frames", "expected"),
    [
        (["10.png", "9.png", "11.png"], range(9, 12), ["9.png", "10.png", "11.png"]),
        (["f_07.png", "f_5.png"], [5, 7], ["f_5.png", "f_07.png"]),
        (["cam2_0.png", "cam2_1.png"], [0, 1], ["cam2_0.png", "cam2_1.png"]),
        (["1_0003_hd.png", "1_0004_hd.png"], [3, 4], ["1_0003_hd.png", "1_0004_hd.png"]),
        (["3.png", "4.png", "4 (1).png", "cover.png", "._3.png"], [3, 4], ["3.png", "4.png"]),
        (["b.png", "a.png"], [1, 2], ["a.png", "b.png"]),
        (["b.png", "a.png"], [0, 1], ["a.png", "b.png"]),
    ],
)
def test_frames_are_found_by_number(tmp_path, names, frames, expected, monkeypatch):
    found, notes = numbered(tmp_path / "video", names, monkeypatch, frames)
    assert found == dict(zip(frames, expected, strict=True))
    if "cover.png" in names:
        assert (
            notes[1] == "stray files: 3 are no frames and left out (4 (1).png, cover.png, ._3.png)"
        )


@pytest.mark.parametrize(
    ("names", "frames", "message", "ordered", "named"),
    [
        (range(12), range(1, 13), "0 to 11, and 1 frames .*order --first-frame 1", 12, 11),
        (range(1, 13), range(12), "1 to 12, and 1 frames .*order --first-frame 0", 12, 11),
        (range(40, 52), range(1, 13), "40 to 51, and 12 frames .*--first-frame 1", 12, 0),
        (range(40, 52), range(41, 53), "and 1 frames .*--first-frame 41", 12, 11),
        (range(40, 52), range(90, 95), "40 to 51, and 5 frames have no picture", 0, 0),
        ([1, 2, 3, 4, 6, 7], range(1, 7), "1 to 7, and 1 frames .*--first-frame 1", 6, 5),
    ],
)  # fmt: skip
def test_numbers_that_may_be_shifted_are_refused(
    tmp_path, names, frames, message, ordered, named, monkeypatch
):
    folder, names = tmp_path / "video", [f"{number:04}.png" for number in names]
    with pytest.raises(DataError, match=message):
        numbered(folder, names, monkeypatch, frames)
    first = 41 if frames[0] == 41 else None
    by_order, _ = numbered(folder, names, monkeypatch, frames, numbers="order", first=first)
    assert list(by_order.values()) == names[:ordered]
    by_name, _ = numbered(folder, names, monkeypatch, frames, numbers="names")
    assert len(by_name) == named
    assert all(int(name[:4]) == frame for frame, name in by_name.items())


def test_a_lost_picture_is_no_shift(tmp_path, monkeypatch):
    names = [f"{number}.png" for number in (1, 2, 4, 5)]
    found, _ = numbered(tmp_path / "video", names, monkeypatch, range(1, 6))
    assert sorted(found) == [1, 2, 4, 5]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.png", "1.jpg", "2.png"], "1.jpg and 1.png are both numbered 1"),
        (["l_1.png", "l_2.png", "r_1.png", "r_2.png"], "several series of 2 pictures, l_#, r_#"),
        (["notes.txt"], "holds no pictures"),
        (["a.png", "b.png"], "counted from 1 they end at 2"),
    ],
)
def test_pictures_without_one_numbering(tmp_path, names, message, monkeypatch):
    with pytest.raises(DataError, match=message):
        numbered(tmp_path / "video", names, monkeypatch, [1, 2, 3])


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


def test_a_camera_whose_boxes_have_no_size_takes_no_other_with_it(street, tmp_path):
    tracks = write_tracks(tmp_path / "z.txt", (1, 1, 10, 10, 0, 0, 1))
    empty = write_folder(tmp_path / "empty", 2), tracks
    with pytest.raises(DataError, match="nothing to crop"):
        crop_video([empty], tmp_path / "none", progress=False)
    found = crop_video([*street, empty], tmp_path / "out", progress=False)
    assert set(found.camids) == {1, 2}


def test_without_a_crop_there_is_no_folder(tmp_path):
    tracks = write_tracks(tmp_path / "t.txt", *walk(1, [1, 2], left=100))
    video = write_folder(tmp_path / "video", 2)
    with pytest.raises(DataError, match=r"nothing to crop: camera 1: 0 of 2 .* 2 outside the pict"):
        crop_video([(video, tracks)], tmp_path / "out", progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.txt", "video"]


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
        ("camera,track\n1,1\n", "not a table of camera, track, pid: .*but line 1 is camera, track"),
        ("camera,track,pid\n1,1,bob\n", "line 2: expected a whole number from 1 as pid, .*'bob'"),
        ("camera,track,pid\n\n1,1,1.5\n", "line 3: expected a whole number from 1 as pid"),
        ("", "not a table of camera, track, pid: .*it is empty"),
        ("camera,track,pid\n1,1,0\n", "from 1 as pid, found '0'"),
        ("camera,track,pid\n1,,3\n", "from 0 as track, found ''"),
        ("camera,track,pid\n1,1,3\n1,1,4\n", "two rows for camera 1, track 1, lines 2 and 3"),
    ],
)
def test_identities_that_cannot_be_read(street, tmp_path, text, message, monkeypatch):
    (tmp_path / "who.csv").write_text(text)
    monkeypatch.setattr(own_video, "_crop_camera", None)  # they are read before the video is
    with pytest.raises(DataError, match=message):
        crop_video(street, tmp_path / "out", identities=tmp_path / "who.csv", progress=False)
    assert not (tmp_path / "out").exists()


def test_identities_from_a_spreadsheet(street, tmp_path):
    names = tmp_path / "who.csv"
    names.write_bytes(b"\xef\xbb\xbfCamera;Track;who;Pid\r\n1;1;x;5\r\n2;7;y;5,0\r\n;;;\r\n")
    found = crop_video(street, tmp_path / "out", identities=names, progress=False)
    assert found.pids.tolist() == [5, 6, 5]


def test_files_beside_the_crops_are_left_out_and_counted(street, tmp_path):
    crops = crop_video(street, tmp_path / "out", progress=False).root / "crops/c1_t1_0"
    lengths = load_tracklets("mot", tmp_path / "out").lengths.tolist()
    for name in ("._000001.png", "000001 copy.png", "Thumbs.db"):
        (crops / name).write_bytes(b"")
    found = load_tracklets("mot", tmp_path / "out")
    assert found.lengths.tolist() == lengths
    assert found.notes[-1].startswith("stray files: 3 are no frames and left out")


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
