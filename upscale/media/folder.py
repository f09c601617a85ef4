"""Which files a command means, and where each result goes. Looks at folders, never into files."""

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from upscale.errors import OutputError, PictureError, UpscaleError
from upscale.media.still import SUFFIXES, format_of

_OTHER_FORMATS = {
    *(
        ".apng",
        ".avif",
        ".bmp",
        ".exr",
        ".gif",
        ".hdr",
        ".heic",
        ".heif",
        ".jfif",
        ".jp2",
        ".jxl",
        ".ppm",
        ".psd",
        ".tga",
    ),
    *(".avi", ".mkv", ".mov", ".mp4", ".webm"),
}
"""An output so called is meant as a file, and refused; any other unknown suffix belongs to a folder's name."""


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
    """Tasks in the order of the inputs, folders sorted. What cannot be done comes as a task with an error.

    Raises ValueError where several inputs would go into one file.
    """
    given = list(_expanded(inputs))
    alone = len(given) == 1 and not _is_folder(given[0])
    if not alone and places.out is not None and _named_as_file(places.out):
        raise ValueError(f"{places.out} is one file, but there are several inputs; give a folder")
    pairs = [pair for path in given for pair in _pairs(path, places, alone)]
    originals = {os.path.realpath(source) for source, _ in pairs}
    taken: dict[str, Path] = {}
    return [_checked(source, target, places, originals, taken) for source, target in pairs]


def _expanded(inputs: Iterable[str]) -> Iterator[Path]:
    """Patterns are expanded here where the shell did not; a file that is really called so comes first."""
    for text in inputs:
        path = Path(text)
        if _exists(path) or not glob.has_magic(text):
            yield path
            continue
        matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        yield from (Path(match) for match in matches) if matches else [path]


def _pairs(path: Path, places: Places, alone: bool) -> Iterator[tuple[Path, Path]]:
    tag = f"_x{places.scale:g}"
    if not _is_folder(path):
        yield path, _file_target(path, places.out, tag, alone)
        return
    root = places.out if places.out is not None else _beside(path, tag)
    sources = sorted(_pictures(path, root, places.recursive))
    yield from ((source, root / source.relative_to(path)) for source in sources)
    if not sources:
        yield path, root  # found to hold nothing when it is checked


def _pictures(folder: Path, root: Path, recursive: bool) -> Iterator[Path]:
    """A folder's pictures; neither hidden files nor the results of an earlier run into a folder inside."""
    inner, outer = Path(os.path.realpath(root)), Path(os.path.realpath(folder))
    results = inner if inner != outer and inner.is_relative_to(outer) else None
    for source in folder.rglob("*") if recursive else folder.glob("*"):
        if source.suffix.lower() not in SUFFIXES or _is_folder(source):
            continue
        if any(part.startswith(".") for part in source.relative_to(folder).parts):
            continue
        if results is None or not Path(os.path.realpath(source.parent)).is_relative_to(results):
            yield source


def _beside(folder: Path, tag: str) -> Path:
    named = folder if folder.name not in ("", "..") else folder.resolve()
    if not named.name:
        raise OutputError(f"{folder}: there is no place beside it; use -o")
    return named.with_name(named.name + tag)


def _file_target(path: Path, out: Path | None, tag: str, alone: bool) -> Path:
    name = f"{path.stem}{tag}{path.suffix}"
    if out is None:
        return path.with_name(name)
    return out if alone and _named_as_file(out) else out / name


def _named_as_file(out: Path) -> bool:
    return out.suffix.lower() in {*SUFFIXES, *_OTHER_FORMATS} and not _is_folder(out)


def _checked(source: Path, target: Path, places: Places, originals: set[str], taken: dict[str, Path]) -> Task:
    error = _unusable(source) or _misplaced(source, target, places, originals, taken)
    return Task(source, None if isinstance(error, PictureError) else target, error)


def _unusable(source: Path) -> PictureError | None:
    kinds = ", ".join(sorted(set(SUFFIXES.values())))
    try:
        source.stat()
    except FileNotFoundError:
        what = "a link to a file that is gone" if source.is_symlink() else "no such file or folder"
        return PictureError(f"{source}: {what}; check the name")
    except OSError as error:
        return PictureError(f"{source}: cannot be read ({error.strerror})")
    if _is_folder(source):
        return PictureError(f"{source}: no pictures in this folder ({kinds}); --recursive looks further down")
    if source.suffix.lower() not in SUFFIXES:
        return PictureError(f"{source}: not a supported kind of file ({kinds}); convert it first")
    return None


def _misplaced(
    source: Path, target: Path, places: Places, originals: set[str], taken: dict[str, Path]
) -> OutputError | None:
    """Why the result cannot go there. Only the first of several results for one place gets it."""
    key = os.path.realpath(target)
    first = taken.setdefault(key, source)
    if first is not source:
        return OutputError(f"{target}: would hold the results of {first} and {source}; use -o")
    if key in originals:
        which = "the input itself" if key == os.path.realpath(source) else "an input too"
        return OutputError(f"{target}: {which}, never overwritten; use another -o")
    try:
        format_of(target)
        if target.is_dir():
            return OutputError(f"{target}: a folder is so called; use -o")
        if target.exists() and not places.overwrite:
            return OutputError(f"{target}: exists already; --overwrite replaces it")
    except OutputError as error:
        return error
    except OSError as error:
        return OutputError(f"{target}: cannot be written ({error.strerror}); use -o")
    return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, a folder that nobody may look into
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
