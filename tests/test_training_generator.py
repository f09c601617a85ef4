"""Generators: begun anew, from trained ones, from other scales; their average; their hooks."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from upscale.checkpoint import Checkpoint, read_checkpoint, write_safetensors
from upscale.errors import ModelError
from upscale.nets import build
from upscale.spec import ModelSpec
from upscale_training.errors import RecipeError
from upscale_training.generator import (
    Ema,
    arrays_of,
    begun,
    checkpoint_of,
    fresh,
    grown,
    inherited,
    outputs_of,
    spec_for,
)

COMPACT = ModelSpec("c", "compact", 2, features=8, blocks=2, activation="prelu")
RRDB = ModelSpec("r", "rrdb", 2, features=8, growth=4, blocks=1)


def picture(side: int = 12) -> Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_a_new_network_depends_on_the_seed_alone_and_disturbs_nobodys_chance() -> None:
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    one = fresh(COMPACT, 7)
    assert torch.equal(torch.rand(1), before)
    x = picture()
    assert torch.equal(one(x), fresh(COMPACT, 7)(x))
    assert not torch.equal(one(x), fresh(COMPACT, 8)(x))


@torch.no_grad()
def test_a_new_pixel_shuffle_begins_without_checkerboard() -> None:
    """ICNR: all sub-pixels of a block are equal."""
    made = fresh(replace(COMPACT, scale=4), 0)(picture())
    blocks = F.pixel_unshuffle(made, 4).unflatten(1, (3, 16))
    assert torch.allclose(blocks, blocks[:, :, :1].expand_as(blocks), atol=1e-6)


@torch.no_grad()
def test_dense_blocks_begin_near_the_identity() -> None:
    network = fresh(RRDB, 0)
    x = torch.randn(1, 8, 10, 10, generator=torch.Generator().manual_seed(0))
    assert float((network.get_submodule("body.0.rdb1")(x) - x).std()) < 0.05 * float(x.std())


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("spec", [COMPACT, RRDB], ids=["compact", "rrdb"])
@torch.no_grad()
def test_all_scales_can_be_made(spec: ModelSpec, scale: int) -> None:
    if spec.arch == "compact" or scale in (1, 2, 4, 8):
        assert fresh(replace(spec, scale=scale), 0)(picture()).shape == (1, 3, 12 * scale, 12 * scale)


@torch.no_grad()
def test_a_grown_compact_network_makes_the_old_picture_larger() -> None:
    """Every pixel four times: the curriculum goes on exactly where it stood."""
    network = fresh(COMPACT, 3)
    old, new = network(picture()), grown(network, replace(COMPACT, scale=4), 9)(picture())
    assert torch.allclose(new, old.repeat_interleave(2, 2).repeat_interleave(2, 3), atol=1e-6)
    back = grown(grown(network, replace(COMPACT, scale=4), 9), COMPACT, 9)
    assert torch.allclose(back(picture()), old, atol=1e-6)


def test_a_grown_rrdb_keeps_its_trunk_and_copies_its_last_doubling() -> None:
    network = fresh(RRDB, 3)
    new = arrays_of(grown(network, replace(RRDB, scale=4), 9))
    old = arrays_of(network)
    assert all((new[key] == old[key]).all() for key in old)
    assert (new["conv_up2.weight"] == old["conv_up1.weight"]).all()


def test_training_begins_from_the_zoo_and_tells_how_much_fits() -> None:
    start = begun(spec_for("animevideov3", "mine", None), "animevideov3", 0)
    assert start.story == "mine: 53 of 53 parameters from animevideov3"
    half = begun(replace(spec_for("animevideov3", "mine", None), blocks=8), "animevideov3", 0)
    assert "of 29 parameters" in half.story


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    parent = Checkpoint(RRDB, arrays_of(fresh(RRDB, 0)))
    with pytest.raises(RecipeError, match="nothing to take over"):
        inherited(fresh(COMPACT, 0), parent)
    with pytest.raises(RecipeError, match="hardly a layer has the shape"):
        inherited(fresh(replace(RRDB, features=16, growth=6), 0), parent)
    with pytest.raises(ModelError):
        spec_for(str(tmp_path / "none.safetensors"), "x", None)


@torch.no_grad()
def test_a_written_generator_is_what_was_trained(tmp_path: Path) -> None:
    network = fresh(RRDB, 5)
    write_safetensors(checkpoint_of(network, {"recipe": "r"}), tmp_path / "m.safetensors")
    found = read_checkpoint(tmp_path / "m.safetensors")
    again = build(found.spec)
    again.load_state_dict({key: torch.tensor(value) for key, value in found.arrays.items()})
    assert torch.equal(again(picture()), network(picture()))
    assert found.notes == {"recipe": "r"}


def test_the_average_follows_a_young_network_closely_and_an_old_one_slowly() -> None:
    network = fresh(COMPACT, 0)
    ema = Ema(network, 0.999)
    weight = network.get_parameter("body.0.weight")
    with torch.no_grad():
        weight.fill_(1.0)
    mean = ema.network.get_parameter("body.0.weight")
    start = float(mean.detach().mean())
    ema.update(network)
    assert float(mean.detach().mean()) == pytest.approx(0.1 * start + 0.9, abs=1e-5)
    ema.updates = 100_000
    with torch.no_grad():
        weight.fill_(2.0)
    before = float(mean.detach().mean())
    ema.update(network)
    assert float(mean.detach().mean()) == pytest.approx(before + 0.001 * (2.0 - before), abs=1e-5)


@torch.no_grad()
def test_outputs_of_modules_come_in_the_order_asked_for() -> None:
    network, kept = fresh(RRDB, 0), list[Tensor]()
    hooks = outputs_of(network, ("body.0.rdb3", "body.0.rdb1"), kept)
    network(picture())
    for hook in hooks:
        hook.remove()
    assert [one.shape for one in kept] == [(1, 8, 12, 12)] * 2
    assert not torch.equal(*kept)
    with pytest.raises(RecipeError, match="no module nowhere"):
        outputs_of(network, ("nowhere",), kept)
