"""Bars for those who watch, silence for everybody else."""

import contextlib
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image as Pil

from upscale.checkpoint import Checkpoint, write_safetensors
from upscale.filming import Progressed
from upscale.image import Array
from upscale.media.folder import Task
from upscale.progress import Bars
from upscale.spec import ModelSpec
from upscale.work import Record

REPOSITORY = Path(__file__).resolve().parents[1]


def record(pixels: int = 1000) -> Record:
    return Record("a.png", "b.png", input_size=(1, 1), output_size=(pixels, pixels))


def test_quiet_bars_draw_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with Bars(3, quiet=True) as bars:
        assert bars.picture(Task(Path("a.png"), None)) is None
        bars.finished(record())
    assert capfd.readouterr() == ("", "")


def test_bars_count_files_and_megapixels(capfd: pytest.CaptureFixture[str]) -> None:
    with Bars(2, quiet=False) as bars:
        for _ in range(2):
            bars.picture(Task(Path("a.png"), None))
            bars.finished(record())
    out, err = capfd.readouterr()
    assert out == ""
    assert "2/2" in err
    assert "Mpixel/s" in err


def test_a_failed_file_counts_as_a_file_and_not_as_pixels(capfd: pytest.CaptureFixture[str]) -> None:
    failed = record()
    failed.status = "failed"
    with Bars(2, quiet=False) as bars:
        bars.finished(failed)
        bars.finished(failed)
    assert "2/2" in (text := capfd.readouterr().err)
    assert "0.00 Mpixel/s" in text


def test_a_long_picture_gets_its_own_bar_and_a_short_one_none(capfd: pytest.CaptureFixture[str]) -> None:
    with Bars(1, quiet=False) as bars:
        told = bars.picture(Task(Path("a.png"), None))
        assert told is not None
        told(0.1)
        assert capfd.readouterr().err.strip() == ""
        time.sleep(1.1)
        told(0.5)
        assert "a.png:  50%" in capfd.readouterr().err
        bars.finished(record())


def test_bars_are_closed_when_the_work_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(KeyboardInterrupt), Bars(2, quiet=False) as bars:
        bars.picture(Task(Path("a.png"), None))
        raise KeyboardInterrupt
    assert capfd.readouterr().err.endswith("\n"), "what is printed next begins on its own line"


@pytest.fixture
def batch(
    tmp_path: Path, random_checkpoint: Callable[[ModelSpec, int], Checkpoint], make_photo: Callable[..., Array]
) -> list[str]:
    spec = ModelSpec("tiny", "compact", 4, features=8, blocks=2, activation="prelu")
    write_safetensors(random_checkpoint(spec, 0), tmp_path / "tiny.safetensors")
    for index in range(3):
        Pil.fromarray(make_photo(8, 9, index)).save(tmp_path / f"{index}.png")
    names = [str(tmp_path / f"{index}.png") for index in range(3)]
    model = str(tmp_path / "tiny.safetensors")
    return [sys.executable, "-m", "upscale", "--no-color-fix", *names, "--model", model, "--device", "cpu"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("quiet", [False, True])
def test_bars_appear_on_a_terminal_unless_quiet(batch: list[str], quiet: bool) -> None:
    import fcntl
    import termios

    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [*batch, "-q"] if quiet else batch
    child = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    shown = b""
    while part := read(master):
        shown += part
    os.close(master)
    assert child.communicate()[0] == b""
    assert child.returncode == 0
    if quiet:
        assert shown == b""
        return
    assert b"files" in shown
    assert b"3/3" in shown
    lines = [line.rpartition(b"\r")[2] for line in shown.replace(b"\r\n", b"\n").split(b"\n")]
    told = [line for line in lines if b"upscale: " in line]
    assert len(told) == 4
    assert all(line.startswith(b"upscale: ") for line in told), "what is said stands on its own line, not behind a bar"


def read(master: int) -> bytes:
    try:
        return os.read(master, 4096)
    except OSError:  # on Linux the end of a terminal is an error
        return b""


def test_no_bars_where_nobody_watches(batch: list[str]) -> None:
    done = subprocess.run(batch, cwd=REPOSITORY, capture_output=True, check=True)
    assert b"\r" not in done.stderr
    assert b"3/3" not in done.stderr
    assert done.stderr.count(b"\n") == 4, "one line about the engine, one for each picture"


def test_a_videos_bar_tells_frames_what_is_left_and_where_the_time_goes(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars(1, quiet=False) as bars:
        told = bars.film(Task(Path("film.mkv"), None))
        assert told is not None
        done = Progressed(total=100, kept=40, busy={"decode": 1.0, "network": 8.0, "encode": 1.0})
        for frames in (1, 20):
            done.frames = frames
            told(done)
        shown = bars._picture
        assert (shown.n, shown.total) == (60, 100)
        shown.refresh()
    assert "decode 10%, network 80%, encode 10%" in capsys.readouterr().err
    assert Bars(1, quiet=True).film(Task(Path("film.mkv"), None)) is None
