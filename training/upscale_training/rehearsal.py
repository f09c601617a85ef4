"""What a run will need, found without running it: memory by steps on tensors that have sizes and no content, time by trials."""

import contextlib
import math
import time
import weakref
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode  # pyright: ignore[reportPrivateImportUsage]
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves  # pyright: ignore[reportUnknownVariableType]

from upscale.errors import UpscaleError
from upscale.nets import build
from upscale_training.adversary import Adversary
from upscale_training.backbones import Backbone, BackboneName
from upscale_training.backbones.nets import parameter_shapes
from upscale_training.data.pictures import Listing, Reader
from upscale_training.data.samples import Cut, Samples
from upscale_training.errors import RecipeError
from upscale_training.generator import outputs_of
from upscale_training.losses import Late
from upscale_training.players import Ground, first_players
from upscale_training.precision import Arithmetic
from upscale_training.recipe import Recipe, Stage
from upscale_training.step import Pictures, train_step
from upscale_training.terms import Seen, Term

SPARE = 1.4
"""How much more than its tensors a step takes on a CPU: 1.2 to 1.5 times was measured, the arithmetic library's own copies."""

_GENERATOR, _CRITIC = 20, 16
"""Bytes for each parameter: itself, its gradient, Adam's two moments, and the generator's average."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of memory of a step: `fixed`, and `each` for every crop of a micro-batch; `stored`: of a checkpoint."""

    fixed: int
    each: int
    stored: int = 0

    def total(self, crops: int) -> int:
        return self.fixed + crops * self.each


def memory_need(recipe: Recipe, stage: Stage) -> Need:
    """What a step of `stage` needs, by taking it with tensors that have sizes and no content. Raises RecipeError where the parts
    of the stage do not fit together. The arithmetic is the recipe's; `auto` counts as the CPU's."""
    rehearsal = _Rehearsal(recipe, stage)
    parameters, critic = _size(rehearsal.network), _size(rehearsal.adversary.net) if rehearsal.adversary else 0
    backbones = {term.loss.backbone for term in stage.terms if isinstance(term.loss, Late)}
    eyes = sum(_weights(cast("BackboneName", name)) for name in backbones if name is not None)
    fixed = _GENERATOR * parameters + _CRITIC * critic + eyes
    return Need(int(SPARE * fixed), int(SPARE * rehearsal.peak), 16 * parameters + 12 * critic)


def run_seconds(recipe: Recipe, parts: Sequence[int], ground: Ground) -> float:
    """Of all steps, without the making of samples, by two steps of each stage. `parts`: as Players.parts, for each stage."""
    each = [_step_seconds(recipe, index, ground, count) for index, count in enumerate(parts)]
    return sum(one * stage.steps for one, stage in zip(each, recipe.stages, strict=True))


def sample_seconds(recipe: Recipe, train: Listing) -> float:
    """Makes a sample of every stage; the longest time. Raises DataError, or RecipeError for what a person's function does."""
    longest, reader, cuts = 0.0, Reader(), recipe.cuts
    for stage in recipe.stages:
        cut, scale = Cut(stage.crop, cuts.shrink, cuts.detail, cuts.flip), recipe.spec_in(stage).scale
        samples = Samples(train, cut, scale, recipe.degradation_in(stage), recipe.seed, recipe.target_in(stage))
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
        spec, arithmetic = recipe.spec_in(stage), _rehearsed(recipe)
        self.network = build(spec)
        self.adversary = Adversary(stage.adversary) if stage.adversary else None
        with FakeTensorMode(allow_non_fake_inputs=True):
            self._terms = [_hollow(term) for term in stage.terms]
            with _Ledger() as ledger, arithmetic.autocast():
                hr = torch.empty(1, 3, stage.crop, stage.crop)
                lr = torch.empty(1, 3, stage.crop // spec.scale, stage.crop // spec.scale)
                self._taken(stage, lr, hr, lr if stage.with_clean else None)
        self.peak = ledger.peak

    def _taken(self, stage: Stage, lr: Tensor, hr: Tensor, clean: Tensor | None) -> None:
        made = self._generators(stage, lr, hr, clean)
        if self.adversary is not None:
            self.adversary.begin(0)
            self.adversary.backward(made, hr)

    def _generators(self, stage: Stage, lr: Tensor, hr: Tensor, clean: Tensor | None) -> Tensor:
        """The generator's step; what it made. On return, all else of it is gone."""
        features = list[Tensor]()
        hooks = outputs_of(self.network, stage.feature_layers, features)
        outputs = [self.network(lr), *features]
        for hook in hooks:
            hook.remove()
        leaves = [one.detach().float().requires_grad_() for one in outputs]
        seen = Seen(lr, hr, leaves[0], clean, self.network, self.adversary, leaves[1:])
        sums = [torch.zeros_like(leaf) for leaf in leaves]
        for term in (*self._terms, *self._game()):
            with _tolerant():
                torch.autograd.grad(term(seen).float(), leaves, allow_unused=True)
        torch.autograd.backward(outputs, [one.to(out.dtype) for one, out in zip(sums, outputs, strict=True)])
        return leaves[0].detach()

    def _game(self) -> list[Term]:
        return [Term("adversary", 1.0, partial(self.adversary.generator_loss, step=0))] if self.adversary else []


@contextlib.contextmanager
def _tolerant() -> Generator[None]:
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
        facts = train_step(players, pictures, stage, step)
        float(facts["losses.total"])  # waits for the device
        seconds = time.perf_counter() - begin
    return seconds * stage.batch / crops


def _noise(stage: Stage, scale: int, crops: int, device: torch.device) -> Pictures:
    chance = torch.Generator().manual_seed(0)
    hr = torch.rand(crops, 3, stage.crop, stage.crop, generator=chance).to(device)
    lr = hr[..., ::scale, ::scale].contiguous()
    return Pictures(lr, hr, lr if stage.with_clean else None)


def _rehearsed(recipe: Recipe) -> Arithmetic:
    """The recipe's, as a CPU can have it: bf16 needs as many bytes as fp16."""
    return Arithmetic("bf16" if recipe.precision == "fp16" else recipe.precision, torch.device("cpu"))
