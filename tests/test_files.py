"""Files are complete or not there, and have the rights that any new file has."""

import os
import stat
import sys
from pathlib import Path

import pytest

from upscale.files import cache_dir, replacing, sha256_of

posix = pytest.mark.skipif(sys.platform == "win32", reason="rights as on POSIX systems")


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


def test_missing_folder_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"), replacing(tmp_path / "nowhere" / "picture.png"):
        pytest.fail("there is nothing to write to")


@pytest.mark.parametrize("name", ["x" * 200 + ".png", "ü" * 90 + ".png", "no suffix", ".hidden", "写真.webp"])
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
