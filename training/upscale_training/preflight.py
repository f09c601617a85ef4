"""Checks before a run, which cost seconds and save hours: pictures, twins between training and validation, settings, weights,
memory, disk and time. What must not be is raised by its type, what should not be is a warning, the rest are facts.
"""

import shutil
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch

from upscale.engines.machine import free_bytes
from upscale.errors import OutputError
from upscale.model import open_model
from upscale_training.backbones import BackboneName, load_backbone
from upscale_training.data.pictures import CACHE_BYTES, Bad, Entry, Listing
from upscale_training.data.twins import Look, looks, twins
from upscale_training.errors import DataError, RecipeError
from upscale_training.generator import fresh, inherited
from upscale_training.losses import Late
from upscale_training.losses.late import Load
from upscale_training.order import Found, Order
from upscale_training.players import Ground
from upscale_training.precision import chosen
from upscale_training.recipe import Recipe, Stage
from upscale_training.rehearsal import Need, memory_need, run_seconds, sample_seconds

FEW_PICTURES = 50
WORN = 300
"""Views of each piece of the size of a crop, above which a run learns its pictures by heart. Real-ESRGAN's has about 130: 400,000
steps of 48 crops of 256 pixels, from 3,450 pictures of 2.8 megapixels."""
SHARE = 0.9
"""Of the free memory, how much a run may plan with: others want some too."""


@dataclass(frozen=True, slots=True)
class Findings:
    """`train`: the listing without unreadable pictures and without twins of held-out ones. `parts`: for each stage, into how many
    micro-batches to cut a batch to begin with (Players.parts); `bytes_needed`: at that. `seconds`: of the whole run, where a
    trial was asked for."""

    train: Listing
    facts: tuple[str, ...]
    warnings: tuple[str, ...]
    parts: tuple[int, ...]
    bytes_needed: tuple[int, ...]
    seconds: float | None = None


@dataclass(slots=True)
class _Said:
    facts: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])


def preflight(
    order: Order,
    recipe: Recipe,
    found: Found,
    device: torch.device,
    world: int = 1,
    trial: bool = False,
    load: Load = load_backbone,
) -> Findings:
    """`world`: processes that share each batch. `trial`: take two steps of every stage and say how long the run
    will take. `load`: what finds backbones (Ground.load).

    Raises RecipeError, DataError, BackboneMissingError, ModelError and OutputError with the remedy.
    """
    said = _Said()
    _check_settings(recipe, world)
    chosen(recipe.precision, device)
    _check_weights(recipe, load)
    said.warnings += start_warnings(recipe)
    train, noticed = checked(found.train, found.held_out)
    said.warnings += noticed
    _tell_views(recipe, train, said)
    making = sample_seconds(recipe, train)
    needs = [memory_need(recipe, stage) for stage in recipe.stages]
    parts, needed = _cut(recipe, needs, world, device, train, said)
    _check_disk(order.out, recipe, max(need.stored for need in needs), said)
    seconds = None
    if trial:
        seconds = run_seconds(recipe, parts, Ground(device, load=load))
        alone = device.type == "cpu" and not order.workers
        seconds += sum(making * one.batch * one.steps for one in recipe.stages) if alone else 0.0
        said.facts.append(f"about {_duration(seconds)} for {recipe.steps} steps on {device}, by a trial of each stage")
    return Findings(train, tuple(said.facts), tuple(said.warnings), parts, needed, seconds)


def checked(train: Listing, held_out: Listing) -> tuple[Listing, list[str]]:
    """The training pictures that can be decoded and are not held out too; warnings. Raises DataError where none is left."""
    if set(train.entries) == set(held_out.entries):
        return train, [
            "the run is judged on the pictures that it learns from, since there are so few; give others with --val"
        ]
    ours, theirs = looks(train.entries), looks(held_out.entries)
    bad = (*train.bad, *(Bad(entry.path, look) for entry, look in ours.items() if isinstance(look, str)))
    good = _decodable(ours)
    same = twins(good, _decodable(theirs))
    kept = {entry: look for entry, look in good.items() if entry not in same}
    if not kept:
        why = "every one is held out too; give --val others" if same else f"the first: {bad[0].reason}"
        raise DataError(f"none of {len(train.entries)} training pictures can be used; {why}")
    whole = len(bad) + len(good)
    return Listing(tuple(kept), bad), [*_left_out(bad, whole), *_held_out_too(same), *_colorless(kept.values())]


def _decodable(looks: Mapping[Entry, Look | str]) -> dict[Entry, Look]:
    return {entry: look for entry, look in looks.items() if isinstance(look, Look)}


def _left_out(bad: Sequence[Bad], whole: int) -> list[str]:
    reasons = _first([one.reason for one in bad])
    return [f"{len(bad)} of {whole} pictures are left out: {reasons}"] if bad else []


def _held_out_too(same: Mapping[Entry, Entry]) -> list[str]:
    pairs = _first([f"{one.path.name} is {other.path.name}" for one, other in same.items()])
    return [f"{len(same)} training pictures are held out too and are not trained on: {pairs}"] if same else []


def _colorless(kept: Collection[Look]) -> list[str]:
    gray = sum(look.gray for look in kept)
    if gray < 0.9 * len(kept):
        return []
    return [f"{gray} of {len(kept)} pictures have no color: the network will forget colors; add colored ones"]


def _first(lines: Sequence[str], count: int = 3) -> str:
    return "; ".join(lines[:count]) + (f"; and {len(lines) - count} more" if len(lines) > count else "")


def _tell_views(recipe: Recipe, train: Listing, said: _Said) -> None:
    """How much there is to learn from, and how often it will be seen."""
    samples = sum(stage.steps * stage.batch for stage in recipe.stages)
    count, middle = len(train.entries), statistics.median(one.width * one.height for one in train.entries)
    pieces = sum(max(1.0, one.width * one.height / recipe.stages[-1].crop ** 2) for one in train.entries)
    worn = samples / pieces
    if samples > 10 * count and (count < FEW_PICTURES or worn > WORN):
        said.warnings.append(
            f"{count} pictures are few for {samples} samples (each piece is seen {worn:.0f} times): the network will learn them by"
            " heart; add pictures or take fewer --steps"
        )
    said.facts.append(
        f"{count} pictures of {middle / 1e6:.2f} megapixels (median); each is seen {samples / count:.0f} times, each piece of the"
        f" size of a crop {worn:.1f} times"
    )


def _check_settings(recipe: Recipe, world: int) -> None:
    for stage in recipe.stages:
        scale = recipe.spec_in(stage).scale * recipe.network.unshuffle
        if stage.crop % scale:
            raise RecipeError(f"stage {stage.name}: a crop of {stage.crop} is no multiple of {scale}; change --crop")
        if stage.batch % world:
            raise RecipeError(
                f"stage {stage.name}: {world} processes cannot share a batch of {stage.batch}; change --batch"
            )


def _check_weights(recipe: Recipe, load: Load) -> None:
    """Everything that stages will ask for, also in hours, is here. Raises BackboneMissingError, ModelError."""
    late = [term.loss for stage in recipe.stages for term in stage.terms if isinstance(term.loss, Late)]
    for name in {loss.backbone: None for loss in late}:
        if name is not None:
            load(cast("BackboneName", name))
    for loss in late:
        if loss.backbone is None:
            loss.make(load)


def start_warnings(recipe: Recipe) -> list[str]:
    """Whether the model to begin with fits. Raises ModelError where it is not there, RecipeError where nothing of it fits."""
    if recipe.start is None:
        if recipe.stages[0].adversary is None:
            return []
        return [
            "the first stage is adversarial and begins from scratch; a stage without adversary first, or a `start`, works"
            " better"
        ]
    spec, parent = recipe.spec_in(recipe.stages[0]), open_model(recipe.start)
    inherited(fresh(spec, recipe.seed), parent)
    unlike = [
        f"{name} {getattr(parent.spec, name)} instead of {getattr(spec, name)}"
        for name in ("features", "growth", "blocks", "unshuffle", "activation")
        if getattr(parent.spec, name) != getattr(spec, name)
    ]
    if not unlike:
        return []
    return [f"{recipe.start} fits in part: it has {', '.join(unlike)}; the rest begins from scratch"]


def _cut(
    recipe: Recipe, needs: Sequence[Need], world: int, device: torch.device, train: Listing, said: _Said
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """For each stage, into how many micro-batches a process cuts its batch so that it fits, and the bytes for one of them."""
    free, cuts = _free_memory(device, train), list[tuple[int, int]]()
    for stage, need in zip(recipe.stages, needs, strict=True):
        batch = stage.batch // world
        count = _parts(stage, need, batch, free, device)
        crops = -(-batch // count)
        cuts.append((count, need.total(crops)))
        said.facts.append(
            f"stage {stage.name}: about {_gigabytes(need.total(crops))} of memory for {crops} crops of {stage.crop} at once"
            f" ({_gigabytes(free)} can be had)"
        )
        if count > 1:
            said.warnings.append(
                f"stage {stage.name}: a batch of {batch} needs {_gigabytes(need.total(batch))} of memory; it is cut into"
                f" {count} parts, with the same result"
            )
    return tuple(count for count, _ in cuts), tuple(needed for _, needed in cuts)


def _free_memory(device: torch.device, train: Listing) -> int:
    """On a CPU the decoded pictures lie there too."""
    free = int(SHARE * free_bytes(str(device)))
    return free if device.type == "cuda" else free - min(CACHE_BYTES, 3 * train.pixels)


def _parts(stage: Stage, need: Need, batch: int, free: int, device: torch.device) -> int:
    if need.total(1) > free:
        raise RecipeError(
            f"stage {stage.name}: one crop of {stage.crop} pixels needs {_gigabytes(need.total(1))} of memory, and"
            f" {_gigabytes(free)} can be had on {device}; lower --crop, or take a smaller network or discriminator"
        )
    return next(parts for parts in range(1, batch + 1) if need.total(-(-batch // parts)) <= free)


def _check_disk(out: Path, recipe: Recipe, checkpoint: int, said: _Said) -> None:
    """What the run's folder will take. Raises OutputError where not even one checkpoint has room."""
    strips = recipe.steps // recipe.validate_every * 4 * 200_000
    whole = (recipe.keep + 2) * checkpoint + strips
    place = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if free < 2 * checkpoint:
        raise OutputError(
            f"{out}: {_gigabytes(free)} are free, and a checkpoint takes {_gigabytes(checkpoint)}; make room or choose another -o"
        )
    if free < whole:
        said.warnings.append(f"{out}: {_gigabytes(free)} are free, and the run may take {_gigabytes(whole)}; make room")
    said.facts.append(f"about {_gigabytes(whole)} on the disk, {_gigabytes(checkpoint)} for a checkpoint")


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
