"""What degradations are made with: steps from functions, and chain, one of, maybe, any order."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec

import numpy as np

from upscale.image import Array, Floats
from upscale_training.degrade import Degradation
from upscale_training.degrade.draw import chance, choice

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Step:
    """A function (picture, rng, settings…) with its settings. Pickles by the function's name, so it must be a module's."""

    maker: Callable[..., "Step"]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict[str, Any])

    def __call__(self, picture: Floats, rng: np.random.Generator) -> Floats:
        function: Callable[..., Array] = inspect.unwrap(self.maker)
        return np.asarray(function(picture, rng, *self.args, **self.kwargs), dtype=np.float32)

    def __repr__(self) -> str:
        settings = [repr(value) for value in self.args] + [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.maker.__name__}({', '.join(settings)})"


def step(function: Callable[Concatenate[Floats, np.random.Generator, P], Array]) -> Callable[P, Step]:
    """Decorator: `jpeg(picture, rng, quality=(30, 95))` becomes `jpeg(quality=(30, 95))` → a degradation.

    Settings that the function does not have raise TypeError at once, not in a worker. The result is made float32.
    """
    inner = inspect.signature(function)
    settings = inner.replace(parameters=list(inner.parameters.values())[2:], return_annotation=Step)

    @functools.wraps(function)
    def maker(*args: P.args, **kwargs: P.kwargs) -> Step:
        settings.bind(*args, **kwargs)
        return Step(maker, args, dict(kwargs))

    maker.__signature__ = settings  # pyright: ignore[reportAttributeAccessIssue]  # what help() shows
    return maker


@dataclass(frozen=True, slots=True)
class Chain:
    """One after the other."""

    steps: tuple[Degradation, ...]

    def __call__(self, picture: Floats, rng: np.random.Generator) -> Floats:
        for one in self.steps:
            picture = one(picture, rng)
        return picture


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of them, drawn with its weight."""

    steps: tuple[Degradation, ...]
    weights: tuple[float, ...]

    def __call__(self, picture: Floats, rng: np.random.Generator) -> Floats:
        return choice(rng, self.steps, self.weights)(picture, rng)


@dataclass(frozen=True, slots=True)
class Maybe:
    """Done with this probability, else the picture stays as it is."""

    probability: float
    step: Degradation

    def __call__(self, picture: Floats, rng: np.random.Generator) -> Floats:
        return self.step(picture, rng) if chance(rng, self.probability) else picture


@dataclass(frozen=True, slots=True)
class Shuffled:
    """All of them, in an order drawn anew."""

    steps: tuple[Degradation, ...]

    def __call__(self, picture: Floats, rng: np.random.Generator) -> Floats:
        order: list[int] = rng.permutation(len(self.steps)).tolist()
        return Chain(tuple(self.steps[index] for index in order))(picture, rng)


def chain(*steps: Degradation) -> Chain:
    """All of them, one after the other. Without any, the picture stays as it is."""
    return Chain(steps)


def one_of(*choices: Degradation | tuple[float, Degradation]) -> OneOf:
    """`one_of(a, b)`, or with weights, which need not add up to 1: `one_of((3, a), (1, b))`; a bare one weighs 1."""
    pairs = [(1.0, one) if callable(one) else one for one in choices]
    if not pairs or min(weight for weight, _ in pairs) < 0 or not sum(weight for weight, _ in pairs) > 0:
        raise ValueError("one_of needs a degradation, and weights of 0 or more of which one is above 0")
    return OneOf(tuple(one for _, one in pairs), tuple(weight for weight, _ in pairs))


def maybe(probability: float, *steps: Degradation) -> Maybe:
    """All of them in a chain with this probability, or none."""
    if not 0 <= probability <= 1:
        raise ValueError(f"a probability lies between 0 and 1, not at {probability}")
    return Maybe(probability, steps[0] if len(steps) == 1 else Chain(steps))


def shuffled(*steps: Degradation) -> Shuffled:
    """All of them, in an order drawn for each picture."""
    return Shuffled(steps)
