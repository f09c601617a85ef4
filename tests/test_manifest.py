"""What a batch has made is known again, whatever happened to the run, the files and the list."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upscale.errors import OutputError
from upscale.files import replacing
from upscale.manifest import NAME, Manifest, Verdict, foreign, results_in
from upscale.media.folder import Places, Task, tasks

SETTINGS = {"model": "tiny", "scale": 4, "color_fix": True}
posix = pytest.mark.skipif(sys.platform == "win32", reason="locks and links as on POSIX systems")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder `in` with five pictures, one of them further down."""
    for index, name in enumerate(("b.png", "a.png", "sub/c.png", "ü\n{x}.png", "big.png")):
        make(tmp_path / "in" / name, b"picture %d" % index * 100)
    return tmp_path


def make(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def planned(place: Path, **more: Any) -> list[Task]:
    return tasks([str(place / "in")], Places(place / "out", recursive=True, resume=True, **more))


def one(place: Path, name: str = "a.png") -> Task:
    return next(task for task in planned(place) if task.source.name == name)


def enlarge(manifest: Manifest, task: Task, content: bytes | None = None) -> None:
    """As the pipeline does it, with bytes instead of a picture."""
    assert task.target is not None
    manifest.begin(task)
    if content is None:
        content = task.source.read_bytes() * 4
    task.target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(task.target) as temporary:
        temporary.write_bytes(content)
    manifest.finish(task)


def batch(place: Path, using: dict[str, object] = SETTINGS, overwrite: bool = False) -> dict[str, Verdict]:
    """Does what is to be done, and tells what was found."""
    found: dict[str, Verdict] = {}
    with Manifest.open(place / "out", using) as manifest:
        for task in planned(place):
            found[task.source.name] = verdict = manifest.verdict(task)
            if verdict in ("new", "redo") or overwrite:
                enlarge(manifest, task)
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def crash(manifest: Manifest) -> None:
    """What the system does when a process is killed: nothing is put in order, and the lock is gone."""
    handle, manifest._handle = manifest._handle, None  # pyright: ignore[reportPrivateUsage]
    assert handle is not None
    os.close(handle)


def test_what_was_made_is_finished_and_nothing_else(place: Path) -> None:
    assert set(batch(place).values()) == {"new"}
    before = files(place)
    assert set(batch(place).values()) == {"finished"}
    assert files(place) == before, "nothing is touched"


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut off": lambda place: os.truncate(place / "out/a.png", 100),
    "empty": lambda place: os.truncate(place / "out/a.png", 0),
    "one bit, same size": lambda place: (place / "out/a.png").write_bytes(b"Picture 1" + b"picture 1" * 399),
    "removed": lambda place: (place / "out/a.png").unlink(),
    "input changed, same size": lambda place: (place / "in/a.png").write_bytes(b"picture X" * 100),
    "input of other size": lambda place: (place / "in/a.png").write_bytes(b"picture"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_row_34_what_is_damaged_lost_or_out_of_date_is_made_again(place: Path, what: str) -> None:
    batch(place)
    DAMAGE[what](place)
    assert batch(place) == {
        "a.png": "redo",
        **dict.fromkeys(("b.png", "big.png", "c.png", "ü\n{x}.png"), "finished"),
    }
    assert (place / "out/a.png").read_bytes() == (place / "in/a.png").read_bytes() * 4
    assert set(batch(place).values()) == {"finished"}


def test_row_35_results_of_other_settings_are_made_again(place: Path) -> None:
    batch(place)
    assert set(batch(place, {**SETTINGS, "scale": 2}).values()) == {"redo"}
    assert set(batch(place, dict(reversed({**SETTINGS, "scale": 2}.items()))).values()) == {"finished"}


def test_settings_that_cannot_be_compared_are_refused(place: Path) -> None:
    for bad in (float("nan"), object()):
        with pytest.raises((TypeError, ValueError)):
            Manifest.open(place / "out", {"scale": bad})


def test_a_file_that_we_did_not_make_is_foreign_until_it_is_overwritten(place: Path) -> None:
    make(place / "out/a.png", b"the user's own")
    assert batch(place)["a.png"] == "foreign"
    assert (place / "out/a.png").read_bytes() == b"the user's own"
    assert batch(place)["a.png"] == "foreign"
    assert batch(place, overwrite=True)["a.png"] == "foreign"
    assert batch(place)["a.png"] == "finished"
    assert "--overwrite" in str(foreign(one(place)))


def test_a_run_killed_before_it_overwrote_a_file_does_not_make_it_ours(place: Path) -> None:
    make(place / "out/a.png", b"the user's own")
    manifest = Manifest.open(place / "out", SETTINGS)
    manifest.begin(one(place))
    crash(manifest)
    with Manifest.open(place / "out", SETTINGS) as manifest:
        assert manifest.verdict(one(place)) == "foreign"
    assert not (place / "out" / NAME).exists(), "nothing is left to be remembered"
    assert batch(place)["a.png"] == "foreign"


def test_a_file_found_where_a_run_was_killed_is_ours(place: Path) -> None:
    """Between the result's taking its name and the line that tells of it."""
    manifest = Manifest.open(place / "out", SETTINGS)
    manifest.begin(one(place))
    make(place / "out/a.png", b"finished, or not")
    crash(manifest)
    with Manifest.open(place / "out", SETTINGS):
        pass  # a run that does other things does not forget it
    assert batch(place)["a.png"] == "redo"
    assert batch(place)["a.png"] == "finished"


def test_an_input_that_fails_leaves_no_trace(place: Path) -> None:
    with Manifest.open(place / "out", SETTINGS) as manifest:
        manifest.begin(one(place))  # and then it cannot be decoded
    assert not (place / "out").exists(), "not even an empty folder"
    make(place / "out/a.png", b"the user's own")
    assert batch(place)["a.png"] == "foreign"


def test_a_result_that_could_not_be_made_anew_stays_known(place: Path) -> None:
    batch(place)
    before = files(place / "out")
    with Manifest.open(place / "out", {"scale": 2}) as manifest:
        manifest.begin(one(place))  # and then it cannot be decoded
    assert files(place / "out") == before
    assert set(batch(place).values()) == {"finished"}


def test_a_vanished_input_is_the_readers_to_tell(place: Path) -> None:
    task = one(place)
    task.source.unlink()
    with Manifest.open(place / "out", SETTINGS) as manifest:
        assert manifest.verdict(task) == "new"
        manifest.begin(task)


def test_an_input_that_changes_while_it_is_read_is_made_again(place: Path) -> None:
    task = one(place)
    with Manifest.open(place / "out", SETTINGS) as manifest:
        manifest.begin(task)
        make(task.source, b"changed")
        make(place / "out/a.png", b"of which one?")
        manifest.finish(task)
    assert batch(place)["a.png"] == "redo"


def test_a_result_that_is_gone_is_not_called_finished(place: Path) -> None:
    with Manifest.open(place / "out", SETTINGS) as manifest:
        manifest.begin(one(place))
        with pytest.raises(OutputError, match=r"a\.png: .* cannot be read again"):
            manifest.finish(one(place))
    assert batch(place)["a.png"] == "new"


def test_the_list_holds_no_times_and_is_in_order(place: Path) -> None:
    batch(place)
    first = (place / "out" / NAME).read_bytes()
    names = [json.loads(line)["name"] for line in first.splitlines()]
    assert names == sorted(names) == ["a.png", "b.png", "big.png", "sub/c.png", "ü\n{x}.png"]
    assert str(place).encode() not in first
    (place / "out" / NAME).unlink()
    for name in names:
        (place / "out" / name).unlink()
    with Manifest.open(place / "out", SETTINGS) as manifest:
        for task in reversed(planned(place)):
            enlarge(manifest, task)
    assert (place / "out" / NAME).read_bytes() == first, "the same results, the same list"


def test_several_threads_may_use_it(place: Path) -> None:
    for index in range(100):
        make(place / f"in/many/{index}.png", b"%d" % index)
    found = planned(place)
    with Manifest.open(place / "out", SETTINGS) as manifest, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda task: enlarge(manifest, task), found))
    with Manifest.open(place / "out", SETTINGS) as manifest:
        assert [manifest.verdict(task) for task in found] == ["finished"] * 105
        assert manifest.warnings == []


def test_a_thousand_finished_files_are_checked_in_seconds(place: Path) -> None:
    for index in range(1000):
        make(place / f"in/{index}.png", b"%d" % index * 5_000)
    batch(place)
    started = time.perf_counter()
    with Manifest.open(place / "out", SETTINGS) as manifest:
        assert [manifest.verdict(task) for task in planned(place)] == ["finished"] * 1005
    assert time.perf_counter() - started < 3


# Interruptions


def interrupted(place: Path, count: int) -> bytes:
    """The list of a run that was killed after so many results."""
    manifest = Manifest.open(place / "out", SETTINGS)
    for task in planned(place)[:count]:
        enlarge(manifest, task)
    crash(manifest)
    return (place / "out" / NAME).read_bytes()


def test_a_run_cut_at_any_line_ends_with_the_same_files(place: Path) -> None:
    batch(place)
    expected = files(place / "out")
    for name in expected:
        (place / "out" / name).unlink()
    lines = interrupted(place, 5).splitlines(keepends=True)
    assert len(lines) == 10
    for count in range(11):
        (place / "out" / NAME).write_bytes(b"".join(lines[:count]))
        begun = (count + 1) // 2
        for task in planned(place)[begun:]:
            assert task.target is not None
            task.target.unlink(missing_ok=True)  # what was not begun was not made either
        assert "foreign" not in batch(place).values()
        assert files(place / "out") == expected


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("line", [-1, -2])
def test_a_run_cut_within_its_last_line_ends_with_the_same_files(place: Path, count: int, line: int) -> None:
    batch(place)
    expected = files(place / "out")
    for name in expected:
        (place / "out" / name).unlink()
    written = interrupted(place, count)
    lines = written.splitlines(keepends=True)
    results = {name: content for name, content in files(place / "out").items() if name != NAME}
    if line == -2:  # it was cut before the last file was begun
        results.pop(planned(place)[count - 1].source.relative_to(place / "in").as_posix())
        lines.pop()
    start = sum(map(len, lines[:-1]))
    for end in range(start, start + len(lines[-1])):
        for name in files(place / "out"):
            (place / "out" / name).unlink()
        for name, content in results.items():
            make(place / "out" / name, content)
        make(place / "out" / NAME, written[:end])
        manifest = Manifest.open(place / "out", SETTINGS)
        assert manifest.warnings == [], "a torn last line is nothing to speak of"
        manifest.begin(one(place, "big.png"))
        make(place / "out/big.png", b"killed just here")
        crash(manifest)  # the line that followed the torn one must count
        verdicts = batch(place)
        assert "foreign" not in verdicts.values()
        assert files(place / "out") == expected, f"cut after {end} bytes"


@posix
@pytest.mark.parametrize("how", [("steps",), ("moments", "30")])
def test_killed_at_30_random_moments_and_at_every_step_a_run_ends_with_the_same_files(how: tuple[str, ...]) -> None:
    script = Path(__file__).with_name("interrupted_batch.py")
    done = subprocess.run([sys.executable, script, *how], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


# The list itself


@posix
def test_a_second_run_into_the_same_folder_is_told_so(place: Path) -> None:
    with Manifest.open(place / "out", SETTINGS) as manifest:
        enlarge(manifest, one(place))
        with pytest.raises(OutputError, match=r"out: another run is writing"):
            Manifest.open(place / "out", SETTINGS)
        enlarge(manifest, one(place, "b.png"))
    with Manifest.open(place / "out", SETTINGS) as again:
        assert [again.verdict(one(place, name)) for name in ("a.png", "b.png", "big.png")] == ["finished"] * 2 + ["new"]


@posix
def test_runs_that_end_and_begin_at_once_lose_nothing(place: Path) -> None:
    """One may open the list in the moment in which another puts a new one in its place."""

    def run(index: int) -> None:
        while True:
            try:
                manifest = Manifest.open(place / "out", SETTINGS)
            except OutputError:
                time.sleep(0.001)
                continue
            with manifest:
                return enlarge(manifest, found[index])

    for index in range(60):
        make(place / f"in/{index:02}.png", b"%d" % index)
    found = planned(place)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(len(found))))
    assert set(batch(place).values()) == {"finished"}
    assert [path.name for path in (place / "out").iterdir() if path.name.startswith(".")] == [NAME]


DAMAGED_LINES = [
    *(
        b"",
        b"\0\0\0\0",
        b"not json",
        b"[]",
        b"7",
        b'"a"',
        b"{}",
        b'{"upscale":1}',
        b'{"upscale":1,"name":"a.png"}',
        b"\xff\xfe",
    ),
    *(b'{"upscale":2,"name":"a.png","begun":null}', b'{"upscale":1,"name":7,"begun":null}', b"[" * 50_000, b"9" * 5000),
    *(b'{"upscale":1,"name":"a.png","begun":[1]}', b'{"upscale":1,"name":"a.png","begun":"x"}', b"x" * 200_000),
]


@pytest.mark.parametrize("bad", DAMAGED_LINES, ids=lambda bad: repr(bad[:40]))
def test_a_damaged_line_in_the_middle_costs_only_itself(place: Path, bad: bytes) -> None:
    batch(place)
    lines = (place / "out" / NAME).read_bytes().splitlines(keepends=True)
    lines[0] = bad + b"\n"  # that of a.png
    (place / "out" / NAME).write_bytes(b"".join(lines))
    with Manifest.open(place / "out", SETTINGS) as manifest:
        assert len(manifest.warnings) == 1
        assert "damaged" in manifest.warnings[0]
        assert manifest.verdict(one(place)) == "foreign"
        assert [manifest.verdict(task) for task in planned(place)].count("finished") == 4
    with Manifest.open(place / "out", SETTINGS) as manifest:
        assert manifest.warnings == [], "told once"


@pytest.mark.parametrize("name", ["../x.png", "/etc/passwd", "a\0b.png", "\ud800.png", "x" * 5000, "", "."])
def test_a_name_that_no_result_has_does_no_harm(place: Path, name: str) -> None:
    line = {"upscale": 1, "name": name, "begun": None}
    make(place / "out" / NAME, json.dumps(line).encode() + b"\n")
    make(place / "x.png", b"outside")
    assert set(batch(place).values()) == {"new"}
    assert (place / "x.png").read_bytes() == b"outside"
    assert set(batch(place).values()) == {"finished"}


def other_version(path: Path) -> None:
    path.write_bytes(b'{"upscale":2,"name":"a.png","what":"only newer ones know"}\n')


def other_content(path: Path) -> None:
    path.write_bytes(b"\0\1\2 somebody's own file\n" * 10_000)


def link(path: Path) -> None:
    make(path.parent / "elsewhere", b"precious\n")
    path.symlink_to("elsewhere")


OTHERS = [other_version, other_content, Path.mkdir, *([link, os.mkfifo] if sys.platform != "win32" else [])]


@pytest.mark.parametrize("make_other", OTHERS, ids=lambda function: function.__name__)
def test_what_is_no_list_of_ours_is_left_alone_and_the_batch_goes_on(
    place: Path, make_other: Callable[[Path], object]
) -> None:
    path = place / "out" / NAME
    path.parent.mkdir()
    make_other(path)
    before = path.lstat()
    with Manifest.open(place / "out", SETTINGS) as manifest:
        (warning,) = manifest.warnings
        assert warning.startswith(f"{path}: ")
        assert "remove it" in warning
        for task in planned(place):
            assert manifest.verdict(task) == "new"
            enlarge(manifest, task)
    after = path.lstat()
    assert (after.st_ino, after.st_size, after.st_mode) == (before.st_ino, before.st_size, before.st_mode)
    assert not (place / "out/elsewhere").exists() or (place / "out/elsewhere").read_bytes() == b"precious\n"
    assert results_in(place / "out") == frozenset()
    assert batch(place)["a.png"] == "foreign"


@pytest.mark.parametrize("root", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_is_told(place: Path, root: str) -> None:
    make(place / "file", b"")
    with pytest.raises(OutputError, match=r"file.*: cannot be written \(.*\); use another -o"):
        Manifest.open(place / root, SETTINGS)


@pytest.mark.parametrize("short", [False, True])
def test_a_full_disk_leaves_no_half_line(place: Path, monkeypatch: pytest.MonkeyPatch, short: bool) -> None:
    manifest = Manifest.open(place / "out", SETTINGS)
    enlarge(manifest, one(place))
    before = (place / "out" / NAME).read_bytes()
    real = os.write

    def full(handle: int, data: bytes) -> int:
        if short:
            return real(handle, data[:9])
        raise OSError(errno.ENOSPC, "No space left on device")

    manifest.begin(one(place, "b.png"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OutputError, match=r"cannot be written .*; make room"):
            manifest.begin(one(place, "big.png"))
        make(place / "out/b.png", b"whole")
        manifest.finish(one(place, "b.png"))  # the result is there: no reason to call it failed
        assert any("could not be written" in warning for warning in manifest.warnings)
    assert (place / "out" / NAME).read_bytes().startswith(before)
    assert (place / "out" / NAME).read_bytes().endswith(b"}\n")
    manifest.close()
    with Manifest.open(place / "out", SETTINGS) as again:
        assert [again.verdict(one(place, name)) for name in ("a.png", "b.png", "big.png")] == ["finished"] * 2 + ["new"]


def test_a_list_that_cannot_be_put_in_order_stays_as_good(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest.open(place / "out", SETTINGS)
    enlarge(manifest, one(place))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        manifest.close()
    assert "left as it is (No space left on device)" in manifest.warnings[0]
    assert batch(place)["a.png"] == "finished"


def test_a_list_that_is_removed_meanwhile_is_written_again(place: Path) -> None:
    with Manifest.open(place / "out", SETTINGS) as manifest:
        enlarge(manifest, one(place))
        (place / "out" / NAME).unlink()
    assert batch(place)["a.png"] == "finished"


def test_results_are_no_inputs_of_a_second_run(place: Path) -> None:
    """`upscale *.png --resume`, killed and given again: the shell's pattern now means the results too."""
    folder = place / "in"
    inputs = [str(path) for path in sorted(folder.glob("*.png"))]
    with Manifest.open(folder, SETTINGS) as manifest:
        found = tasks(inputs, Places(resume=True), results_in)
        enlarge(manifest, found[0])
        manifest.begin(found[1])
        make(folder / "b_x4.png", b"killed just here")
        crash(manifest)
    assert results_in(folder) == {"a_x4.png", "b_x4.png"}
    inputs = [str(path) for path in sorted(folder.glob("*.png"))]
    assert tasks(inputs, Places(resume=True), results_in) == found


def test_there_is_nothing_in_a_folder_without_list(tmp_path: Path) -> None:
    assert results_in(tmp_path) == results_in(tmp_path / "nowhere") == frozenset()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_to_the_list_is_survived(place: Path, data: st.DataObject) -> None:
    """Never a traceback, never a foreign file overwritten, and a list that works again."""
    batch(place)
    path = place / "out" / NAME
    content = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, min(len(content), start + 300)))
    content[start:stop] = data.draw(st.binary(max_size=40) | st.just(b"\n") | st.just(b"\0" * 64))
    path.write_bytes(content)
    (place / "out/a.png").write_bytes(b"the user's own")
    verdicts = batch(place)
    redone = verdicts["a.png"] == "redo"
    assert redone or (place / "out/a.png").read_bytes() == b"the user's own"
    path.unlink(missing_ok=True)
    batch(place, overwrite=True)
    assert set(batch(place).values()) == {"finished"}
