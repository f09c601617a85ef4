"""From what a person asked for to a run: pictures found and checked, everything put together, and the trainer let go."""

import contextlib
import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from upscale_training.backbones import Backbone, BackboneName, load_backbone
from upscale_training.changes import Changes, changed
from upscale_training.data.feed import Make
from upscale_training.data.held_out import pairs, split
from upscale_training.data.pictures import Listing, list_pictures
from upscale_training.data.samples import Cut, Samples
from upscale_training.degrade import Preset
from upscale_training.devices import chosen_device
from upscale_training.distributed import joined_group
from upscale_training.errors import RunError
from upscale_training.health.pictures import Checkup
from upscale_training.judge import Judge
from upscale_training.metrics.suite import MetricName, open_metrics
from upscale_training.order import Found, Order
from upscale_training.players import Ground
from upscale_training.precision import chosen
from upscale_training.preflight import Findings, preflight
from upscale_training.recipe import Recipe
from upscale_training.report.html import write_report
from upscale_training.report.log import Log
from upscale_training.report.tensorboard import open_tensorboard
from upscale_training.run_folder import RunFolder
from upscale_training.script import load_recipe
from upscale_training.strips import write_fixed
from upscale_training.trainer import Setting, Tell, Trainer

HELD_OUT = 12
"""So many pictures are set aside for judging where none are given."""

_FEW = 4
_QUICK: tuple[MetricName, ...] = ("psnr_y", "ssim_y", "lpips_alex")
_SLOW: tuple[MetricName, ...] = ("dists",)
"""Half a minute for each validation on a CPU; `upscale-train evaluate` measures it at the end."""


def carried_out(order: Order, listeners: Sequence[Tell], stop: Callable[[], bool] = lambda: False) -> str:
    """Trains as ordered; returns why it ended. `listeners` take each line of the log. Raises what is wrong, by type."""
    recipe = changed(load_recipe(order.recipe), order.changes)
    device = chosen_device(order.device)
    folder = RunFolder(order.out)
    _refuse_among_pictures(order)
    folder.refuse_if_taken(order.recipe, order.resume, order.overwrite)
    with joined_group(device) as group, contextlib.ExitStack() as stack:
        ground = Ground(device, group, partial(_load, order.backbones))
        found, findings = looked_over(order, recipe, ground)
        if group.leads:
            stack.enter_context(folder.begun(order.recipe, order.resume, order.overwrite))
            log = stack.enter_context(Log(folder.log))
            listeners = (log.add, *listeners, *_views(folder, stack))
        group.wait()
        setting = _setting(order, recipe, found, findings, folder, ground, listeners, stop)
        return Trainer(recipe, setting).run(order.resume)


def _refuse_among_pictures(order: Order) -> None:
    """What a run writes must not be learnt from by the next one."""
    for place in (*order.data, *order.val):
        if place.resolve() in (out := order.out.resolve(), *out.parents):
            raise RunError(f"{order.out}: lies among the pictures of {place}; choose another -o")


def rehearsed(order: Order) -> Findings:
    """What a dry run finds: the pictures, memory and time, with a trial of each stage; nothing is written."""
    recipe = changed(load_recipe(order.recipe), order.changes)
    ground = Ground(chosen_device(order.device), load=partial(_load, order.backbones))
    return looked_over(order, recipe, ground, trial=True)[1]


def looked_over(order: Order, recipe: Recipe, ground: Ground, trial: bool = False) -> tuple[Found, Findings]:
    """The pictures, without those that cannot be used or are held out too, and what else was found before the first step."""
    found = find(order, recipe)
    findings = preflight(order, recipe, found, ground.device, ground.group.share.world, trial, ground.load)
    return replace(found, train=findings.train), findings


def find(order: Order, recipe: Recipe) -> Found:
    """The pictures to learn from and those to judge by. Raises DataError where there are none."""
    listing = list_pictures(order.data, max(stage.crop for stage in recipe.stages))
    if order.val:
        smallest = 4 * max(recipe.spec_in(stage).scale for stage in recipe.stages)
        return Found(listing, list_pictures(order.val, smallest))
    if len(listing.entries) < _FEW:
        return Found(listing, listing)
    train, held_out = split(listing, HELD_OUT)
    return Found(train, held_out)


def _views(folder: RunFolder, stack: contextlib.ExitStack) -> list[Tell]:
    """What shows the run while it goes on: the report, and TensorBoard's files where it is installed."""
    board = stack.enter_context(open_tensorboard(folder.path))

    def report(line: dict[str, Any]) -> None:
        if line["kind"] in ("validation", "alarm", "end"):
            write_report(folder.path)

    return [board, report]


def _setting(
    order: Order,
    recipe: Recipe,
    found: Found,
    findings: Findings,
    folder: RunFolder,
    ground: Ground,
    listeners: Sequence[Tell],
    stop: Callable[[], bool],
) -> Setting:
    device = ground.device
    workers = _workers(order.workers, device)
    judges = _Judges(recipe, found.held_out, folder, device, order.backbones)
    identity = {"network": recipe.network.to_json(), "pictures": found.train.digest(), "seed": str(recipe.seed)}
    notes = {"recipe": recipe.name, "pictures": found.train.digest(), "program": f"upscale {version('upscale')}"}
    return Setting(
        ground=ground,
        parts=findings.parts,
        folder=folder,
        samples=partial(_samples, order, recipe, found.train, workers),
        judge=judges.of,
        listeners=tuple(listeners),
        notes=notes,
        about={**_about(recipe, found, [*findings.warnings, *judges.missing], device), "bicubic": judges.bicubic()},
        identity=identity,
        script=hashlib.sha256(order.recipe.read_bytes() + repr(order.changes).encode()).hexdigest(),
        workers=workers,
        guard=order.guard,
        stop=stop,
    )


def _load(files: Mapping[BackboneName, Path], name: BackboneName) -> Backbone:
    return load_backbone(name, files.get(name))


def _samples(order: Order, recipe: Recipe, listing: Listing, workers: int, stage: int, seed: int) -> Make:
    """How the samples of a stage are made: here, from the recipe at hand; in workers, from the script that they load."""
    if workers == 0:
        return partial(samples_of, recipe, listing, stage, seed)
    return partial(_samples_there, order.recipe, order.changes, listing, stage, seed)


def _samples_there(script: Path, changes: Changes, listing: Listing, stage: int, seed: int) -> Samples:
    """What travels to a worker is the script's name, not its functions."""
    return samples_of(changed(load_recipe(script), changes), listing, stage, seed)


def samples_of(recipe: Recipe, listing: Listing, index: int, seed: int) -> Samples:
    """The samples of stage `index`."""
    stage, cuts = recipe.stages[index], recipe.cuts
    cut = Cut(stage.crop, cuts.shrink, cuts.detail, cuts.flip)
    scale = recipe.spec_in(stage).scale
    return Samples(
        listing, cut, scale, recipe.degradation_in(stage), seed + index, recipe.target_in(stage), stage.with_clean
    )


class _Judges:
    """Who judges in each stage: another one only where scale or degradation differ from the judge's before."""

    def __init__(
        self,
        recipe: Recipe,
        held_out: Listing,
        folder: RunFolder,
        device: torch.device,
        files: Mapping[BackboneName, Path],
    ) -> None:
        self._recipe, self._held_out, self._folder = recipe, held_out, folder
        self._measures, self.missing = open_metrics(_QUICK if device.type == "cpu" else _QUICK + _SLOW, device, files)
        self._checkup = Checkup()
        self._made: tuple[Preset, int, Judge] | None = None

    def bicubic(self) -> dict[str, float]:
        """What bicubic reaches where the last stage is judged."""
        last = len(self._recipe.stages) - 1
        return self.of(last).bicubic(self._recipe.network.scale)

    def of(self, index: int) -> Judge:
        stage = self._recipe.stages[index]
        scale, preset = self._recipe.spec_in(stage).scale, stage.degradation or self._recipe.degradation
        if self._made is None or self._made[0] is not preset or self._made[1] != scale:
            made, _ = pairs(self._held_out, self._recipe.degradation_in(stage), scale, self._recipe.seed)
            write_fixed(self._folder.path, made)
            self._made = preset, scale, Judge(made, self._measures, self._checkup)
        return self._made[2]


def _workers(wished: int | None, device: torch.device) -> int:
    """On a CPU the network needs all cores, and samples are made between its steps."""
    if wished is not None:
        return wished
    return 0 if device.type == "cpu" else min(16, max(1, (os.cpu_count() or 2) - 1))


def _about(recipe: Recipe, found: Found, missing: Sequence[str], device: torch.device) -> dict[str, Any]:
    """The start line's content."""
    stages = [
        {
            "name": stage.name,
            "steps": stage.steps,
            "batch": stage.batch,
            "crop": stage.crop,
            "scale": recipe.spec_in(stage).scale,
            "learning rate": stage.learning_rate,
            "terms": {
                term.name: term.weight if isinstance(term.weight, float | int) else str(term.weight)
                for term in stage.terms
            },
            "adversary": stage.adversary is not None,
        }
        for stage in recipe.stages
    ]
    network = json.loads(recipe.network.to_json())
    return {
        "device": str(device),
        "precision": chosen(recipe.precision, device),
        "steps": recipe.steps,
        "config": {
            "recipe": recipe.name,
            "start": recipe.start,
            "network": network,
            "seed": recipe.seed,
            "stages": stages,
            "ema": recipe.ema,
        },
        "versions": {name: version(name) for name in ("upscale", "torch", "numpy")}
        | {"python": platform.python_version()},
        "pictures": {"train": len(found.train.entries), "val": len(found.held_out.entries)},
        "left_out": [bad.reason for bad in found.train.bad[:20]],
        "warnings": list(missing),
        "command": " ".join(sys.argv),
    }
