"""Whether the weights on this machine are what they were: sources against pinned hashes, conversions against fresh ones."""

from collections.abc import Iterator

import numpy as np

from upscale import zoo
from upscale.checkpoint import Checkpoint
from upscale.errors import ModelError
from upscale.sources import Source
from upscale.zoo import Entry

BAD = "BAD"


def findings(model: Entry) -> Iterator[tuple[str, str]]:
    """What is found of each file of a model: (state, text). The state is "ok", "unchecked" or BAD."""
    for source in model.sources:
        yield from _of_source(model, source)


def problem(model: Entry, source: Source) -> str | None:
    """What is wrong with a source's files, if anything."""
    try:
        zoo.check(model, source)
    except ModelError as error:
        return str(error)
    return None


def _of_source(model: Entry, source: Source) -> Iterator[tuple[str, str]]:
    files = source.files()
    wrong = problem(model, source)
    if wrong:
        yield BAD, wrong
    else:
        yield from (("ok", str(path)) for path in files)
    cached = zoo.cached_path(model, source)
    if not cached.is_file():
        return
    if wrong or not files:
        yield "unchecked", f"{cached}: there is no intact source to compare it with"
    elif _same(zoo.read_cached(model, source), zoo.convert(model, source)):
        yield "ok", str(cached)
    else:
        yield BAD, f"{cached}: differs from a fresh conversion; delete it, and it is made again when needed"


def _same(cached: Checkpoint | None, fresh: Checkpoint) -> bool:
    """Bit by bit: the spec and every parameter."""
    if cached is None or cached.spec != fresh.spec:
        return False
    return all(np.array_equal(cached.arrays[key], value) for key, value in fresh.arrays.items())
