"""Files that are never half there, and where our own ones live."""

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A temporary path beside `path`, moved onto it when the block ends well and removed when it does not.

    The temporary name keeps the suffix, since encoders go by it. Raises OSError where the folder cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        # mkstemp makes private files; a result gets the rights that any new file here would get.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The file's sha256 as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_dir() -> Path:
    """Where converted weights and remembered probes live: $UPSCALE_CACHE, else the system's place for caches."""
    if own := os.environ.get("UPSCALE_CACHE"):
        return Path(own)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "upscale"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "upscale"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "upscale"
