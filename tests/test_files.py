"""Files are complete or not there, and have the rights that any new file has."""

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from upscale.files import cache_dir, clear_stale, cut_to_bytes, open_plain, replacing, sha256_of, size_in_bytes

posix = pytest.mark.skipif(sys.platform == "win32", reason="rights as on POSIX systems")
NAMES = [
    "x" * 251 + ".png",
    "ü" * 90 + ".png",
    "长" * 83 + ".png",
    "no suffix",
    ".hidden",
    "new\nline.png",
    "a." + "x" * 250,
]


def test_result_takes_its_name_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "picture.png"
    with replacing(target) as temporary:
        temporary.write_bytes(b"half")
        assert not target.exists(), "the name is taken only at the end"
        temporary.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]


def test_temporary_lies_beside_the_target_and_keeps_the_suffix(tmp_path: Path) -> None:
    with replacing(tmp_path / "a picture.tar.PNG") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".PNG"
        assert temporary.name.startswith(".")


def write_half(target: Path, error: BaseException) -> None:
    with replacing(target) as temporary:
        temporary.write_bytes(b"half of the new")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_failure_leaves_nothing_behind(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        write_half(tmp_path / "picture.png", error())
    assert list(tmp_path.iterdir()) == []


def test_existing_file_survives_a_failure(tmp_path: Path) -> None:
    target = tmp_path / "picture.png"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        write_half(target, RuntimeError())
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_existing_file_is_replaced_on_success(tmp_path: Path) -> None:
    target = tmp_path / "picture.png"
    target.write_bytes(b"old and longer")
    with replacing(target) as temporary:
        temporary.write_bytes(b"new")
    assert target.read_bytes() == b"new"


def test_two_writers_of_one_name_do_not_mix(tmp_path: Path) -> None:
    target = tmp_path / "picture.png"
    with replacing(target) as first, replacing(target) as second:
        assert first != second
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert target.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [target]


@posix
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o000])
def test_rights_follow_the_umask_and_the_umask_stays(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with replacing(tmp_path / "picture.png") as temporary:
            temporary.write_bytes(b"whole")
        assert stat.S_IMODE((tmp_path / "picture.png").stat().st_mode) == 0o666 & ~mask
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


@posix
def test_many_threads_leave_the_umask_alone(tmp_path: Path) -> None:
    """Reading the umask means setting it, so that two threads at once can leave every later file open to the world."""
    before = os.umask(0o027)

    def write(index: int) -> None:
        for _ in range(50):
            with replacing(tmp_path / f"{index}.png") as temporary:
                temporary.write_bytes(b"whole")

    try:
        threads = [threading.Thread(target=write, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert os.umask(0o027) == 0o027
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*.png")} == {0o640}
    finally:
        os.umask(before)


WRITER = """
import sys
from pathlib import Path
from upscale.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    print(temporary.name, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process in the midst of writing `picture.png`; it has told the temporary's name on its stdout."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "picture.png")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@posix
def test_what_a_killed_run_leaves_is_cleared_and_what_a_live_one_writes_is_not(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    assert writer.stdout is not None
    temporary = tmp_path / writer.stdout.readline().strip()
    assert temporary.read_bytes() == b"half"
    assert clear_stale(tmp_path) == [], "its process lives"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert list(tmp_path.iterdir()) == [temporary], "nobody could clear up"
    assert clear_stale(tmp_path) == [temporary]
    assert list(tmp_path.iterdir()) == []


@posix
def test_our_own_temporaries_are_not_stale_while_we_write(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.png") as temporary:
        temporary.write_bytes(b"whole")  # opening and closing it does not lose the lock
        assert clear_stale(tmp_path) == []
    assert clear_stale(tmp_path) == []
    assert (tmp_path / "a.png").read_bytes() == b"whole"


@posix
def test_nothing_of_another_program_is_cleared(tmp_path: Path) -> None:
    names = [
        ".a.tmp",
        ".a.0123abcd.png",
        "a.0123abcd.upscale-part.png",
        ".a.0123abcd.upscale-partly.png",
        ".upscale-part.png",
    ]
    names += [".a.0123abcd.upscale-part.png.bak", ".a.0123ABCD.upscale-part.png", "a.part", ".a.swp", "picture.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"theirs")
    (tmp_path / ".d.0123abcd.upscale-part.png").mkdir()
    (tmp_path / ".l.0123abcd.upscale-part.png").symlink_to("picture.png")
    os.mkfifo(tmp_path / ".p.0123abcd.upscale-part.png")
    assert clear_stale(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == len(names) + 3


@posix
@pytest.mark.parametrize("name", NAMES)
def test_whatever_name_was_being_written_is_known_again(tmp_path: Path, name: str) -> None:
    with replacing(tmp_path / name) as temporary:
        pass
    (tmp_path / name).unlink()
    temporary.write_bytes(b"half")  # as if the process had been killed before the end
    assert clear_stale(tmp_path) == [temporary]


def test_clearing_a_folder_that_is_not_there_does_nothing(tmp_path: Path) -> None:
    assert clear_stale(tmp_path / "nowhere") == []


@posix
def test_clearing_while_others_write_loses_no_file(tmp_path: Path) -> None:
    """One may find a temporary in the moment between its making and its locking."""
    done = threading.Event()
    cleared: list[Path] = []

    def clear() -> None:
        while not done.is_set():
            cleared.extend(clear_stale(tmp_path))

    thread = threading.Thread(target=clear)
    thread.start()
    try:
        for index in range(300):
            with replacing(tmp_path / "a.png") as temporary:
                temporary.write_bytes(b"%d" % index)
            assert (tmp_path / "a.png").read_bytes() == b"%d" % index
    finally:
        done.set()
        thread.join()
    clear_stale(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.png"]


@posix
def test_only_plain_files_are_opened_and_nothing_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to("file")
    for name in ("pipe", "link", "."):
        with pytest.raises(OSError, match=r"."):
            open_plain(tmp_path / name, os.O_RDONLY)
    for name, links in (("file", False), ("link", True)):
        os.close(open_plain(tmp_path / name, os.O_RDONLY, links))


@pytest.mark.parametrize(
    ("text", "most", "cut"), [("aüb", 2, "a"), ("aüb", 3, "aü"), ("长", 2, ""), ("a", 9, "a"), ("a", -1, "")]
)
def test_names_are_cut_between_characters(text: str, most: int, cut: str) -> None:
    assert cut_to_bytes(text, most) == cut
    assert size_in_bytes(cut) <= max(most, 0)


def test_missing_folder_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"), replacing(tmp_path / "nowhere" / "picture.png"):
        pytest.fail("there is nothing to write to")


@pytest.mark.parametrize("name", [*NAMES, "写真.webp"])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    with replacing(tmp_path / name) as temporary:
        temporary.write_bytes(b"whole")
    assert (tmp_path / name).read_bytes() == b"whole"


def test_sha256_is_the_standard_one(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # the example of FIPS 180-4
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "empty").write_bytes(b"")
    assert sha256_of(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_cache_lies_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UPSCALE_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not here"))
    assert cache_dir() == tmp_path / "here"


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "{}/xdg"}, "xdg/upscale"),
        ("linux", {"XDG_CACHE_HOME": ""}, ".cache/upscale"),
        ("linux", {}, ".cache/upscale"),
        ("darwin", {"XDG_CACHE_HOME": "{}/xdg"}, "Library/Caches/upscale"),
        ("win32", {"LOCALAPPDATA": "{}/local"}, "local/upscale"),
        ("win32", {}, "AppData/Local/upscale"),
    ],
)
def test_cache_lies_in_the_systems_place_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("UPSCALE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_dir() == tmp_path / expected


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSCALE_CACHE", "")
    assert cache_dir() != Path()
    assert cache_dir().name == "upscale"
