from pathlib import Path

import pytest

from mmagga.data.tracklets import make_tracklets
from mmagga.retrieval import PROTOCOLS, Protocol


@pytest.mark.parametrize(
    ("gallery_camera", "queries_in_gallery", "name"),
    [(1, True, "mars"), (1, False, "query_gallery"), (2, False, "two_camera")],
)
def test_the_standard_protocol(gallery_camera, queries_in_gallery, name):
    rows = [("query", 1, 1, 0, 1), ("gallery", 1, gallery_camera, 0, 1), ("train", 9, 1, 0, 1)]
    tracklets = make_tracklets("made", Path(), rows, ["a"], queries_in_gallery=queries_in_gallery)
    assert Protocol.for_tracklets(tracklets) is PROTOCOLS[name]


def test_of_a_single_camera_each_tracklet_is_a_view_of_its_own():
    rows = [("query", 1, 1, 0, 2), ("query", 1, 1, 2, 1), ("query", 2, 1, 3, 1)]
    one = make_tracklets(
        "made", Path(), rows, list("abcd"), queries_in_gallery=True, one_camera=True
    )
    assert Protocol.for_tracklets(one) is PROTOCOLS["one_camera"]
    assert len(set(one.views)) == 3
    assert one.subset([2, 1]).views.tolist() == one.views[[2, 1]].tolist()
