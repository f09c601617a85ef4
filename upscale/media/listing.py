"""Which files are meant: patterns, what folders hold of pictures, and why a file cannot be used. Never looks into files."""

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from upscale.errors import PictureError
from upscale.media.formats import BY_SUFFIX, FORMATS, REFUSED, is_video

STREAM = Path("-")
"""How stdin and stdout are called among the inputs, in -o and in messages. A file of that name is `./-`."""


def expanded(inputs: Iterable[str]) -> Iterator[Path | None]:
    """None for stdin. Patterns are expanded here where the shell did not; a file that is really called so comes first."""
    for text in inputs:
        path = Path(text)
        if text == str(STREAM):
            yield None
        elif _exists(path) or not glob.has_magic(text):
            yield path
        else:
            yield from _matches(text) or [path]


def _matches(pattern: str) -> list[Path]:
    if "**" not in Path(pattern).parts:
        return [Path(match) for match in sorted(glob.glob(pattern))]  # noqa: PTH207 - Path.glob takes no absolute pattern
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    below = (*parts[fixed:], "*") if parts[-1] == "**" else parts[fixed:]
    # Not glob.glob, which follows links to folders: two that point upwards keep it busy for years.
    found = Path(*parts[:fixed]).glob("/".join(below))
    return sorted(path for path in set(found) if not is_folder(path) and not _hidden(path.parts[fixed:]))


def _hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith(".") for part in parts)


def pictures(folder: Path, root: Path, recursive: bool) -> Iterator[tuple[Path, PictureError | None]]:
    """What a folder holds of pictures and of their kin that is refused, in any order, and folders that cannot be read.

    Neither hidden files nor the results of an earlier run into a folder inside. Links to folders are not followed, so that
    there are no loops.
    """
    results = identity(root)
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as found:
                entries = [entry for entry in found if not entry.name.startswith(".")]
        except OSError as error:
            yield here, PictureError(f"{here}: cannot be looked into ({error.strerror}); check its rights")
            continue
        for entry in entries:
            path = here / entry.name
            if not is_folder(path):
                if path.suffix.lower() in BY_SUFFIX or path.suffix.lower() in REFUSED or is_video(path):
                    yield path, None
            elif recursive and not entry.is_symlink() and (results is None or identity(path) != results):
                waiting.append(path)


def unusable(source: Path) -> PictureError | None:
    """Why a file cannot be a picture, as far as its name and kind tell."""
    try:
        mode = source.stat().st_mode
    except FileNotFoundError:
        what = "a link to a file that is gone" if source.is_symlink() else "no such file or folder"
        return PictureError(f"{source}: {what}; check the name")
    except OSError as error:
        return PictureError(f"{source}: cannot be read ({error.strerror}); check its name and rights")
    suffix = source.suffix.lower()
    if suffix in REFUSED:
        return PictureError(f"{source}: {REFUSED[suffix]}")
    if suffix not in BY_SUFFIX and not is_video(source):
        return PictureError(f"{source}: not a supported kind of file ({kinds()}); convert it first")
    if not stat.S_ISREG(mode):
        return PictureError(f"{source}: not a plain file but a pipe or device; give - and let it come from stdin")
    return None


def is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def identity(path: Path) -> tuple[int, int] | None:
    """Equal for what is one file, by whatever name; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, a folder that nobody may look into
        return False


def kinds() -> str:
    """The formats that are read, for messages."""
    return ", ".join([*(format_.name for format_ in FORMATS), "videos"])
