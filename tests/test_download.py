"""The downloader against a real server on this machine: cuts, ranges, hashes, and who may be asked at all."""

import contextlib
import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from upscale.download import fetch
from upscale.errors import ChecksumError, DownloadError

DATA = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(DATA).hexdigest()


@dataclass
class Server:
    """What the server does: answers ranges or ignores them, cuts the connection after so many bytes, or says no."""

    url: str = ""
    data: bytes = DATA
    ranges: bool = True
    wrong_start: bool = False
    cut_after: int | None = None
    status: int = 200
    redirect: str = ""
    asked: list[str | None] = field(default_factory=list)


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
            if server.redirect:
                self._say(302, {"Location": server.redirect})
            elif server.status != 200:
                self._say(server.status, {})
            elif start and start >= len(server.data):
                self._say(416, {})
            else:
                self._send(start - 1 if start and server.wrong_start else start)

        def _send(self, start: int) -> None:
            body = server.data[start:]
            span = {"Content-Range": f"bytes {start}-{len(server.data) - 1}/{len(server.data)}"} if start else {}
            self._say(206 if start else 200, {"Content-Length": str(len(body)), **span})
            with contextlib.suppress(OSError):
                self.wfile.write(body[: server.cut_after])

        def _say(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    state = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(state)) as listening:
        state.url = f"http://127.0.0.1:{listening.server_port}/model.pth"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield state
        listening.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "model.pth"


def part_of(target: Path) -> Path:
    return target.with_name("model.pth.part")


def only_the_result(target: Path) -> bool:
    return [path.name for path in target.parent.iterdir()] == [target.name] and target.read_bytes() == DATA


def test_a_download_arrives_whole_and_alone(server: Server, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    fetch(server.url, SHA256, target, lambda have, total: seen.append((have, total)))
    assert only_the_result(target)
    assert seen[-1] == (len(DATA), len(DATA))
    assert [have for have, _ in seen] == sorted(have for have, _ in seen)
    assert server.asked == [None]


def test_row_37_truncated_download_is_never_accepted(server: Server, target: Path) -> None:
    server.cut_after = 300_000
    with pytest.raises(DownloadError, match=r"broke after 300,000 of 1,048,576.*300,000 bytes .* are kept") as caught:
        fetch(server.url, SHA256, target)
    assert "\n" not in str(caught.value)
    assert not target.exists()
    assert part_of(target).read_bytes() == DATA[:300_000]


def test_wish_13_a_cut_download_goes_on_where_it_stopped(server: Server, target: Path) -> None:
    server.cut_after = 300_000
    with pytest.raises(DownloadError):
        fetch(server.url, SHA256, target)
    server.cut_after = None
    seen: list[tuple[int, int | None]] = []
    fetch(server.url, SHA256, target, lambda have, total: seen.append((have, total)))
    assert server.asked == [None, "bytes=300000-"]
    assert seen[0][0] > 300_000
    assert seen[-1] == (len(DATA), len(DATA))
    assert only_the_result(target)


@pytest.mark.parametrize("fault", ["ignores", "shifts"])
def test_a_server_that_does_not_go_on_there_sends_all_again(server: Server, target: Path, fault: str) -> None:
    server.ranges, server.wrong_start = fault != "ignores", fault == "shifts"
    part_of(target).parent.mkdir()
    part_of(target).write_bytes(DATA[:1000])
    fetch(server.url, SHA256, target)
    assert server.asked[0] == "bytes=1000-"
    assert only_the_result(target)


@pytest.mark.parametrize("size", [len(DATA), len(DATA) + 5])
def test_a_part_as_long_as_the_file_or_longer_starts_over(server: Server, target: Path, size: int) -> None:
    part_of(target).parent.mkdir()
    part_of(target).write_bytes(b"x" * size)
    fetch(server.url, SHA256, target)
    assert server.asked == [f"bytes={size}-", None]
    assert only_the_result(target)


def test_a_wrong_hash_leaves_nothing(server: Server, target: Path) -> None:
    server.data = DATA[:-1] + b"x"
    with pytest.raises(ChecksumError, match=f"expected {SHA256}") as caught:
        fetch(server.url, SHA256, target)
    assert hashlib.sha256(server.data).hexdigest() in str(caught.value)
    assert list(target.parent.iterdir()) == []


def test_a_wrong_hash_leaves_an_older_good_file_alone(server: Server, target: Path) -> None:
    fetch(server.url, SHA256, target)
    server.data = b"something else"
    with pytest.raises(ChecksumError):
        fetch(server.url, SHA256, target)
    assert only_the_result(target)


def test_wish_13_offline_says_what_to_do(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/model.pth"
        with pytest.raises(DownloadError) as caught:
            fetch(url, SHA256, target)
    text = str(caught.value)
    assert url in text
    assert "refused" in text
    assert f"by hand and put the file at {target}" in text
    assert "\n" not in text


def test_a_silent_server_is_given_up(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("upscale.download.TIMEOUT_SECONDS", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(DownloadError, match=r"no answer within 0\.2 seconds"),
    ):
        fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/model.pth", SHA256, target)


def test_a_refusal_keeps_what_has_arrived(server: Server, target: Path) -> None:
    part_of(target).parent.mkdir()
    part_of(target).write_bytes(DATA[:1000])
    server.status = 503
    with pytest.raises(DownloadError, match=r"the server says 503 .*; the 1,000 bytes"):
        fetch(server.url, SHA256, target)
    assert part_of(target).read_bytes() == DATA[:1000]


@pytest.mark.parametrize("url", ["file:///etc/hostname", "http://example.org/x", "ftp://example.org/x", "x.pth"])
def test_only_https_and_this_machine_are_asked(url: str, target: Path) -> None:
    with pytest.raises(DownloadError, match="only https"):
        fetch(url, SHA256, target)
    assert not target.parent.exists()


def test_a_redirect_cannot_lead_elsewhere_either(server: Server, target: Path) -> None:
    server.redirect = "http://example.org/model.pth"
    with pytest.raises(DownloadError, match=re.escape("http://example.org")):
        fetch(server.url, SHA256, target)


@pytest.mark.parametrize("sha256", ["", "0" * 63, "G" * 64, SHA256.upper()])
def test_no_pinned_hash_no_fetch(server: Server, target: Path, sha256: str) -> None:
    with pytest.raises(ValueError, match="not a sha256"):
        fetch(server.url, sha256, target)
    assert server.asked == []


def test_an_unwritable_place_is_a_download_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"Not a directory|File exists|cannot find"):
        fetch(server.url, SHA256, tmp_path / "file" / "model.pth")


def test_many_at_once_all_succeed(server: Server, target: Path) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            fetch(server.url, SHA256, target)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    assert only_the_result(target)


def test_a_writer_that_is_not_done_cannot_spoil_the_result(server: Server, target: Path) -> None:
    """The result is a copy: somebody who still has the .part open writes into a file that has no name any more."""
    part_of(target).parent.mkdir()
    with part_of(target).open("ab") as other:
        fetch(server.url, SHA256, target)
        other.write(b"late")
    assert target.read_bytes() == DATA
