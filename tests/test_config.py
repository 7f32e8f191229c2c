import dataclasses
from pathlib import Path

import pytest

from mmagga.config import (
    DEMO,
    PAPER,
    Config,
    StageConfig,
    check_settings,
    config_hash,
    from_dict,
    preset,
    to_dict,
    warmup_factor,
)
from mmagga.errors import SettingError


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


def test_the_paper_starts_from_imagenet_and_the_demo_from_rendered_people():
    assert preset("mars", Path("d")).model.weights == "IMAGENET1K_V1"
    assert DEMO.model.weights == "RENDERED_V1"


def test_a_field_of_another_version_is_passed_over_with_a_warning():
    newer = to_dict(DEMO) | {"no_such": 1}
    newer["model"] = newer["model"] | {"later": 2}
    with pytest.warns(UserWarning, match="ignored") as said:
        assert from_dict(newer) == DEMO
    assert [w for w in said if "no_such" in str(w.message)]
    assert [w for w in said if "of model are ignored: later" in str(w.message)]


def test_a_missing_field_takes_its_default():
    older = to_dict(DEMO)
    del older["eval_every"], older["hardware"], older["model"]["temperature"]
    found = from_dict(older)
    assert found.eval_every == PAPER.eval_every
    assert found.model == DEMO.model


def test_a_section_of_another_type_is_a_setting_error():
    with pytest.raises(SettingError, match="model: expected named fields"):
        from_dict(to_dict(DEMO) | {"model": "resnet50"})


def test_a_new_option_renames_no_run(monkeypatch):
    """The hash is of the differences from the defaults."""
    before = config_hash(DEMO)
    with_more = to_dict(DEMO) | {"later": 1}
    defaults = to_dict(Config()) | {"later": 1}
    monkeypatch.setattr("mmagga.config.to_dict", lambda c: with_more if c is DEMO else defaults)
    assert config_hash(DEMO) == before
    with_more["later"] = 2
    assert config_hash(DEMO) != before


def test_the_warm_up_rises_linearly_and_is_off_by_default():
    assert [warmup_factor(4, step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert warmup_factor(PAPER.warmup, 0) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1), ("seed", 2**63), ("workers", -1), ("split", -1), ("warmup", -1),
        ("weight_decay", float("nan")), ("weight_decay", float("inf")), ("eval_every", -1),
        ("checkpoint_every", float("nan")), ("milestones", (-1,)), ("augment.pad", -1),
        ("augment.flip", 1.5), ("augment.erase", -0.1), ("augment.tone", -1.0),
        ("loss.smoothing", 2.0), ("loss.center", -1.0), ("loss.center_lr", float("nan")),
        ("model.temperature", 0.0), ("model.gem_p", -1.0), ("model.width", 0),
        ("stages", ()), ("stages", (StageConfig(1, -1.0),)),
        ("stages", (StageConfig(1, float("nan")),)), ("stages", (StageConfig(0, 0.1),)),
    ],
)  # fmt: skip
def test_numbers_that_no_run_can_have(name, value):
    group, _, field = name.rpartition(".")
    if group:
        value = dataclasses.replace(getattr(DEMO, group), **{field: value})
    with pytest.raises(SettingError, match=r"at least|from"):
        check_settings(dataclasses.replace(DEMO, **{group or field: value}))


def test_a_batch_of_one_clip_is_refused():
    with pytest.raises(SettingError, match="at least 2 clips"):
        check_settings(dataclasses.replace(DEMO, ids_per_batch=1, clips_per_id=1))


@pytest.mark.parametrize("config", [DEMO, PAPER, preset("ilids_vid", Path("d"))])
def test_presets_can_be_run(config):
    check_settings(config)
