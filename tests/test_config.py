import dataclasses
from pathlib import Path

import pytest

from mmagga.config import DEMO, PAPER, config_hash, from_dict, preset, to_dict


@pytest.mark.parametrize("config", [PAPER, DEMO, preset("prid2011", Path("there"))])
def test_a_configuration_survives_json(config):
    import json

    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_the_hash_is_of_what_is_computed_not_of_where():
    elsewhere = dataclasses.replace(DEMO, root=Path("/x"), workers=7, device="cpu", eval_batch=1)
    assert config_hash(elsewhere) == config_hash(DEMO)
    assert config_hash(dataclasses.replace(DEMO, seed=1)) != config_hash(DEMO)
    erase = dataclasses.replace(DEMO.augment, erase=0.25)
    assert config_hash(dataclasses.replace(DEMO, augment=erase)) != config_hash(DEMO)


def test_presets_follow_the_data_set():
    assert preset("synthetic", Path("d")) == dataclasses.replace(DEMO, root=Path("d"))
    assert preset("mars", Path("d")).ids_per_batch * PAPER.clips_per_id == 64
    assert preset("ilids_vid", Path("d")).ids_per_batch * PAPER.clips_per_id == 32


def test_the_paper_starts_from_imagenet_and_the_demo_from_nothing():
    assert preset("mars", Path("d")).model.weights == "IMAGENET1K_V1"
    assert DEMO.model.weights is None


def test_an_unknown_field_is_refused():
    with pytest.raises(TypeError, match="no_such"):
        from_dict(to_dict(DEMO) | {"no_such": 1})
