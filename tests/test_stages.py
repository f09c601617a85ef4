"""The chain of stages: its costs are the networks' own, and its radii add up."""

import pytest

from upscale.keys import parameter_shapes
from upscale.spec import ModelSpec
from upscale.stages import hidden_convolutions, stages, tail_margin, tail_surplus, total_macs, unit_count

X4PLUS = ModelSpec("x4plus", "rrdb", 4)
ANIME = ModelSpec("anime", "rrdb", 4, blocks=6)
X2PLUS = ModelSpec("x2plus", "rrdb", 2, unshuffle=2)
COMPACT_16 = ModelSpec("compact16", "compact", 4, blocks=16, activation="prelu")
COMPACT_32 = ModelSpec("compact32", "compact", 4, blocks=32, activation="prelu")
ALIAS_FREE = [
    ModelSpec(f"alias-free x{scale}", "rrdb", scale, unshuffle=unshuffle, upsampling="alias-free")
    for scale, unshuffle in ((8, 1), (4, 1), (2, 2), (1, 2), (1, 1))
]
PLAIN = [X4PLUS, ANIME, X2PLUS, COMPACT_16, COMPACT_32]
ALL = [*PLAIN, *ALIAS_FREE]


def test_costs_are_the_published_ones() -> None:
    assert total_macs(X4PLUS) == 17_926_848
    assert total_macs(COMPACT_16) == 619_200
    assert total_macs(COMPACT_32) == 1_209_024


@pytest.mark.parametrize(("spec", "count"), [(X4PLUS, 16_697_987), (COMPACT_16, 621_424), (COMPACT_32, 1_213_296)])
def test_parameter_counts_are_the_published_ones(spec: ModelSpec, count: int) -> None:
    sizes = (_product(shape) for shape in parameter_shapes(spec).values())
    assert sum(sizes) == count


@pytest.mark.parametrize("spec", PLAIN, ids=lambda spec: spec.name)
def test_costs_follow_from_the_parameters(spec: ModelSpec) -> None:
    shapes = {key: shape for key, shape in parameter_shapes(spec).items() if len(shape) == 4}
    assert total_macs(spec) == sum(_product(shape) * _pixels(spec, key) for key, shape in shapes.items())


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_chain_is_a_head_its_numbered_units_and_a_tail(spec: ModelSpec) -> None:
    head, *units, tail = stages(spec)
    assert (head.role, tail.role) == ("head", "tail")
    assert [(stage.role, stage.unit) for stage in units] == [("unit", k) for k in range(unit_count(spec))]


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_each_stage_reads_what_an_earlier_one_made(spec: ModelSpec) -> None:
    made = {"picture"}
    previous = "picture"
    for stage in stages(spec):
        assert stage.main == previous
        assert {name for name, _ in stage.sides} <= made
        assert stage.output not in made
        made.add(stage.output)
        previous = stage.output


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_the_radii_along_the_chain_add_up_to_the_networks_own(spec: ModelSpec) -> None:
    assert sum(stage.radius for stage in stages(spec)) * spec.unshuffle == spec.radius


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_no_convolution_reaches_further_than_its_stage_reads(spec: ModelSpec) -> None:
    for stage in stages(spec):
        assert all(0 <= conv.margin < stage.radius for conv in stage.convolutions)
        assert all(0 <= margin < stage.radius for _, margin in stage.sides)


@pytest.mark.parametrize("spec", ALIAS_FREE, ids=lambda spec: spec.name)
def test_alias_free_doublings_lose_no_row_that_the_tail_needs(spec: ModelSpec) -> None:
    """A doubling's filter takes 3 rows, its convolution 1, and the picture's last two convolutions 2."""
    rows = tail_margin(spec, spec.doublings)
    for left in reversed(range(spec.doublings)):
        rows = 2 * (rows - 3) - 1 - tail_surplus(spec, left)
        assert tail_surplus(spec, left) >= 0
        assert rows == tail_margin(spec, left)
    assert rows == 2


def test_the_filters_cost_counts() -> None:
    plain, free = ModelSpec("plain", "rrdb", 4), ALIAS_FREE[1]
    assert total_macs(free) - total_macs(plain) == 64 * 49 * (4 + 16)


def test_third_dense_block_adds_its_residual_blocks_input() -> None:
    sides = {stage.output: stage.sides for stage in stages(ANIME) if stage.role == "unit"}
    assert len(sides) == 18
    assert sides["features3"] == (("features0", 0),)
    assert sides["features18"] == (("features15", 0),)
    assert [name for name, value in sides.items() if value] == [f"features{k}" for k in range(3, 19, 3)]


def test_foreign_networks_have_no_known_inside() -> None:
    with pytest.raises(ValueError, match="windows"):
        stages(ModelSpec("foreign", "foreign", 4))


@pytest.mark.parametrize("blocks", range(1, 12))
def test_hidden_convolutions_of_the_units_cover_a_compact_network_once(blocks: int) -> None:
    spec = ModelSpec("compact", "compact", 2, blocks=blocks, activation="prelu")
    units = [stage for stage in stages(spec) if stage.role == "unit"]
    held = [k for stage in units for k in hidden_convolutions(spec, stage.unit)]
    assert held == list(range(blocks))
    assert [stage.radius for stage in units] == [len(hidden_convolutions(spec, stage.unit)) for stage in units]


@pytest.mark.parametrize(
    ("scale", "unshuffle", "factor"), [(4, 1, 4), (2, 1, 2), (1, 1, 1), (8, 1, 8), (2, 2, 4), (1, 4, 4), (1, 2, 2)]
)
def test_tail_enlarges_feature_rows_by_scale_times_unshuffle(scale: int, unshuffle: int, factor: int) -> None:
    spec = ModelSpec("net", "rrdb", scale, 8, 4, 1, unshuffle)
    head, *_, tail = stages(spec)
    assert tail.factor == factor == 2**spec.doublings
    assert head.factor == 1
    assert head.convolutions[0].macs == 9 * 3 * unshuffle**2 * 8
    # conv_body, one convolution for each doubling, conv_hr and conv_last
    assert len(tail.convolutions) == spec.doublings + 3


def _product(shape: tuple[int, ...]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result


def _pixels(spec: ModelSpec, key: str) -> int:
    """Enlarged pixels to each feature pixel where this convolution runs."""
    if key.startswith("conv_up"):
        return int(4 ** int(key.removeprefix("conv_up").split(".")[0]))
    if key.startswith(("conv_hr", "conv_last")):
        return int(4**spec.doublings)
    return 1


@pytest.mark.parametrize("blocks", [1, 2, 4, 6, 7])
def test_residual_blocks_at_once_are_the_same_units_with_the_same_cost_and_reach(blocks: int) -> None:
    head, *trunk, tail = stages(ANIME, blocks)
    single = stages(ANIME)
    assert [stage.unit for stage in trunk] == list(range(0, 18, 3 * blocks))
    assert sum(stage.units for stage in trunk) == unit_count(ANIME)
    assert (head, tail) == (single[0], single[-1])
    assert [stage.main for stage in trunk[1:]] == [stage.output for stage in trunk[:-1]]
    assert trunk[-1].output == tail.main
    assert sum(stage.radius for stage in trunk) == sum(stage.radius for stage in single[1:-1])
    macs = [
        sum(conv.macs for stage in chain[1:-1] for conv in stage.convolutions)
        for chain in (single, stages(ANIME, blocks))
    ]
    assert macs[0] == macs[1]
    assert all(0 <= conv.margin < stage.radius for stage in trunk for conv in stage.convolutions)
    assert not any(stage.sides for stage in trunk)
