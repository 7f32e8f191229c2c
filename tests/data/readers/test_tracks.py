"""Track lists as trackers, spreadsheets and archives write them, and what is refused."""

import gzip
import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmagga.data.readers.tracks import read_tracks
from mmagga.errors import DataError

ROWS = [f"{n},{who},{10.5 * who},20.25,40,90,1,-1,-1,-1" for n in (1, 2, 3) for who in (1, 2)]
PLAIN = "\n".join(ROWS) + "\n"
BOXES = [[n, who, 10.5 * who, 20.25, 40, 90] for n in (1, 2, 3) for who in (1, 2)]


def read(folder, text, **options):
    path = folder / "tracks.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_tracks(path, **options)


def zipped(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, PLAIN)
    return stream.getvalue()


DIALECTS = {
    "plain": PLAIN,
    "six columns": "\n".join(",".join(row.split(",")[:6]) for row in ROWS),
    "blanks, one at the end": PLAIN.replace(",", " ").replace("\n", " \n"),
    "blanks and decimal commas": PLAIN.replace(",", " ").replace(".", ","),
    "tabs": PLAIN.replace(",", "\t"),
    "tabs and decimal commas": PLAIN.replace(",", "\t").replace(".", ","),
    "semicolons": PLAIN.replace(",", ";"),
    "semicolons and decimal commas": PLAIN.replace(",", ";").replace(".", ","),
    "comma at the end": PLAIN.replace("\n", ",\n"),
    "comma and blank": PLAIN.replace(",", ", "),
    "quoted": "".join('"' + row.replace(",", '","') + '"\n' for row in ROWS),
    "quoted decimal commas": "".join(
        '"' + row.replace(",", '","').replace(".", ",") + '"\n' for row in ROWS
    ),
    "floats": PLAIN.replace(",40,", ",4.0e1,"),
    "9 and 10 columns": "\n".join(
        row if i % 2 else row.rpartition(",")[0] for i, row in enumerate(ROWS)
    ),
    "empty confidence": "".join(f"{','.join(row.split(',')[:6])},,,\n" for row in ROWS),
    "byte order mark": "\ufeff" + PLAIN,
    "UTF-16": PLAIN.encode("utf-16"),
    "Windows": PLAIN.replace("\n", "\r\n"),
    "old Mac": PLAIN.replace("\n", "\r"),
    "empty lines and comments": "# made by a tracker\n\n" + PLAIN.replace("\n", "\n\n"),
    "header": "frame,id,bb_left,bb_top,bb_width,bb_height,conf,x,y,z\n" + PLAIN,
    "header with blanks": "Frame, Track ID, X, Y, W, H, Score\n" + PLAIN,
    "header, other order": "track_id,frame,class,h,w,y,x\n"
    + "".join(f"{t},{n},person,{h},{w},{y},{x}\n" for n, t, x, y, w, h in BOXES),
    "header with corners": "# frame;id;x1;y1;x2;y2\n"
    + "".join(f"{n};{t};{x};{y};{x + w};{y + h}\n" for n, t, x, y, w, h in BOXES),
    "gzip": gzip.compress(PLAIN.encode()),
    "zip": zipped("gt/gt.txt", "__MACOSX/gt/._gt.txt", ".DS_Store"),
}


@pytest.mark.parametrize("text", DIALECTS.values(), ids=DIALECTS)
def test_one_list_in_many_spellings(tmp_path, text):
    found = read(tmp_path, text)
    assert found.boxes.tolist() == BOXES
    assert not found.left_out.total()
    assert found.notes == []


BAD = {
    "": "is empty; expected lines of frame, id",
    "# nothing\n": "is empty",
    "1,1,10,10,20\n": "line 1: expected a number as height, found ''; it has 5 fields",
    "1,1,10,10,20,20\n2,1,ten,10,20,20\n": "line 2: expected a number as left, found 'ten'",
    "1,1,10,10,20,20\n\n2,1,10,10,20\n": "line 3: expected a number as height",
    "1,1,10,10,20,20,x\n": "line 1: expected a number as confidence, found 'x'",
    "1,-1,10,10,20,20,1\n": "line 1: expected a whole track id .* -1. Are these tracks, or det",
    "-1,1,10,10,20,20,1\n": "line 1: expected a whole frame number from 0, found -1",
    "1.5,1,10,10,20,20,1\n": "whole frame number from 0, found 1.5",
    "1_0,1,10,10,20,20\n": "line 1 is not a box and, as a header, names no column",
    "1,1,nan,10,20,20,1\n": "line 1: expected a number as left, found 'nan'",
    "1,1,1e999,10,20,20,1\n": "line 1: left inf is too large",
    "1,1,0.5,0.5,0.1,0.2\n": "as if they were fractions of the picture",
    "1,1,10,5,20,25,40,75,90,5,1\n": "line 1 has 11 fields.* decimal commas.*semicolons",
    "0 1 Pedestrian 0 0 -1 1 2 30 40 1 1 1 0 0 0 0\n": "line 1 has 17 fields",
    "frame,id,left\n1,1,10\n": "line 1 is not a box and, as a header, names no column top, width",
    "frame,id,left,top,width,height\n": "has a header and no boxes",
    '{"annotations": []}': "line 1 is not a box",
    "\x00\x01\x02": "line 1 is not text",
}


@pytest.mark.parametrize(("text", "message"), BAD.items())
def test_what_is_refused_is_told_with_its_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("1,1,1,1,9,9\n2,1,é,1,9,9".encode("latin-1"), "line 2 is not text in UTF-8"),
        (gzip.compress(PLAIN.encode())[:-9], "cannot be unpacked"),
        (zipped("a.txt")[:40], "cannot be unpacked"),
        (zipped("a.txt", "b.txt"), "holds 2 files, expected one"),
        (b"BZh91AY&SY", "is packed, neither by gzip nor by zip"),
    ],
    ids=["latin-1", "cut gzip", "cut zip", "two files", "bzip2"],  # bytes of archives hold the time
)
def test_bytes_that_are_no_text(tmp_path, data, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, data)
    with pytest.raises(DataError, match=r"nothing.txt cannot be read: No such file"):
        read_tracks(tmp_path / "nothing.txt")


def of_classes(*labels):
    return "".join(f"{n},{n},10,10,40,90,1,{label},1\n" for n, label in enumerate(labels, 1))


@pytest.mark.parametrize(
    ("labels", "classes", "kept"),
    [
        ((1, 3, 1), (), [1, 3]),  # MOTChallenge: 1 is a pedestrian
        ((0, 1, 0), (), [1, 3]),  # COCO: 0 is a person
        ((-1, -1, -1), (), [1, 2, 3]),
        ((-1, 7, 1), (), [1, 3]),
        (("Person", "car", "pedestrian"), (), [1, 3]),
        (("person", "traffic light", ""), (), [1, 3]),
        ((1, 3, 1), ("3",), [2]),
        (("person", "Car", "dog"), ("car", "dog"), [2, 3]),
        ((1, 3, 8), ("all",), [1, 2, 3]),
        ((0.5, -13.4, 2), (), [1, 2, 3]),  # world coordinates, not classes
    ],
)
def test_classes(tmp_path, labels, classes, kept):
    found = read(tmp_path, of_classes(*labels), classes=classes)
    assert found.boxes[:, 1].tolist() == kept
    assert found.left_out.total() == 3 - len(kept)


def test_other_classes_are_named_and_counted(tmp_path):
    found = read(tmp_path, of_classes(1, 3, 3, 8))
    assert found.left_out["of class 3"] == 2
    assert found.left_out["of class 8"] == 1
    assert found.notes == ["classes: 1 kept, taken as persons; --classes chooses others"]
    with pytest.raises(DataError, match=r"no box is of class 2.* 1 \(1 boxes\), 3 \(2 .*--classes"):
        read(tmp_path, of_classes(1, 3, 3, 8), classes=["2"])
    with pytest.raises(DataError, match="--classes"):
        read(tmp_path, of_classes("car", "bus"))


def test_a_confidence_of_zero_marks_boxes_to_ignore_unless_all_have_it(tmp_path):
    zero = PLAIN.replace(",90,1,", ",90,0,")
    found = read(tmp_path, zero)
    assert found.boxes.tolist() == BOXES
    assert found.notes == ["confidence: 0 for every box, taken as unknown"]
    found = read(tmp_path, zero.replace(",90,0,", ",90,0.7,", 1))
    assert len(found.boxes) == 1
    assert found.left_out["marked to be ignored"] == 5


NUMBERS = ["0", "1", "2", "-1", "1.5", "1,5", "nan", "1e9", "99999999999999999999", "person", ""]
SEPARATORS = [",", ";", "\t", " ", ", "]


@settings(deadline=None, max_examples=150)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=60),
        st.lists(st.lists(st.sampled_from(NUMBERS), max_size=12), max_size=5).flatmap(
            lambda rows: st.sampled_from(SEPARATORS).map(
                lambda separator: "\n".join(map(separator.join, rows))
            )
        ),
    )
)
def test_any_file_is_read_or_refused(tmp_path_factory, text):
    try:
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        found = read(tmp_path_factory.getbasetemp(), data)
    except DataError:
        return
    assert found.boxes.shape[1] == 6
    assert np.isfinite(found.boxes).all()
