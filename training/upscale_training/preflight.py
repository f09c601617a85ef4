"""Checks before a run, which cost seconds and save hours: pictures, twins between training and validation, settings, weights,
memory, disk and time. What must not be is raised by its type, what should not be is a warning, the rest are facts.
"""

import contextlib
import hashlib
import math
import shutil
import statistics
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode  # pyright: ignore[reportPrivateImportUsage]
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves  # pyright: ignore[reportUnknownVariableType]

from upscale.engines.machine import free_bytes
from upscale.errors import OutputError, UpscaleError
from upscale.image import from_float, to_float
from upscale.model import open_model
from upscale.nets import build
from upscale_training.adversary import Adversary
from upscale_training.backbones import Backbone, BackboneName, load_backbone
from upscale_training.backbones.nets import parameter_shapes
from upscale_training.data.pictures import CACHE_BYTES, Bad, Entry, Listing, Reader, read_picture
from upscale_training.data.samples import Cut, Samples
from upscale_training.errors import DataError, RecipeError
from upscale_training.generator import fresh, inherited, outputs_of
from upscale_training.losses import Late
from upscale_training.losses.late import Load
from upscale_training.players import Ground, Players, first_players
from upscale_training.precision import chosen
from upscale_training.recipe import Recipe, Stage
from upscale_training.step import Pictures, train_step
from upscale_training.terms import Seen, Term

if TYPE_CHECKING:
    from upscale_training.run import Found, Order

FEW_PICTURES = 50
WORN = 300
"""Views of each piece of the size of a crop, above which a run learns its pictures by heart. Real-ESRGAN's has about 130: 400,000
steps of 48 crops of 256 pixels, from 3,450 pictures of 2.8 megapixels."""
BITS_APART, LEVELS_APART = 40, 6.0
"""Twins differ in no more of 256 bits and, on the mean, levels of their 17×16 thumbnails."""
SPARE = 1.4
"""How much more than its tensors a step takes on a CPU: 1.2 to 1.5 times was measured, the arithmetic library's own copies."""
SHARE = 0.9
"""Of the free memory, how much a run may plan with: others want some too."""

_WIDE, _HIGH = 17, 16
_GRAY_LEVELS = 3
_JPEG = b"\xff\xd8"
_GENERATOR, _CRITIC = 20, 16
"""Bytes for each parameter: itself, its gradient, Adam's two moments, and the generator's average."""
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


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


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A picture at a glance: gray (16, 17) in 0..255, whether it has no color, and 256 bits of what is brighter than its left
    neighbor (dHash, Krawetz 2013), which survive another size and another file format."""

    thumb: npt.NDArray[np.float32]
    gray: bool
    bits: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of memory of a step: `fixed`, and `each` for every crop of a micro-batch; `stored`: of a checkpoint."""

    fixed: int
    each: int
    stored: int = 0

    def total(self, crops: int) -> int:
        return self.fixed + crops * self.each


def preflight(
    order: "Order",
    recipe: Recipe,
    found: "Found",
    device: torch.device,
    world: int = 1,
    trial: bool = False,
    load: Load = load_backbone,
) -> Findings:
    """`world`: processes that share each batch. `trial`: take two steps of every stage and say how long the run
    will take. `load`: what finds backbones (Ground.load).

    Raises RecipeError, DataError, BackboneMissingError, ModelError and OutputError with the remedy.
    """
    facts, warnings = list[str](), list[str]()
    _check_settings(recipe, world)
    _check_weights(recipe, load)
    warnings += start_warnings(recipe)
    train, noticed = checked(found.train, found.held_out)
    warnings += noticed
    facts += _views(recipe, train, warnings)
    making = _sample_seconds(recipe, train)
    needs = [memory_need(recipe, stage) for stage in recipe.stages]
    parts, needed = _cut(recipe, needs, device, world, train, facts, warnings)
    facts.append(_disk(order.out, recipe, max(need.stored for need in needs), warnings))
    seconds = None
    if trial:
        seconds = sum(
            _step_seconds(recipe, index, Ground(device, load=load), parts[index]) * one.steps
            for index, one in enumerate(recipe.stages)
        )
        alone = device.type == "cpu" and not order.workers
        seconds += sum(making * one.batch * one.steps for one in recipe.stages) if alone else 0.0
        facts.append(f"about {_duration(seconds)} for {recipe.steps} steps on {device}, by a trial of each stage")
    return Findings(train, tuple(facts), tuple(warnings), parts, needed, seconds)


# Pictures


def checked(train: Listing, held_out: Listing) -> tuple[Listing, list[str]]:
    """The training pictures that can be decoded and are not held out too; warnings. Raises DataError where none is left."""
    if set(train.entries) == set(held_out.entries):
        return train, [
            "the run is judged on the pictures that it learns from, since there are so few; give others with --val"
        ]
    looks, held = _looks(train.entries), _looks(held_out.entries)
    broken = tuple(Bad(entry.path, look) for entry, look in looks.items() if isinstance(look, str))
    bad = (*train.bad, *broken)
    good = {entry: look for entry, look in looks.items() if isinstance(look, Look)}
    same = twins(good, {entry: look for entry, look in held.items() if isinstance(look, Look)})
    kept = tuple(entry for entry in good if entry not in same)
    if not kept:
        why = "every one is held out too; give --val others" if same else f"the first: {bad[0].reason}"
        raise DataError(f"none of {len(train.entries)} training pictures can be used; {why}")
    warnings = list[str]()
    if bad:
        warnings.append(
            f"{len(bad)} of {len(bad) + len(good)} pictures are left out: {_first(one.reason for one in bad)}"
        )
    if same:
        pairs = _first(f"{one.path.name} is {other.path.name}" for one, other in same.items())
        warnings.append(f"{len(same)} training pictures are held out too and are not trained on: {pairs}")
    gray = sum(good[entry].gray for entry in kept)
    if gray >= 0.9 * len(kept):
        warnings.append(
            f"{gray} of {len(kept)} pictures have no color: the network will forget colors; add colored ones"
        )
    return Listing(kept, bad), warnings


def twins(train: Mapping[Entry, Look], held_out: Mapping[Entry, Look]) -> dict[Entry, Entry]:
    """Training pictures that are also held out, as the same file or in another size or format → the held-out one."""
    if not train or not held_out:
        return {}
    found: dict[Entry, Entry] = {}
    ours, theirs = list(train.values()), list(held_out.values())
    bits, thumbs = np.stack([look.bits for look in ours]), np.stack([look.thumb for look in ours])
    for entry, look in zip(held_out, theirs, strict=True):
        apart = np.bitwise_count(bits ^ look.bits).sum(axis=1, dtype=np.int64)
        levels = np.abs(thumbs - look.thumb).mean(axis=(1, 2))
        near = np.flatnonzero((apart <= BITS_APART) & (levels <= LEVELS_APART))
        found |= {one: entry for index, one in enumerate(train) if index in set(near.tolist())}
    return found | _identical(train, held_out)


def look_at(path: Path, width: int, height: int) -> Look | str:
    """Decoded as small as the format allows; or why it cannot be, from the reader that the training uses."""
    try:
        data = path.read_bytes()
        flag = _reduction(width, height) if data.startswith(_JPEG) else cv2.IMREAD_COLOR
        pixels = None if _cut_short(data) else cv2.imdecode(np.frombuffer(data, np.uint8), flag)
        if pixels is None:
            pixels = np.ascontiguousarray(from_float(to_float(read_picture(path)), np.uint8)[..., ::-1])
    except (OSError, cv2.error, DataError) as error:
        return str(error) if isinstance(error, DataError) else f"{path}: cannot be read ({error})"
    if min(pixels.shape[:2]) > 8 * _WIDE:
        pixels = cv2.resize(pixels, (8 * _WIDE, 8 * _HIGH), interpolation=cv2.INTER_AREA)
    gray = bool(np.ptp(np.asarray(pixels, np.int16), axis=2).max() <= _GRAY_LEVELS)
    small = cv2.resize(np.asarray(pixels, np.float32), (_WIDE, _HIGH), interpolation=cv2.INTER_AREA)
    thumb = np.asarray(small @ np.array([0.114, 0.587, 0.299], np.float32), np.float32)
    return Look(thumb, gray, np.packbits(thumb[:, 1:] > thumb[:, :-1]))


def _looks(entries: Sequence[Entry]) -> dict[Entry, Look | str]:
    with ThreadPoolExecutor() as pool:  # OpenCV decodes without Python's lock
        return dict(zip(entries, pool.map(_look, entries), strict=True))


def _look(entry: Entry) -> Look | str:
    return look_at(entry.path, entry.width, entry.height)


def _reduction(width: int, height: int) -> int:
    """OpenCV's flag for the strongest reduction that leaves two pixels for each of the thumbnail's. For JPEG alone, where it is
    a mean; of other formats OpenCV decodes all and takes single pixels."""
    flags = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
    return next((flag for by, flag in flags.items() if min(width, height) // by >= 2 * _WIDE), cv2.IMREAD_COLOR)


def _cut_short(data: bytes) -> bool:
    """Whether a JPEG, PNG or WebP lacks its end: OpenCV may fill up what is missing without a word."""
    if data.startswith(_JPEG):
        return b"\xff\xd9" not in data[-64:]
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-64:]
    return data.startswith(b"RIFF") and int.from_bytes(data[4:8], "little") + 8 > len(data)


def _identical(train: Iterable[Entry], held_out: Iterable[Entry]) -> dict[Entry, Entry]:
    """By size in bytes first, then by sha256."""
    sizes: dict[int, list[Entry]] = {}
    for entry in held_out:
        sizes.setdefault(entry.path.stat().st_size, []).append(entry)
    found: dict[Entry, Entry] = {}
    for entry in train:
        for other in sizes.get(entry.path.stat().st_size, []):
            if _sha256(entry.path) == _sha256(other.path):
                found[entry] = other
    return found


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _first(lines: Iterable[str], count: int = 3) -> str:
    every = list(lines)
    return "; ".join(every[:count]) + (f"; and {len(every) - count} more" if len(every) > count else "")


def _views(recipe: Recipe, train: Listing, warnings: list[str]) -> list[str]:
    """How much there is to learn from, and how often it will be seen."""
    samples = sum(stage.steps * stage.batch for stage in recipe.stages)
    count, middle = len(train.entries), statistics.median(one.width * one.height for one in train.entries)
    pieces = sum(max(1.0, one.width * one.height / recipe.stages[-1].crop ** 2) for one in train.entries)
    worn = samples / pieces
    if samples > 10 * count and (count < FEW_PICTURES or worn > WORN):
        warnings.append(
            f"{count} pictures are few for {samples} samples (each piece is seen {worn:.0f} times): the network will learn them by"
            " heart; add pictures or take fewer --steps"
        )
    return [
        f"{count} pictures of {middle / 1e6:.2f} megapixels (median); each is seen {samples / count:.0f} times, each piece of the"
        f" size of a crop {worn:.1f} times"
    ]


# Settings and weights


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
        adversarial = recipe.stages[0].adversary is not None
        return [
            "the first stage is adversarial and begins from scratch; a stage without adversary first, or a `start`, works"
            " better"
        ] * adversarial
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


def _sample_seconds(recipe: Recipe, train: Listing) -> float:
    """Makes a sample of every stage; the longest time. Raises DataError, or RecipeError for what a person's function does."""
    longest, reader = 0.0, Reader()
    for stage in recipe.stages:
        cut = Cut(stage.crop, recipe.cuts.shrink, recipe.cuts.detail, recipe.cuts.flip)
        samples = Samples(
            train, cut, recipe.spec_in(stage).scale, recipe.degradation_in(stage), recipe.seed, recipe.target_in(stage)
        )
        try:
            samples.sample(0, reader)
            begin = time.perf_counter()
            samples.sample(1, reader)
        except UpscaleError:
            raise
        except Exception as error:  # a degradation is a person's own function: anything may happen in it
            raise RecipeError(f"stage {stage.name}: its degradation fails ({type(error).__name__}: {error})") from error
        longest = max(longest, time.perf_counter() - begin)
    return longest


# Memory


def memory_need(recipe: Recipe, stage: Stage) -> Need:
    """What a step of `stage` needs, by taking it with tensors that have sizes and no content. Raises RecipeError where the parts
    of the stage do not fit together. The arithmetic is the recipe's; `auto` counts as the CPU's."""
    rehearsal = _Rehearsal(recipe, stage)
    parameters, critic = _size(rehearsal.network), _size(rehearsal.adversary.net) if rehearsal.adversary else 0
    backbones = {term.loss.backbone for term in stage.terms if isinstance(term.loss, Late)}
    eyes = sum(_weights(cast("BackboneName", name)) for name in backbones if name is not None)
    fixed = _GENERATOR * parameters + _CRITIC * critic + eyes
    return Need(int(SPARE * fixed), int(SPARE * rehearsal.peak), 16 * parameters + 12 * critic)


def _weights(name: BackboneName) -> int:
    return sum(4 * math.prod(shape) for shape in parameter_shapes(name).values())


def _size(net: nn.Module) -> int:
    return sum(value.numel() for value in net.parameters())


class _Ledger(TorchDispatchMode):
    """Counts the bytes of all tensors that live at once."""

    def __init__(self) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self._count(value.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()  # pyright: ignore[reportPrivateUsage]
        if key not in self._known:
            self._known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


class _Rehearsal:
    """A step of one crop as step.py takes it, without numbers. `peak`: most bytes at once, without what always lies there."""

    def __init__(self, recipe: Recipe, stage: Stage) -> None:
        spec, kind = recipe.spec_in(stage), _TYPES.get(chosen(recipe.precision, torch.device("cpu")))
        self.network = build(spec)
        self.adversary = Adversary(stage.adversary) if stage.adversary else None
        with FakeTensorMode(allow_non_fake_inputs=True):
            self._terms = [_hollow(term) for term in stage.terms]
            with _Ledger() as ledger, torch.autocast("cpu", kind, enabled=kind is not None):
                hr = torch.empty(1, 3, stage.crop, stage.crop)
                lr = torch.empty(1, 3, stage.crop // spec.scale, stage.crop // spec.scale)
                self._taken(stage, lr, hr, lr if stage.with_clean else None)
        self.peak = ledger.peak

    def _taken(self, stage: Stage, lr: Tensor, hr: Tensor, clean: Tensor | None) -> None:
        features = list[Tensor]()
        hooks = outputs_of(self.network, stage.feature_layers, features)
        outputs = [self.network(lr), *features]
        for hook in hooks:
            hook.remove()
        leaves = [one.detach().float().requires_grad_() for one in outputs]
        seen = Seen(lr, hr, leaves[0], clean, self.network, self.adversary, leaves[1:])
        sums = [torch.zeros_like(leaf) for leaf in leaves]
        adversary = self.adversary
        game = [Term("adversary", 1.0, partial(adversary.generator_loss, step=0))] if adversary else []
        for term in (*self._terms, *game):
            with _tolerant(term):
                torch.autograd.grad(term(seen).float(), leaves, allow_unused=True)
        torch.autograd.backward(outputs, [one.to(out.dtype) for one, out in zip(sums, outputs, strict=True)])
        made = leaves[0].detach()
        del outputs, features, leaves, seen
        if adversary is not None:
            adversary.begin(0)
            adversary.backward(made, hr)


@contextlib.contextmanager
def _tolerant(term: Term) -> Any:
    """A person's own loss may do what tensors without content cannot: then it is not counted. Our own errors are."""
    try:
        yield
    except UpscaleError:
        raise
    except Exception:
        return


def _hollow(term: Term) -> Term:
    """The term with backbones of the right shape and no content."""
    if not isinstance(term.loss, Late) or term.loss.backbone is None:
        return term
    return replace(term, loss=term.loss.make(_empty_backbone))


def _empty_backbone(name: BackboneName) -> Backbone:
    return Backbone(name, {key: torch.empty(shape) for key, shape in parameter_shapes(name).items()})


def _cut(
    recipe: Recipe,
    needs: Sequence[Need],
    device: torch.device,
    world: int,
    train: Listing,
    facts: list[str],
    warnings: list[str],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """For each stage, into how many micro-batches a process cuts its batch so that it fits, and the bytes for one of them."""
    free = int(SHARE * free_bytes(str(device)))
    if device.type != "cuda":
        free -= min(CACHE_BYTES, 3 * train.pixels)
    parts, needed = list[int](), list[int]()
    for stage, need in zip(recipe.stages, needs, strict=True):
        batch = stage.batch // world
        if need.total(1) > free:
            raise RecipeError(
                f"stage {stage.name}: one crop of {stage.crop} pixels needs {_gigabytes(need.total(1))} of memory, and"
                f" {_gigabytes(free)} can be had on {device}; lower --crop, or take a smaller network or discriminator"
            )
        count = next(parts for parts in range(1, batch + 1) if need.total(-(-batch // parts)) <= free)
        parts.append(count)
        needed.append(need.total(-(-batch // count)))
        facts.append(
            f"stage {stage.name}: about {_gigabytes(needed[-1])} of memory for {-(-batch // count)} crops of {stage.crop} at once"
            f" ({_gigabytes(free)} can be had)"
        )
        if count > 1:
            warnings.append(
                f"stage {stage.name}: a batch of {batch} needs {_gigabytes(need.total(batch))} of memory; it is cut into"
                f" {count} parts, with the same result"
            )
    return tuple(parts), tuple(needed)


# Disk and time


def _disk(out: Path, recipe: Recipe, checkpoint: int, warnings: list[str]) -> str:
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
        warnings.append(f"{out}: {_gigabytes(free)} are free, and the run may take {_gigabytes(whole)}; make room")
    return f"about {_gigabytes(whole)} on the disk, {_gigabytes(checkpoint)} for a checkpoint"


def _step_seconds(recipe: Recipe, index: int, ground: Ground, parts: int) -> float:
    """Seconds of a step of stage `index`: the second of two. On a CPU of one crop, times the batch."""
    stage = replace(recipe.stages[index], steps=2)
    crops = 1 if ground.device.type == "cpu" else stage.batch
    alone = replace(recipe, stages=(stage,), network=recipe.spec_in(stage), start=None, compile=False)
    players, _ = first_players(alone, ground)
    players.parts = min(parts, crops)
    pictures = _noise(stage, alone.network.scale, crops, ground.device)
    seconds = 0.0
    for step in range(2):
        begin = time.perf_counter()
        _taken(players, pictures, stage, step)
        seconds = time.perf_counter() - begin
    return seconds * stage.batch / crops


def _taken(players: Players, pictures: Pictures, stage: Stage, step: int) -> None:
    facts = train_step(players, pictures, stage, step)
    float(facts["losses.total"])  # waits for the device


def _noise(stage: Stage, scale: int, crops: int, device: torch.device) -> Pictures:
    chance = torch.Generator().manual_seed(0)
    hr = torch.rand(crops, 3, stage.crop, stage.crop, generator=chance).to(device)
    lr = hr[..., ::scale, ::scale].contiguous()
    return Pictures(lr, hr, lr if stage.with_clean else None)


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
