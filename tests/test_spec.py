"""A spec is either possible or refused, and survives its own JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscale.errors import ModelError
from upscale.spec import ModelSpec


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    name, license_ = draw(st.text(max_size=20)), draw(st.text(max_size=20))
    size = st.integers(1, 300)
    arch = draw(st.sampled_from(["rrdb", "compact"]))
    if arch == "rrdb":
        scale, unshuffle = draw(
            st.sampled_from([(1, 1), (2, 1), (4, 1), (8, 1), (2, 2), (1, 2), (1, 4), (4, 2), (1, 8)])
        )
        return ModelSpec(name, "rrdb", scale, draw(size), draw(size), draw(size), unshuffle, license=license_)
    activation = draw(st.sampled_from(["prelu", "relu", "leakyrelu"]))
    scale = draw(st.sampled_from([1, 2, 3, 4, 8]))
    return ModelSpec(name, "compact", scale, draw(size), blocks=draw(size), activation=activation, license=license_)


@given(specs())
def test_json_round_trip(spec: ModelSpec) -> None:
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_unknown_keys_are_ignored_so_that_newer_files_open() -> None:
    spec = ModelSpec("x4", "rrdb", 4)
    newer = json.dumps({**json.loads(spec.to_json()), "invented_later": [1, 2]})
    assert ModelSpec.from_json(newer) == spec


def test_missing_keys_take_their_defaults() -> None:
    assert ModelSpec.from_json('{"name": "x4", "arch": "rrdb", "scale": 4}') == ModelSpec("x4", "rrdb", 4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "4",
        "null",
        '{"name": "x", "arch": "rrdb"}',
        '{"name": "x", "scale": 4}',
        '{"arch": "rrdb", "scale": 4}',
        '{"name": "x", "arch": "rrdb", "scale": "4"}',
        '{"name": "x", "arch": "rrdb", "scale": 4.0}',
        '{"name": "x", "arch": "rrdb", "scale": true}',
        '{"name": "x", "arch": "rrdb", "scale": [4]}',
        '{"name": "x", "arch": "rrdb", "scale": null}',
        '{"name": 7, "arch": "rrdb", "scale": 4}',
        '{"name": "x", "arch": "unet", "scale": 4}',
        '{"name": "x", "arch": ["rrdb"], "scale": 4}',
        '{"name": "x", "arch": "rrdb", "scale": 4, "blocks": 2.5}',
        '{"name": "x", "arch": "rrdb", "scale": 4, "features": "64"}',
        '{"name": "x", "arch": "rrdb", "scale": 4, "license": null}',
        '{"name": "x", "arch": "compact", "scale": 4, "activation": "gelu"}',
        '{"name": "x", "arch": "rrdb", "scale": 5}',
    ],
)
def test_what_is_no_spec_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ModelError) as caught:
        ModelSpec.from_json(text)
    assert "\n" not in str(caught.value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner)))
def test_values_of_any_type_are_taken_or_refused_but_never_crash(value: object) -> None:
    for key in ("name", "arch", "scale", "features", "blocks", "unshuffle", "activation", "license"):
        text = json.dumps({"name": "x", "arch": "rrdb", "scale": 4} | {key: value})
        try:
            spec = ModelSpec.from_json(text)
        except ModelError:
            continue
        assert getattr(spec, key) == value
        assert type(getattr(spec, key)) is type(value)


@pytest.mark.parametrize("scale", [-1, 0, 5, 6, 7, 16])
@pytest.mark.parametrize("arch", ["rrdb", "compact", "foreign"])
def test_enlargements_that_no_network_has_are_refused(arch: str, scale: int) -> None:
    with pytest.raises(ModelError, match="not supported"):
        ModelSpec("net", arch, scale)  # type: ignore[arg-type]


@pytest.mark.parametrize(("scale", "unshuffle"), [(3, 1), (1, 3), (4, 4), (8, 2), (4, 0), (4, -1), (2, 3)])
def test_rrdbnets_enlarge_by_doublings_alone(scale: int, unshuffle: int) -> None:
    with pytest.raises(ModelError, match="cannot enlarge"):
        ModelSpec("net", "rrdb", scale, unshuffle=unshuffle)


def test_compact_networks_have_no_unshuffle() -> None:
    with pytest.raises(ModelError, match="unshuffle"):
        ModelSpec("net", "compact", 2, unshuffle=2)


@pytest.mark.parametrize("field", ["features", "growth", "blocks"])
def test_empty_networks_are_refused(field: str) -> None:
    with pytest.raises(ModelError, match="at least 1"):
        ModelSpec("net", "rrdb", 4, **{field: 0})


@pytest.mark.parametrize(
    ("spec", "radius", "multiple", "doublings"),
    [
        # conv_first, 23·15 in the trunk, conv_body, and at most 2 rows in the tail
        (ModelSpec("x4plus", "rrdb", 4), 1 + 345 + 1 + 2, 1, 2),
        (ModelSpec("x2plus", "rrdb", 2, unshuffle=2), 2 * 349, 2, 2),
        (ModelSpec("x1", "rrdb", 1, blocks=1, unshuffle=4), 4 * 19, 4, 2),
        (ModelSpec("old x1", "rrdb", 1, blocks=1), 19, 1, 0),
        (ModelSpec("x8", "rrdb", 8, blocks=1), 19, 1, 3),
        (ModelSpec("video", "compact", 4, blocks=16), 18, 1, 2),
        (ModelSpec("general", "compact", 4, blocks=32), 34, 1, 2),
    ],
    ids=lambda value: value.name if isinstance(value, ModelSpec) else str(value),
)
def test_radius_and_multiple(spec: ModelSpec, radius: int, multiple: int, doublings: int) -> None:
    assert (spec.radius, spec.multiple, spec.doublings) == (radius, multiple, doublings)


def test_naming_keeps_the_license_unless_a_new_one_is_given() -> None:
    spec = ModelSpec("a", "compact", 4, license="BSD-3-Clause")
    assert spec.named("b") == ModelSpec("b", "compact", 4, license="BSD-3-Clause")
    assert spec.named("b", "MIT").license == "MIT"
