"""How published splits are told from others. The files themselves are not part of the kit."""

import copy

from mmagga.data.readers import mars, splits

SMALL = [{"train": ["a", "b"], "test": ["c", "d"]}, {"train": ["a", "c"], "test": ["b", "d"]}]
EXCHANGED = [{"train": ["d", "b"], "test": ["c", "a"]}, {"train": ["d", "c"], "test": ["b", "a"]}]


def test_hashes_of_published_splits_stay():
    """Taken from the published files; a change of the hash functions would reject these files."""
    assert {name: value[:8] for name, value in splits.PUBLISHED.items()} == {
        "ilids_vid": "061b1de6",
        "prid2011": "93dd187c",
    }
    assert {name: value[:8] for name, value in splits.PATTERN.items()} == {
        "ilids_vid": "86919f47",
        "prid2011": "7242e556",
    }
    assert mars.PUBLISHED[:8] == "34fc243f"
    assert splits.fingerprint(SMALL)[:8] == "20ba4071"
    assert splits.pattern(SMALL)[:8] == "7f3664ed"


def test_a_pattern_survives_other_names_and_no_other_change():
    assert splits.pattern(EXCHANGED) == splits.pattern(SMALL)
    assert splits.fingerprint(EXCHANGED) != splits.fingerprint(SMALL)
    other = copy.deepcopy(SMALL)
    other[1] = {"train": ["a"], "test": ["b", "c", "d"]}
    assert splits.pattern(other) != splits.pattern(SMALL)
