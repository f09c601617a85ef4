"""Fetches one file over https: resumed after a cut, checked against its sha256, and never half there under its name."""

import contextlib
import hashlib
import http.client
import os
import re
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from upscale.errors import ChecksumError, DownloadError
from upscale.files import replacing

Progress = Callable[[int, int | None], None]
"""Called with the bytes that have arrived and with how many there will be, where the server says so."""

TIMEOUT_SECONDS = 30
_BLOCK = 1 << 18
_LOCAL = ("127.0.0.1", "localhost", "::1")


def fetch(url: str, sha256: str, target: Path, progress: Progress | None = None) -> None:
    """Puts the file at `url` to `target`; what arrives is collected in `<target>.part` and survives a cut.

    Raises DownloadError where there is no connection, the server refuses, or `target` cannot be written; ChecksumError
    where all has arrived but is not what was pinned, and then removes the .part, so that the next try starts afresh;
    ValueError for a hash that is none, since nothing is fetched unpinned.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(f"{sha256!r} is not a sha256; nothing is fetched without one")
    _check_address(url)
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(part) as file:
            _receive(url, file, progress)
            _settle(url, sha256, file, part, target)
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(
            f"cannot download {url} ({_reason(error)}); {_kept(part)}try again later, or download it by hand "
            f"and put the file at {target}"
        ) from error


def _check_address(url: str) -> None:
    """Only https: not `file://`, and http (which anybody on the way can read) only from this very machine."""
    address = urllib.parse.urlsplit(url)
    if address.scheme == "https" or (address.scheme == "http" and address.hostname in _LOCAL):
        return
    raise DownloadError(f"cannot download {url} (only https:// addresses are allowed)")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A redirect must not lead where a plain address may not."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        try:
            _check_address(newurl)
        except DownloadError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _exclusive(part: Path) -> IO[bytes]:
    """The .part file, opened for appending; where another process is at it, a nameless file of our own."""
    file = part.open("a+b")
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return tempfile.TemporaryFile(dir=part.parent)
        except OSError:
            pass  # a file system without locks; _settle keeps the result sound all the same
    return file


def _receive(url: str, file: IO[bytes], progress: Progress | None) -> None:
    """Appends what is still missing. Raises OSError or HTTPException."""
    response, have = _open(url, file.seek(0, os.SEEK_END))
    with response:
        file.truncate(have)
        total = None if response.length is None else have + response.length
        while block := response.read(_BLOCK):
            file.write(block)
            have += len(block)
            if progress:
                progress(have, total)
    if total is not None and have < total:
        raise ConnectionError(f"the connection broke after {have:,} of {total:,} bytes")


def _open(url: str, have: int) -> tuple[http.client.HTTPResponse, int]:
    """The server's answer, and the byte that its body starts at: `have`, or 0 where it starts over."""
    try:
        response = _answer(url, have)
    except urllib.error.HTTPError as error:
        error.close()
        if not have or error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return _answer(url, 0), 0
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return response, 0
    if (response.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
        return response, have
    response.close()
    return _answer(url, 0), 0


def _answer(url: str, have: int) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "upscale"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT_SECONDS)


def _settle(url: str, sha256: str, file: IO[bytes], part: Path, target: Path) -> None:
    """Checks while copying: the bytes that get the final name are those that were hashed, whoever else writes .part."""
    digest = hashlib.sha256()
    file.seek(0)
    try:
        with replacing(target) as temporary:
            with temporary.open("wb") as copy:
                while block := file.read(_BLOCK):
                    digest.update(block)
                    copy.write(block)
            if digest.hexdigest() != sha256:
                raise ChecksumError(
                    f"{url}: its sha256 is {digest.hexdigest()}, expected {sha256}; what arrived was removed"
                )
    except ChecksumError:
        _remove(file, part)
        raise
    _remove(file, part)


def _remove(file: IO[bytes], part: Path) -> None:
    """Removes the .part, unless it is another process's."""
    with contextlib.suppress(OSError):
        own = os.path.samestat(os.fstat(file.fileno()), part.stat())
        file.close()  # Windows removes no open files
        if own:
            part.unlink()


def _kept(part: Path) -> str:
    try:
        size = part.stat().st_size
    except OSError:
        return ""
    return f"the {size:,} bytes that have arrived are kept for the next try; " if size else ""


def _reason(error: Exception) -> str:
    """One line, without Python's own wording around it."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code} {error.reason}"
    cause: object = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS} seconds"
    text = (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__
    return " ".join(text.split())
