"""Files are decoded in a process that may die of them: nothing else suffers, and nothing is believed unchecked."""

import dataclasses
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strange_decoder import DEEDS, pixels

from upscale.errors import PictureError
from upscale.image import Animation, Array, Band, Color, Header, Metadata
from upscale.media import Source
from upscale.media.isolated import child
from upscale.media.isolated import decoder as isolation
from upscale.media.isolated.decoder import Decoder
from upscale.media.isolated.remote import Held, Policy
from upscale.media.isolated.wire import WireError, described, understood

SCRIPT = Path(__file__).with_name("strange_decoder.py")
COMMAND = (sys.executable, "-P", str(SCRIPT))
GARBAGE = sorted(name for name, deed in DEEDS.items() if deed.__name__ == "write")
Write = Callable[..., Path]

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(name, **wanted): a file that strange_decoder.py reads."""

    def written(name: str = "picture", **wanted: Any) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps({"width": 7, "height": 5, **wanted}))
        return path

    return written


@pytest.fixture(scope="module")
def shared_decoder() -> Iterator[Decoder]:
    with Decoder(command=COMMAND) as decoder:
        yield decoder


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with Decoder(command=COMMAND) as decoder:
        yield decoder


@pytest.fixture
def streaming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything counts as large."""
    monkeypatch.setattr(isolation, "EAGER_BYTES", 0)


def gathered(source: Source) -> list[tuple[Array, Array | None]]:
    """Each picture's rgb and alpha."""
    return [joined(list(picture.bands())) for picture in source.pictures()]


def joined(bands: list[Band]) -> tuple[Array, Array | None]:
    alphas = [band.alpha for band in bands if band.alpha is not None]
    assert len(alphas) in (0, len(bands))
    return np.concatenate([band.rgb for band in bands]), np.concatenate(alphas) if alphas else None


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def ends(pid: int, seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while is_running(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def pid_of(decoder: Decoder, write: Write) -> int:
    """The process's own word for who it is."""
    with pytest.raises(PictureError) as raised:
        decoder.open(write("pid", pid=True))
    return int(str(raised.value).rpartition(" ")[2])


def fails(decoder: Decoder, path: Path) -> str:
    """Opens and reads a file that must give a PictureError in one line that names it."""
    with pytest.raises(PictureError) as raised, decoder.open(path) as source:
        gathered(source)
    text = str(raised.value)
    assert text.startswith(f"{path}: ")
    assert text.removeprefix(str(path)).isprintable()
    return text


def works(decoder: Decoder, write: Write) -> None:
    with decoder.open(write("good")) as source:
        (rgb, _), *others = gathered(source)
    assert not others
    assert np.array_equal(rgb, pixels(0, 5, 7, 3, np.uint8))


# What comes through


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_pixels_and_all_that_a_file_says_come_through(
    shared_decoder: Decoder, write: Write, monkeypatch: pytest.MonkeyPatch, dtype: str, alpha: bool, large: bool
) -> None:
    monkeypatch.setattr(isolation, "EAGER_BYTES", 0 if large else 1 << 20)
    path = write(dtype=dtype, alpha=alpha, band=2, warnings=["w1", "w2"])
    with shared_decoder.open(path) as source:
        color = Color(16, True, "m", "t", "p", False, b"\0icc", (("gAMA", b"\1\2\3\4"), ("cICP", b"")))
        beside = Metadata(b"exif\xff", b"<xmp/>", (300.0, 299.5))
        assert source.header == Header(7, 5, np.dtype(dtype), alpha, color, beside)
        assert (source.animation, source.warnings) == (None, ["w1", "w2"])
        (picture,) = source.pictures()
        assert picture.header == source.header
        for _ in range(2):
            rgb, opacity = joined(list(picture.bands()))
            assert np.array_equal(rgb, pixels(0, 5, 7, 3, np.dtype(dtype)))
            assert rgb.dtype == dtype
            if alpha:
                assert opacity is not None
                assert np.array_equal(opacity, pixels(0, 5, 7, 1, np.dtype(dtype))[..., 0] + 1)
            else:
                assert opacity is None


@pytest.mark.parametrize("large", [False, True])
def test_frames_come_one_by_one(decoder: Decoder, write: Write, monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    monkeypatch.setattr(isolation, "EAGER_BYTES", 0 if large else 1 << 20)
    with decoder.open(write(frames=3, plays=2, alpha=True, band=3)) as source:
        assert source.animation == Animation((40.0, 40.0, 40.0), 2)
        for _ in range(2):
            pictures = list(source.pictures())
            assert len(pictures) == 3
            for picture in pictures:
                rgb, alpha = joined(list(picture.bands()))
                assert picture.header == source.header
                assert np.array_equal(rgb, pixels(0, 5, 7, 3, np.uint8))
                assert alpha is not None


def test_every_field_of_the_header_is_carried() -> None:
    """A field that is added to the types and forgotten in wire.py would come back as its default."""
    color = Color(12, True, "bt2020", "pq", "p3", False, b"icc", (("gAMA", b"1"),), "center")
    header = Header(3, 2, np.dtype(np.uint16), True, color, Metadata(b"e", b"x", (1.5, 2.5)))
    for value, default in ((color, Color()), (header.metadata, Metadata())):
        for field in dataclasses.fields(value):
            assert getattr(value, field.name) != getattr(default, field.name)
    opened = understood(described(Held(header, Animation((1.5, 0.0), 7), ["a"], [])))
    assert (opened.header, opened.animation, opened.warnings) == (header, Animation((1.5, 0.0), 7), ["a"])


def test_headers_out_of_range_are_not_believed() -> None:
    good = described(Held(Header(3, 2, np.dtype(np.uint8), False), Animation((1.0,), 0), ["w"], []))
    assert understood(good).frames == 1
    bad: dict[str, list[Any]] = {
        "size": [[0, 2], [3, -2], [3], [1 << 40, 1], [3.5, 2], [True, 2], "33", None, {}],
        "dtype": ["object", "float64", None, 3, []],
        "alpha": [1, None],
        "depth": [0, "8", 10**30],
        "color": [["a", "b"], [1, 2, 3], "abc", None],
        "icc": [0, -1, 1, "0", True],
        "chunks": [[["gAMA"]], [["gAMA", 5]], {}, [7]],
        "dpi": [[1], [float("nan"), 1], [-1, 1], 72, ["1", "2"]],
        "animation": [[[], 0], [[float("inf")], 0], [[1.0], -1], [["1"], 0], [1.0], 5],
        "warnings": ["w", [5], None],
    }
    for key, values in bad.items():
        for value in values:
            with pytest.raises(WireError):
                understood(dataclasses.replace(good, fields={**good.fields, key: value}))
        with pytest.raises(WireError):
            understood(dataclasses.replace(good, fields={k: v for k, v in good.fields.items() if k != key}))


@pytest.mark.parametrize(
    "name", ["ö漢字🙂", "-rf", "a b'\"$;&", "[x]*?", "two\nlines", "\x1b[31mred", "n" * 200, "%s{}", " "]
)
def test_row_20_any_file_name(
    shared_decoder: Decoder, write: Write, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(name)
    gathered(shared_decoder.open(path))
    monkeypatch.chdir(path.parent)  # also after the process was started elsewhere
    gathered(shared_decoder.open(Path(name)))
    path.write_text('{"at": "open", "do": "fail"}')
    with pytest.raises(PictureError) as raised:
        shared_decoder.open(path)
    assert str(raised.value).startswith(f"{path}: ")


@posix
def test_a_name_that_is_not_unicode(decoder: Decoder, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    try:
        path.write_text('{"width": 2, "height": 2}')
    except OSError:
        pytest.skip("this file system takes Unicode only")
    gathered(decoder.open(path))
    path.write_text('{"at": "open", "do": "crash"}')
    assert "crashed" in fails(decoder, path)


# What goes wrong


@posix
@pytest.mark.parametrize(("at", "large"), [("open", False), ("read", False), ("second", True)])
@pytest.mark.parametrize(
    ("do", "said"),
    [("crash", "crashed"), ("kill", "killed"), ("refuse", "draw another"), ("fail", "KeyError"), ("leave", "crashed")],
)
def test_a_bad_file_is_one_error_and_the_next_one_works(
    shared_decoder: Decoder, write: Write, monkeypatch: pytest.MonkeyPatch, at: str, large: bool, do: str, said: str
) -> None:
    monkeypatch.setattr(isolation, "EAGER_BYTES", 0 if large else 1 << 20)
    assert said in fails(shared_decoder, write(at=at, do=do, band=2))
    works(shared_decoder, write)


@posix
@pytest.mark.parametrize(("do", "said"), [("abort", "signal 6"), ("exit", "exit code 0x3"), ("swell in C", "crashed")])
def test_ways_to_die(shared_decoder: Decoder, write: Write, do: str, said: str) -> None:
    assert said in fails(shared_decoder, write(at="open", do=do))
    works(shared_decoder, write)


@posix
@pytest.mark.skipif(sys.platform != "linux", reason="no such limit")
@pytest.mark.parametrize("at", ["open", "read"])
def test_a_file_that_swells_is_stopped(shared_decoder: Decoder, write: Write, at: str) -> None:
    assert "memory" in fails(shared_decoder, write(at=at, do="swell"))
    works(shared_decoder, write)


@pytest.mark.skipif(sys.platform != "linux", reason="no such limit")
def test_the_memory_can_be_given(write: Write) -> None:
    wide = {"width": 4000, "height": 2000}
    with Decoder(command=COMMAND, memory=20_000_000) as decoder:
        assert "20 MB" in fails(decoder, write(**wide))
    with Decoder(command=COMMAND) as decoder:
        assert decoder.open(write(**wide)).header.width == 4000


def test_what_a_large_picture_needs_is_allowed_to_it() -> None:
    small, large = (
        Policy().to_read(understood(described(Held(Header(side, side, np.dtype(np.uint16), True), None, [], []))))
        for side in (10, 20_000)
    )
    assert large["memory"] - small["memory"] > 6 * 20_000**2 * 8
    assert large["seconds"] - small["seconds"] > 100


@pytest.mark.parametrize(
    ("do", "at", "large"), [("hang", "open", False), ("hang in C", "read", False), ("hang in C", "second", True)]
)
def test_a_file_that_hangs_is_left(
    write: Write, monkeypatch: pytest.MonkeyPatch, do: str, at: str, large: bool
) -> None:
    monkeypatch.setattr(isolation, "EAGER_BYTES", 0 if large else 1 << 20)
    with Decoder(seconds=0.4, command=COMMAND) as decoder:
        works(decoder, write)
        start = time.monotonic()
        assert "longer than 0" in fails(decoder, write(at=at, do=do, band=2))
        assert time.monotonic() - start < 3
        works(decoder, write)


@posix
def test_a_process_that_stands_still_is_left(write: Write) -> None:
    """Its own clock stands too, so that only ours can tell."""
    with Decoder(seconds=0.2, command=COMMAND) as decoder:
        os.kill(pid_of(decoder, write), signal.SIGSTOP)
        assert "longer than" in fails(decoder, write())
        works(decoder, write)


def test_waiting_for_us_is_not_counted(write: Write, streaming: None) -> None:
    """A large picture is opened while the one before is in work, which may take hours."""
    with (
        Decoder(seconds=0.4, command=COMMAND) as decoder,
        decoder.open(write(width=1000, height=400, band=100)) as source,
    ):
        time.sleep(0.7)
        (picture,) = source.pictures()
        bands = picture.bands()
        first = next(bands)
        time.sleep(0.7)
        assert np.array_equal(joined([first, *bands])[0], pixels(0, 400, 1000, 3, np.uint8))


@pytest.mark.parametrize("at", ["open", "second"])
@pytest.mark.parametrize("do", GARBAGE)
def test_garbage_is_not_believed(shared_decoder: Decoder, write: Write, do: str, at: str) -> None:
    assert "malformed" in fails(shared_decoder, write(at=at, do=do, band=2))
    works(shared_decoder, write)


@pytest.mark.parametrize("wrong", [{"rows": 1}, {"rows": -1}, {"sent": "uint16"}, {"frames": 3, "really": 2}])
@pytest.mark.parametrize("large", [False, True])
def test_pixels_must_be_those_that_were_announced(
    shared_decoder: Decoder, write: Write, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], large: bool
) -> None:
    monkeypatch.setattr(isolation, "EAGER_BYTES", 0 if large else 1 << 20)
    fails(shared_decoder, write(**wrong))
    works(shared_decoder, write)


def test_other_frames_than_announced(shared_decoder: Decoder, write: Write) -> None:
    assert "3 frames instead of 2" in fails(shared_decoder, write(frames=2, really=3))
    works(shared_decoder, write)


def test_too_many_pixels_are_refused_whatever_the_process_says(write: Write) -> None:
    with Decoder(max_pixels=34, command=COMMAND) as decoder:
        fails(decoder, write())
    with Decoder(max_pixels=35, command=COMMAND) as decoder:
        works(decoder, write)


@pytest.mark.parametrize("do", ["chat", "flood"])
def test_chatter_of_libraries_reaches_nobody(
    shared_decoder: Decoder, write: Write, capfd: pytest.CaptureFixture[str], do: str
) -> None:
    with shared_decoder.open(write(at="read", do=do)) as source:
        gathered(source)
    works(shared_decoder, write)
    assert capfd.readouterr() == ("", "")


def test_a_traceback_of_the_process_is_kept_for_those_who_want_it(shared_decoder: Decoder, write: Write) -> None:
    for do in ("fail", "crash"):
        with pytest.raises(PictureError) as raised:
            shared_decoder.open(write(at="open", do=do))
        assert "in open_strange" in "".join(traceback.format_exception(raised.value))


def test_a_source_that_closes_badly_harms_nobody(shared_decoder: Decoder, write: Write) -> None:
    before = pid_of(shared_decoder, write)
    gathered(shared_decoder.open(write(bad_end=True)))
    assert pid_of(shared_decoder, write) == before


@pytest.mark.parametrize("command", [["/nowhere/python"], [sys.executable, "-c", "import nothing_so_called"]])
def test_a_process_that_does_not_start(write: Write, command: list[str]) -> None:
    with Decoder(command=command) as decoder:
        decoder.start()
        for _ in range(2):
            assert "start" in fails(decoder, write())
    with Decoder(command=[sys.executable, "-c", "import nothing_so_called"]) as decoder:
        assert "No module named" in fails(decoder, write())


# Processes and their ends


def test_one_process_serves_many_files_and_files_that_are_refused(decoder: Decoder, write: Write) -> None:
    before = pid_of(decoder, write)
    for do in ("refuse", "fail", "nothing"):
        with pytest.raises(PictureError) if do != "nothing" else pytest.MonkeyPatch.context():
            decoder.open(write(at="read", do=do, band=2) if do != "nothing" else write())
    assert pid_of(decoder, write) == before


def test_looking_reads_no_pixels(decoder: Decoder, write: Write) -> None:
    for _ in range(3):
        opened = decoder.look(write(at="read", do="crash"))
        assert (opened.header.width, opened.header.height, opened.frames) == (7, 5, 1)
    works(decoder, write)


@posix
def test_killed_between_files(decoder: Decoder, write: Write) -> None:
    os.kill(pid_of(decoder, write), signal.SIGKILL)
    time.sleep(0.1)
    works(decoder, write)


@posix
def test_killed_in_the_middle_of_a_stream(decoder: Decoder, write: Write, streaming: None) -> None:
    pid = pid_of(decoder, write)
    with decoder.open(write(width=1000, height=4000, band=300)) as source:
        (picture,) = source.pictures()
        bands = picture.bands()
        next(bands)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(PictureError, match="killed"):
            list(bands)
        assert len(joined(list(picture.bands()))[0]) == 4000  # and it can be tried again


def test_a_large_picture_keeps_its_process_and_the_next_file_gets_another(
    decoder: Decoder, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pid_of(decoder, write)
    large = write("large", width=6000, height=4000, band=500)
    assert isolation.EAGER_BYTES < 6000 * 4000 * 3
    with decoder.open(large) as source:
        works(decoder, write)
        second = pid_of(decoder, write)
        assert first != second
        (picture,) = source.pictures()
        bands = picture.bands()
        head = next(bands)
        works(decoder, write)
        assert np.array_equal(joined([head, *bands])[0], pixels(0, 4000, 6000, 3, np.uint8))
        assert ends(first)
    assert pid_of(decoder, write) == second


@pytest.mark.parametrize("when", ["before", "during", "after", "twice"])
def test_processes_of_large_pictures_end_with_their_source(
    decoder: Decoder, write: Write, streaming: None, when: str
) -> None:
    pid = pid_of(decoder, write)
    with decoder.open(write(width=1000, height=4000, band=300)) as source:
        (picture,) = source.pictures()
        held = [iter(picture.bands()) for _ in range(2 if when == "twice" else 1)]
        for bands in held if when != "before" else []:
            next(bands)
        if when == "after":
            list(held[0])
    assert ends(pid)
    if when in ("during", "twice"):
        for bands in held:
            with pytest.raises(PictureError):
                list(bands)
    with pytest.raises(ValueError, match="closed"):
        next(iter(picture.bands()))


def test_a_stream_that_is_left_early_can_be_read_again(decoder: Decoder, write: Write, streaming: None) -> None:
    with decoder.open(write(width=1000, height=4000, band=300)) as source:
        (picture,) = source.pictures()
        for _ in range(3):
            bands = picture.bands()
            next(bands)
            bands.close()  # type: ignore[attr-defined]
        both = zip(picture.bands(), picture.bands(), strict=True)  # and twice at the same time
        assert all(np.array_equal(one.rgb, other.rgb) for one, other in both)


def test_a_file_that_changes_between_two_readings(decoder: Decoder, write: Write, streaming: None) -> None:
    with decoder.open(write()) as source:
        (picture,) = source.pictures()
        list(picture.bands())
        write(height=6)
        with pytest.raises(PictureError, match="changed"):
            list(picture.bands())


def test_sources_are_read_in_another_thread_while_the_next_is_opened(
    decoder: Decoder, write: Write, streaming: None
) -> None:
    paths = [write(f"p{index}", width=400 + index, height=2000, band=100) for index in range(6)]
    ahead, widths, lock = [decoder.open(paths[0])], list[int](), threading.Semaphore(1)

    def compute() -> None:
        for _ in paths:
            while not ahead:
                time.sleep(0.001)
            with ahead.pop(0) as source:
                widths.append(gathered(source)[0][0].shape[1])
            lock.release()

    worker = threading.Thread(target=compute)
    worker.start()
    for path in paths[1:]:
        lock.acquire()
        ahead.append(decoder.open(path))
    worker.join()
    assert widths == [400 + index for index in range(6)]


@posix
def test_a_closed_decoder_leaves_sources_readable(write: Write, streaming: None) -> None:
    with Decoder(command=COMMAND) as decoder:
        source = decoder.open(write())
    with source:
        gathered(source)


@posix
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="cannot count")
@pytest.mark.parametrize("files", [300, pytest.param(4000, marks=pytest.mark.slow)])
def test_thousands_of_files_leave_nothing_behind(decoder: Decoder, write: Write, files: int) -> None:
    path, bad = write(), write("bad", at="read", do="refuse")
    works(decoder, write)
    gc.collect()
    before, threads, pid = count("/proc/self/fd"), threading.active_count(), pid_of(decoder, write)
    handles, memory = count(f"/proc/{pid}/fd"), resident(pid)
    for index in range(files):
        with decoder.open(path) as source:
            gathered(source)
        if index % 10 == 0:
            fails(decoder, bad)
    assert pid_of(decoder, write) == pid
    assert count("/proc/self/fd") == before
    assert threading.active_count() <= threads + 1
    assert count(f"/proc/{pid}/fd") == handles
    assert resident(pid) - memory < 20e6


@posix
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="cannot count")
def test_processes_that_died_leave_nothing_behind(write: Write) -> None:
    before = count("/proc/self/fd")
    children = len(children_of(os.getpid()))
    with Decoder(command=COMMAND) as decoder:
        for _ in range(5):
            fails(decoder, write(at="open", do="crash"))
    assert count("/proc/self/fd") == before
    assert len(children_of(os.getpid())) == children


def count(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


def resident(pid: int) -> float:
    """Bytes of memory in use."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096.0


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.skipif(sys.platform != "linux", reason="pipes have one size")
def test_files_are_read_where_the_system_gives_no_larger_pipes(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Linux does to a user who has many pipes."""
    import fcntl

    true: Any = fcntl.fcntl

    def stingy(pipe: Any, command: int, *more: Any) -> Any:
        if command == 1031:  # F_SETPIPE_SZ
            raise PermissionError(1, "Operation not permitted")
        return true(pipe, command, *more)

    monkeypatch.setattr(fcntl, "fcntl", stingy)
    with Decoder(command=COMMAND) as decoder:
        works(decoder, write)


def test_who_answers_while_the_watch_decides_is_late_and_not_killed_afterwards(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next file, which is innocent, would be told to have crashed the decoder."""
    deciding, true_receive = threading.Event(), child.receive
    processes: Any = subprocess.Popen
    true_kill = processes.kill

    def slow_kill(process: Any) -> None:
        deciding.set()
        time.sleep(0.5)
        true_kill(process)

    def late(pipe: Any) -> Any:
        message = true_receive(pipe)
        assert deciding.wait(10)
        return message

    path, conversation = write(), child.Child(COMMAND)
    try:
        limits = {"max_pixels": None, "seconds": 60.0, "memory": None}
        conversation.request(path, {"open": str(path), "folder": str(path.parent), **limits})
        monkeypatch.setattr(processes, "kill", slow_kill)
        monkeypatch.setattr(child, "receive", late)
        with pytest.raises(PictureError, match="took longer"):
            conversation.answer(path, -10.0)  # over before it begins
        assert not conversation.is_alive
    finally:
        monkeypatch.undo()
        conversation.end()


PARENT = """
import sys, time
from pathlib import Path
from upscale.errors import PictureError
from upscale.media.isolated import decoder as isolation
from upscale.media.isolated.decoder import Decoder
decoder = Decoder(seconds=3, command=sys.argv[2:])
isolation.EAGER_BYTES = 0
def main():
    path = Path(sys.argv[1])
    try:
        decoder.open(path.with_name("pid"))
    except PictureError as error:
        print(str(error).rpartition(" ")[2], flush=True)
    source = decoder.open(path)
    for picture in source.pictures():
        for band in picture.bands():
            time.sleep(1000)
main()
"""


@posix
@pytest.mark.parametrize("at", ["idle", "send", "busy", "busy in C"])
def test_the_process_ends_when_we_are_killed(write: Write, at: str) -> None:
    """By kill -9, when nobody can tell it: while it waits, sends, or decodes (then within its time)."""
    write("pid", pid=True)
    busy = {"busy": {"at": "open", "do": "hang"}, "busy in C": {"at": "read", "do": "hang in C"}}
    side = 4000 if at == "send" else 10
    path = write("path", width=side, height=side, band=500, **busy.get(at, {}))
    with subprocess.Popen([sys.executable, "-c", PARENT, str(path), *COMMAND], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.5)
        assert is_running(pid)
        parent.kill()
    assert ends(pid, 8)  # 3 are allowed


@posix
def test_ctrl_c_is_not_for_the_process(decoder: Decoder, write: Write) -> None:
    pid = pid_of(decoder, write)
    assert os.getpgid(pid) != os.getpgid(0)  # a terminal signals the group in front
    os.kill(pid, signal.SIGINT)
    assert pid_of(decoder, write) == pid


@posix
@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_without_standard_streams(write: Write, closed: tuple[int, ...]) -> None:
    """As daemons and `2>&-` start programs: pipes may then get these numbers."""
    code = """
import os, sys
from pathlib import Path
from upscale.media.isolated.decoder import Decoder
for stream in map(int, sys.argv[2].split()):
    os.close(stream)
with Decoder(command=sys.argv[3:]) as decoder:
    images = [decoder.open(Path(sys.argv[1])) for _ in range(2)]
os._exit(7 if images[1].header.width == 7 else 1)
"""
    streams = " ".join(map(str, closed))
    done = subprocess.run([sys.executable, "-c", code, str(write()), streams, *COMMAND], check=False, timeout=60)
    assert done.returncode == 7


def test_an_interruption_of_ours_leaves_no_half_conversation(
    decoder: Decoder, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = pid_of(decoder, write)
    with monkeypatch.context() as patch:

        def interrupted(*_: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr("upscale.media.isolated.remote._empty", interrupted)
        with pytest.raises(KeyboardInterrupt):
            decoder.open(write())
    assert ends(pid)
    works(decoder, write)


def test_the_decoder_of_real_files_starts_where_no_package_is_to_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with modules that are called like ours, as somebody may send them along with pictures."""
    for name in ("upscale.py", "numpy.py", "json.py"):
        (tmp_path / name).write_text("raise SystemExit('taken in')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    path = Path("x.png")
    path.write_bytes(b"no picture")
    with Decoder() as decoder, pytest.raises(PictureError) as raised:
        decoder.open(path)
    assert "start" not in str(raised.value)
    assert str(raised.value).startswith("x.png: ")
