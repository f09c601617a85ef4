"""Engines run a network on rows. `choose` picks one for a model and a machine, and says why."""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy.typing as npt

from upscale.bands import Plan
from upscale.image import Array, Floats
from upscale.spec import ModelSpec

Progress = Callable[[float], None]
"""Told the share of a picture's arithmetic that is done, from 0 to 1."""


class Engine(Protocol):
    """One network on one device in one precision, ready for pictures of any size.

    `device` is "cpu", "cuda", "cuda:1", "mps"; `precision` "fp32", "bf16" or "fp16"; `version` the library's.
    """

    spec: ModelSpec
    name: str
    device: str
    precision: str
    version: str

    def run(
        self,
        rows: Iterator[Floats],
        width: int,
        height: int,
        plan: Plan,
        dtype: npt.DTypeLike,
        progress: Progress | None = None,
    ) -> Iterator[Array]:
        """Finished rows (n, scale·width, 3) of `dtype`, in order, for a picture that comes as rows (n, width, 3).

        The picture is `width` × `height`, both multiples of `spec.multiple`; rows come as float32 RGB in [0, 1], in
        bands of any height. uint8 and uint16 results are clipped and rounded, float32 ones clipped to [0, 1]. With float16
        come floats, of 16 or 32 bits as is cheaper, that are as exact as uint8 ones. Closing the iterator ends the run.
        `progress` is told how far it is.

        Raises OutOfMemoryError and NotFiniteError, after which the engine is as good as new.
        """
        ...

    def close(self) -> None:
        """Gives back what the engine holds."""
        ...


__all__ = ["Engine", "Progress"]
