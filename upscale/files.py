"""Files that are never half there, and where our own ones live."""

import contextlib
import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Generator
from pathlib import Path

NAME_BYTES = 255
"""The longest name of a file that ext4, XFS, APFS and NTFS take alike, in bytes of UTF-8."""

_PART = ".upscale-part"
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{8}\.upscale-part(\.[^.]*)?", re.DOTALL)
_NO_LINK, _NO_WAIT = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)


@contextlib.contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A temporary path beside `path`, moved onto it when the block ends well and removed when it does not.

    The file is there, empty, and locked while the block lasts: write into it, do not put another one in its place. Its name
    keeps the suffix, since encoders go by it. What a killed process leaves is known by its name and its lost lock; see
    `clear_stale`. Raises OSError where the folder cannot be written.
    """
    handle, temporary = _create_beside(path)
    try:
        if sys.platform == "win32":
            os.close(handle)  # an open file cannot be moved there
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        if sys.platform != "win32":
            os.close(handle)


def clear_stale(folder: Path) -> list[Path]:
    """Removes what `replacing` left in `folder` when its process was killed, and tells which files those were.

    Never another program's files, nor those of a run that lives: it holds their locks. Where there are no locks (Windows,
    some network disks) nothing is removed.
    """
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return []
    return [path for path in found if _TEMPORARY.fullmatch(path.name) and _remove_if_dead(path)]


if sys.platform == "win32":

    def lock(handle: int) -> bool | None:
        """True: the file is ours until it is closed or we die; False: another has it; None: there are no locks here."""
        return None

else:
    import fcntl

    def lock(handle: int) -> bool | None:
        """True: the file is ours until it is closed or we die; False: another has it; None: there are no locks here."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True


def open_plain(path: Path, flags: int, links: bool = False) -> int:
    """os.open for plain files only: pipes, devices and, without `links`, links raise OSError, and nothing waits."""
    handle = os.open(path, flags | (0 if links else _NO_LINK) | _NO_WAIT | _BINARY, 0o666)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(f"{path} is not a plain file")


def sha256_of(path: Path) -> str:
    """The file's sha256 as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cut_to_bytes(text: str, most: int) -> str:
    """The longest beginning of `text` that has at most so many bytes in UTF-8, never half a character."""
    cut = text[: max(0, most)]
    while size_in_bytes(cut) > max(0, most):
        cut = cut[:-1]
    return cut


def size_in_bytes(text: str) -> int:
    """Bytes in UTF-8. Names that are no UTF-8 come from the system with surrogates, which count as three each."""
    return len(text.encode("utf-8", "surrogatepass"))


def cache_dir() -> Path:
    """Where converted weights and remembered probes live: $UPSCALE_CACHE, else the system's place for caches."""
    if own := os.environ.get("UPSCALE_CACHE"):
        return Path(own)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "upscale"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "upscale"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "upscale"


def _create_beside(path: Path) -> tuple[int, Path]:
    """A new, locked file. It gets the rights that any new file here gets: the system applies the umask, which a program
    with threads cannot read without changing it for all of them."""
    while True:
        temporary = path.parent / _temporary_name(path)
        try:
            handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
        except FileExistsError:
            continue
        # Whoever clears this folder right now may have found the file before it was locked.
        if lock(handle) is not False and temporary.exists():
            return handle, temporary
        os.close(handle)


def _temporary_name(path: Path) -> str:
    suffix = path.suffix if size_in_bytes(path.suffix) <= 64 else ""
    ending = f".{secrets.token_hex(4)}{_PART}{suffix}"
    return f".{cut_to_bytes(path.stem[:40], NAME_BYTES - 1 - size_in_bytes(ending))}{ending}"


def _remove_if_dead(temporary: Path) -> bool:
    try:
        handle = open_plain(temporary, os.O_RDWR)
    except OSError:
        return False
    try:
        if lock(handle) is not True:
            return False
        temporary.unlink()
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
