"""Which files a command means, and where each result goes. Looks at folders, never into files."""

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from upscale.errors import OutputError, PictureError, UpscaleError
from upscale.media.still import SUFFIXES


@dataclass(frozen=True, slots=True)
class Task:
    """One picture to enlarge and its place; or, with `error`, one that cannot be, and why."""

    source: Path
    target: Path | None
    error: UpscaleError | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """How inputs become outputs: `in.png` → `in_x4.png`, `folder/` → `folder_x4/`, or into `out`."""

    out: Path | None
    scale: float
    recursive: bool
    overwrite: bool


def tasks(inputs: Iterable[str], places: Places) -> list[Task]:
    """Tasks in the order of the inputs, folders sorted. What cannot be done comes as a task with an error."""
    given = list(_expanded(inputs))
    alone = len(given) == 1 and not given[0].is_dir()
    found: list[Task] = []
    taken: dict[Path, Path] = {}
    for path in given:
        for source, target in _pairs(path, places, alone):
            found.append(_checked(source, target, places, taken))
    return found


def _expanded(inputs: Iterable[str]) -> Iterator[Path]:
    """Patterns are expanded here where the shell did not; a file that is really called so comes first."""
    for text in inputs:
        path = Path(text)
        if path.exists() or not glob.has_magic(text):
            yield path
            continue
        matches = sorted(glob.glob(text, recursive=True))
        yield from (Path(match) for match in matches) if matches else [path]


def _pairs(path: Path, places: Places, alone: bool) -> Iterator[tuple[Path, Path]]:
    tag = f"_x{places.scale:g}"
    if not path.is_dir():
        yield path, _file_target(path, places.out, tag, alone)
        return
    root = places.out if places.out is not None else path.resolve().with_name(path.resolve().name + tag)
    inside = path.rglob("*") if places.recursive else path.glob("*")
    for source in sorted(inside):
        if source.suffix.lower() in SUFFIXES and not source.is_dir():
            yield source, root / source.relative_to(path)


def _file_target(path: Path, out: Path | None, tag: str, alone: bool) -> Path:
    name = f"{path.stem}{tag}{path.suffix}"
    if out is None:
        return path.with_name(name)
    if alone and not out.is_dir() and out.suffix.lower() in SUFFIXES:
        return out
    return out / name


def _checked(source: Path, target: Path, places: Places, taken: dict[Path, Path]) -> Task:
    if not source.exists():
        return Task(source, None, PictureError(f"{source}: no such file or folder"))
    if source.suffix.lower() not in SUFFIXES:
        kinds = ", ".join(sorted(set(SUFFIXES.values())))
        return Task(source, None, PictureError(f"{source}: not a supported kind of file ({kinds})"))
    key = target.resolve()
    if key in taken:
        return Task(
            source, target, OutputError(f"{target}: would hold the results of {taken[key]} and {source}; use -o")
        )
    taken[key] = source
    if key == source.resolve():
        return Task(source, target, OutputError(f"{target}: the input itself, never overwritten; use another -o"))
    if target.exists() and not places.overwrite:
        return Task(source, target, OutputError(f"{target}: exists already; --overwrite replaces it"))
    return Task(source, target)
