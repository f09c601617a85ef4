"""Batches for the steps of a stage, made ahead by worker processes, and how long the trainer had to wait for them."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from upscale.errors import UpscaleError
from upscale_training.data.pictures import CACHE_BYTES, Bad, Reader
from upscale_training.data.samples import Sample, Samples

Make = Callable[[], Samples]
"""Gives the samples in whatever process it is called; it is what travels to the workers."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """uint8 (N, 3, H, W) RGB; `waited`: seconds until it came; `bad`: pictures that were replaced on the way."""

    lr: Tensor
    hr: Tensor
    clean: Tensor | None
    bad: tuple[Bad, ...] = ()
    waited: float = 0.0

    def pin_memory(self) -> "Batch":
        """Called by torch's loader, so that copies to a GPU overlap with its work."""
        clean = None if self.clean is None else self.clean.pin_memory()
        return replace(self, lr=self.lr.pin_memory(), hr=self.hr.pin_memory(), clean=clean)


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of each batch this process trains on: number `rank` of `world` equal ones."""

    rank: int = 0
    world: int = 1


Made = Sample | UpscaleError
"""What travels from a worker: raised there, an error would come with the worker's traceback in its message."""


class _Rows(Dataset[Made]):
    """The samples by number, opened once in each process."""

    def __init__(self, make: Make, cache_bytes: int) -> None:
        self._make = make
        self._cache_bytes = cache_bytes
        self._samples: Samples | None = None
        self._reader: Reader | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_samples": None, "_reader": None}

    def __getitem__(self, index: int) -> Made:
        try:
            if self._samples is None or self._reader is None:
                self._samples, self._reader = self._make(), Reader(self._cache_bytes)
            return self._samples.sample(index, self._reader)
        except UpscaleError as error:
            return error


def numbers(step: int, batch: int, share: Share) -> range:
    """Which samples this process sees in a step: their numbers depend on nothing else, so any step can be begun with."""
    part = batch // share.world
    first = step * batch + share.rank * part
    return range(first, first + part)


def feed(
    make: Make, steps: range, batch: int, share: Share, workers: int, cache_bytes: int = CACHE_BYTES
) -> Iterator[Batch]:
    """One batch for each of `steps`, in order. Without workers they are made here, when they are asked for.

    Raises what Samples.sample raises, from workers too.
    """
    loader: DataLoader[Made] = DataLoader(
        _Rows(make, cache_bytes // max(1, workers)),
        batch_sampler=[list(numbers(step, batch, share)) for step in steps],
        num_workers=workers,
        collate_fn=_collated,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    batches = iter(loader)
    for _ in steps:
        start = time.perf_counter()
        ready: Batch | UpscaleError = next(batches)  # pyright: ignore[reportAssignmentType]
        if isinstance(ready, UpscaleError):
            raise ready
        yield replace(ready, waited=time.perf_counter() - start)


def _collated(made: Sequence[Made]) -> Batch | UpscaleError:
    samples = [one for one in made if isinstance(one, Sample)]
    if wrong := [one for one in made if isinstance(one, UpscaleError)]:
        return wrong[0]
    clean = [sample.clean for sample in samples if sample.clean is not None]
    bad = tuple(one for sample in samples for one in sample.bad)
    lr, hr = _stacked([sample.lr for sample in samples]), _stacked([sample.hr for sample in samples])
    return Batch(lr, hr, _stacked(clean) if clean else None, bad)


def _stacked(pictures: Sequence[Any]) -> Tensor:
    return torch.tensor(np.stack(pictures).transpose(0, 3, 1, 2))
