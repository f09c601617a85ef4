"""Which files a command means, and where each result goes."""

import os
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upscale.errors import OutputError, PictureError
from upscale.media.folder import Places, Task, tasks
from upscale.media.formats import AVIF, BY_SUFFIX, JPEG, PNG
from upscale.media.listing import STREAM
from upscale.media.video.containers import WEBM

posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes and links as on POSIX systems")


def make(*names: str) -> None:
    """Files that look like pictures: nobody opens them here."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"picture")


def planned(
    *inputs: str, out: str | None = None, results_in: Callable[[Path], Collection[str]] = lambda _: (), **more: Any
) -> list[Task]:
    return tasks(inputs, Places(None if out is None else Path(out), **more), results_in)


def pairs(found: list[Task]) -> list[tuple[str, str]]:
    assert [task.error for task in found if task.error] == []
    return [(task.source.as_posix(), task.target.as_posix()) for task in found if task.target]


def faults(found: list[Task]) -> list[str | None]:
    return [None if task.error is None else str(task.error) for task in found]


@pytest.mark.parametrize(
    ("tag", "name"), [("4", "a_x4.png"), ("2.5", "a_x2.5.png"), ("800x600", "a_800x600.png"), ("w1024", "a_w1024.png")]
)
def test_result_lies_beside_its_input_and_is_called_by_the_scale_or_size(place: Path, tag: str, name: str) -> None:
    make("a.png", "sub/a.png", "in/b.png")
    assert pairs(planned("a.png", tag=tag)) == [("a.png", name)]
    assert pairs(planned("sub/a.png", tag=tag)) == [("sub/a.png", f"sub/{name}")]
    assert pairs(planned("in", tag=tag)) == [("in/b.png", f"in{name[1:-4]}/b.png")]


def test_format_and_spelling_of_the_suffix_stay(place: Path) -> None:
    make("a.JPG", "b.tar.WebP", "c.tiff")
    found = pairs(planned("a.JPG", "b.tar.WebP", "c.tiff"))
    assert [target for _, target in found] == ["a_x4.JPG", "b.tar_x4.WebP", "c_x4.tiff"]


def test_out_is_a_file_for_one_input_with_a_pictures_suffix(place: Path) -> None:
    make("a.png")
    assert pairs(planned("a.png", out="big.jpg")) == [("a.png", "big.jpg")]


def test_out_is_a_folder_else(place: Path) -> None:
    make("a.png", "b.png")
    assert pairs(planned("a.png", out="large")) == [("a.png", "large/a_x4.png")]
    assert pairs(planned("a.png", out="v1.2")) == [("a.png", "v1.2/a_x4.png")]
    assert pairs(planned("a.png", "b.png", out="large")) == [("a.png", "large/a_x4.png"), ("b.png", "large/b_x4.png")]
    Path("x.png").mkdir()
    assert pairs(planned("a.png", out="x.png")) == [("a.png", "x.png/a_x4.png")], "a folder that is really called so"


@pytest.mark.parametrize("inputs", [("a.png", "b.png"), (".",), ("*.png",)])
def test_several_inputs_never_go_into_one_file(place: Path, inputs: tuple[str, ...]) -> None:
    make("a.png", "b.png")
    with pytest.raises(ValueError, match="several inputs"):
        planned(*inputs, out="big.png")
    assert sorted(path.name for path in place.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize("name", ["out.exr", "out.dng", "out.PSD"])
def test_an_output_of_another_format_is_refused_not_made_a_folder(place: Path, name: str) -> None:
    make("a.png")
    (fault,) = faults(planned("a.png", out=name))
    assert fault is not None
    assert fault.startswith(f"{name}: cannot write")
    assert not Path(name).exists()


def test_row_34_only_pictures_and_videos_of_a_folder_are_meant(place: Path) -> None:
    make("in/b.png", "in/a.JPG", "in/notes.txt", "in/Thumbs.db", "in/movie.mp4", "in/sub/c.png")
    Path("in/folder.png").mkdir()
    found = [("in/a.JPG", "in_x4/a.JPG"), ("in/b.png", "in_x4/b.png"), ("in/movie.mp4", "in_x4/movie.mp4")]
    assert pairs(planned("in")) == found


def test_a_video_keeps_its_container_where_that_is_written_and_else_becomes_matroska(place: Path) -> None:
    make("a.MP4", "b.avi", "c.webm", "d.mov", "e.ts", "f.m4v", "g.png")
    names = ["a.MP4", "b.avi", "c.webm", "d.mov", "e.ts", "f.m4v", "g.png"]
    targets = [target for _, target in pairs(planned(*names))]
    assert targets == ["a_x4.MP4", "b_x4.mkv", "c_x4.webm", "d_x4.mov", "e_x4.mkv", "f_x4.m4v", "g_x4.png"]
    targets = [target for _, target in pairs(planned(*names, codec="prores"))]
    assert targets == ["a_x4.mkv", "b_x4.mkv", "c_x4.mkv", "d_x4.mov", "e_x4.mkv", "f_x4.mkv", "g_x4.png"]
    targets = [target for _, target in pairs(planned(*names, container=WEBM, format=JPEG))]
    assert targets == [f"{name}_x4.webm" for name in "abcdef"] + ["g_x4.jpg"]


def test_a_video_does_not_go_to_stdout(place: Path) -> None:
    make("a.mp4")
    (fault,) = faults(planned("a.mp4", out="-"))
    assert fault == "-: a video is put together at its end and cannot go to stdout; use -o with a file"


def test_a_video_and_a_picture_are_not_called_like_one_another(place: Path) -> None:
    make("a.mp4", "b.png")
    assert faults(planned("a.mp4", out="x.png")) == ["x.png: no video can be so called; use .mp4, .mkv, .webm or .mov"]
    assert faults(planned("b.png", out="x.mp4")) == [
        "x.mp4: one picture makes no video; use -o with .png, or a folder of pictures"
    ]
    assert faults(planned("a.mp4", out="x.avi")) == ["x.avi: no video can be so called; use .mp4, .mkv, .webm or .mov"]


def test_wish_20_recursion_mirrors_the_tree(place: Path) -> None:
    make("in/a.png", "in/x/b.png", "in/x/y/c.webp", "in/z.png/d.tif")
    found = pairs(planned("in", recursive=True))
    assert found == [
        ("in/a.png", "in_x4/a.png"),
        ("in/x/b.png", "in_x4/x/b.png"),
        ("in/x/y/c.webp", "in_x4/x/y/c.webp"),
        ("in/z.png/d.tif", "in_x4/z.png/d.tif"),
    ]
    assert pairs(planned("in", recursive=True, out="o"))[1] == ("in/x/b.png", "o/x/b.png")


@pytest.mark.parametrize("given", ["in", "in/", "./in", "../here/in"])
def test_results_lie_beside_the_folder_however_it_is_written(place: Path, given: str) -> None:
    make("in/a.png")
    ((_, target),) = pairs(planned(given))
    assert Path(target).resolve() == place / "in_x4" / "a.png"


@pytest.mark.parametrize("given", [".", "./", "sub/.."])
def test_the_working_folder_itself(place: Path, given: str) -> None:
    make("a.png", "sub/b.png")
    ((_, target),) = pairs(planned(given))
    assert Path(target) == place.parent / "here_x4" / "a.png"


def test_results_lie_beside_a_link_to_a_folder_not_beside_what_it_points_to(place: Path) -> None:
    make("far/away/a.png")
    Path("link").symlink_to("far/away")
    assert pairs(planned("link")) == [("link/a.png", "link_x4/a.png")]


def test_hidden_files_are_left_alone_in_folders(place: Path) -> None:
    make("in/a.png", "in/._a.png", "in/.a.x1y2.png", "in/.thumbs/b.png")
    assert [source for source, _ in pairs(planned("in", recursive=True))] == ["in/a.png"]
    assert pairs(planned("in/._a.png")) == [("in/._a.png", "in/._a_x4.png")], "asked for by name, it is meant"


def test_results_inside_the_folder_are_not_enlarged_again(place: Path) -> None:
    make("in/a.png", "in/large/a.png", "in/large/x/b.png")
    found = planned("in", recursive=True, out="in/large", overwrite=True)
    assert pairs(found) == [("in/a.png", "in/large/a.png")]


def test_a_pattern_that_the_shell_did_not_expand(place: Path) -> None:
    make("b.png", "a.png", "c.jpg", "x/d.png", "x/y/e.png")
    assert [source for source, _ in pairs(planned("*.png"))] == ["a.png", "b.png"]
    assert [source for source, _ in pairs(planned("?.[jp]*"))] == ["a.png", "b.png", "c.jpg"]
    assert [source for source, _ in pairs(planned("x/**/*.png"))] == ["x/d.png", "x/y/e.png"]
    assert [source for source, _ in pairs(planned(f"{place}/a*.png"))] == [f"{place}/a.png"]


def test_a_file_really_named_with_brackets_comes_before_the_pattern(place: Path) -> None:
    make("a[1].png", "a1.png", "who?.png", "star*.png")
    for name in ("a[1].png", "who?.png", "star*.png"):
        assert [source for source, _ in pairs(planned(name))] == [name]
    Path("a[1].png").unlink()
    assert [source for source, _ in pairs(planned("a[1].png"))] == ["a1.png"]


def test_a_pattern_without_matches_is_a_missing_file(place: Path) -> None:
    assert faults(planned("*.png")) == ["*.png: no such file or folder; check the name"]


def test_row_34_what_is_missing_or_unusable_is_told_and_the_rest_goes_on(place: Path) -> None:
    make("good.png", "notes.txt", "film.mp3", "noext")
    Path("broken.png").symlink_to("nowhere.png")
    Path("loop.png").symlink_to("loop.png")
    Path("empty").mkdir()
    names = ["missing.png", "notes.txt", "film.mp3", "noext", "broken.png", "loop.png", "empty", "x" * 300 + ".png"]
    found = planned(*names, "good.png")
    assert found[-1] == Task(Path("good.png"), Path("good_x4.png"), root=Path())
    told = ["no such file", "supported", "supported", "supported", "gone", "cannot be read", "no pictures", "too long"]
    for task, name, words in zip(found, names, told, strict=False):
        assert isinstance(task.error, PictureError)
        assert task.target is None
        assert str(task.error).startswith(f"{name}: ")
        assert words in str(task.error)


def test_an_empty_folder_says_how_to_look_further(place: Path) -> None:
    make("in/x/a.png")
    (fault,) = faults(planned("in"))
    assert fault is not None
    assert "--recursive" in fault


def test_an_existing_result_is_refused_unless_told_otherwise(place: Path) -> None:
    make("a.png", "a_x4.png")
    (task,) = planned("a.png")
    assert isinstance(task.error, OutputError)
    assert "--overwrite" in str(task.error)
    assert str(task.target) == "a_x4.png"
    assert pairs(planned("a.png", overwrite=True)) == [("a.png", "a_x4.png")]


def test_wish_20_of_two_inputs_for_one_result_each_gets_its_own_name(place: Path) -> None:
    make("x/a.png", "y/a.png", "z/a.png")
    found = pairs(planned("x/a.png", "y/a.png", "z", out="o"))
    assert [target for _, target in found] == ["o/a_x4.png", "o/a_png_x4.png", "o/a.png"]
    assert pairs(planned("x", "y", out="o")) == [("x/a.png", "o/a.png"), ("y/a.png", "o/a_png.png")]


def test_wish_20_one_format_for_all_keeps_them_apart(place: Path) -> None:
    make("in/a.jpg", "in/a.png", "in/a.webp", "in/b.jpg", "in/x/a.gif")
    assert pairs(planned("in", format=PNG, recursive=True)) == [
        ("in/a.jpg", "in_x4/a_jpg.png"),
        ("in/a.png", "in_x4/a.png"),
        ("in/a.webp", "in_x4/a_webp.png"),
        ("in/b.jpg", "in_x4/b.png"),
        ("in/x/a.gif", "in_x4/x/a.png"),
    ]


def test_names_that_another_disk_holds_for_one_are_kept_apart(place: Path) -> None:
    make("in/A.png", "in/a.png", "in/é.png", "in/e\u0301.png", "in/X/c.png", "in/x/c.png")
    if len(list(Path("in").iterdir())) < 6:
        pytest.skip("this disk holds them for one")
    for _ in range(2):
        found = [target for _, target in pairs(planned("in", recursive=True, overwrite=True))]
        assert found == [
            *("in_x4/A.png", "in_x4/X/c.png", "in_x4/a_png.png", "in_x4/e\u0301.png", "in_x4/x/c_png.png"),
            "in_x4/é_png.png",
        ]
        make(*found)  # the names do not hang on what is there already


def test_folders_whose_names_differ_in_case_are_two(place: Path) -> None:
    make("X/a.png", "x/a.png")
    if len(list(place.iterdir())) < 2:
        pytest.skip("this disk holds them for one")
    assert pairs(planned("X/a.png", "x/a.png")) == [("X/a.png", "X/a_x4.png"), ("x/a.png", "x/a_x4.png")]


def test_another_name_is_never_an_inputs(place: Path) -> None:
    make("a.jpg", "a.png", "a_jpg_x4.png")
    found = planned("a.jpg", "a.png", "a_jpg_x4.png", format=PNG, overwrite=True)
    assert [target for _, target in pairs(found)] == ["a_jpg_2_x4.png", "a_x4.png", "a_jpg_x4_x4.png"]


def test_what_is_given_twice_is_done_once(place: Path) -> None:
    make("x/a.png", "b.png")
    Path("link").symlink_to("x")
    assert pairs(planned("b.png", "b.png", "./b.png", "*.png")) == [("b.png", "b_x4.png")]
    assert pairs(planned("x", "x/", "link", out="o")) == [("x/a.png", "o/a.png")]
    assert len(pairs(planned("x", "link"))) == 2


def test_collision_through_a_link_is_seen(place: Path) -> None:
    make("x/a.png", "y/a.png")
    Path("x_x4").mkdir()
    Path("y_x4").symlink_to("x_x4")
    assert [target for _, target in pairs(planned("x", "y"))] == ["x_x4/a.png", "y_x4/a_png.png"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_original_is_never_overwritten(place: Path, overwrite: bool) -> None:
    make("a.png")
    Path("link.png").symlink_to("a.png")
    for inputs, out in ((("a.png",), "a.png"), (("a.png",), "link.png"), (("link.png",), "a.png"), ((".",), ".")):
        found = planned(*inputs, out=out, overwrite=overwrite)
        assert found
        assert all(task.error for task in found)
        assert "never overwritten" in str(found[0].error)


@pytest.mark.parametrize("inputs", [("a.png", "a_x4.png"), ("a_x4.png", "a.png"), ("*.png",)])
def test_an_input_is_never_overwritten_by_anothers_result(place: Path, inputs: tuple[str, ...]) -> None:
    make("a.png", "a_x4.png")
    found = {task.source.name: task for task in planned(*inputs, overwrite=True)}
    assert "never overwritten" in str(found["a.png"].error)
    assert found["a_x4.png"].error is None


def test_a_folder_where_the_result_should_be_is_told(place: Path) -> None:
    make("a.png", "a_x4.png/keep.txt")
    (fault,) = faults(planned("a.png", overwrite=True, resume=True))
    assert fault == "a_x4.png: a folder is so called; use -o"


def test_row_20_a_name_too_long_for_the_result_is_shortened(place: Path) -> None:
    first, second = "n" * 250 + "1.png", "n" * 250 + "2.png"
    make(first, second, f"{'m' * 250}/a.png")
    found = pairs(planned(first, second))
    assert [source for source, _ in found] == [first, second]
    assert len({target for _, target in found}) == 2
    for _, target in [*found, *pairs(planned("m" * 250))]:
        make(target)  # the system takes it
        assert "_x4" in target


def test_row_20_a_long_name_goes_into_a_folder_as_it_is(place: Path) -> None:
    name = "长" * 83 + ".png"
    make(f"in/{name}")
    assert pairs(planned("in")) == [(f"in/{name}", f"in_x4/{name}")]


def test_the_root_of_the_file_system_needs_an_output(place: Path) -> None:
    with pytest.raises(OutputError, match="-o"):
        planned("/")


@pytest.mark.parametrize(
    "name",
    [
        "图片.png",
        "ñandú é.jpg",
        "with  spaces.png",
        "-dash.png",
        "new\nline.png",
        "%d.png",
        "{stem}.png",
        "a\udcff.png",
    ],
)
def test_row_20_any_name_is_kept(place: Path, name: str) -> None:
    make(name)
    assert pairs(planned(name)) == [(name, f"{Path(name).stem}_x4{Path(name).suffix}")]


@pytest.mark.parametrize(
    ("name", "words"), [("a.CR2", "darktable"), ("a.dng", "TIFF"), ("a.exr", "floating point"), ("a.psd", "convert it")]
)
def test_wish_18_what_is_refused_by_name_is_not_lost_in_a_folder(place: Path, name: str, words: str) -> None:
    make(f"in/{name}", "in/b.png", "in/notes.txt")
    refused, good = planned("in")
    assert isinstance(refused.error, PictureError)
    assert str(refused.error).startswith(f"in/{name}: ")
    assert words in str(refused.error)
    assert (good.error, refused.target) == (None, None)
    assert faults(planned(f"in/{name}")) == [str(refused.error)]


def test_wish_18_every_known_kind_is_taken_and_keeps_its_suffix(place: Path) -> None:
    names = sorted(f"a{suffix}" for suffix in BY_SUFFIX)
    make(*(f"in/{name}" for name in names))
    black_and_white = {"a.pbm": "a_pbm.pgm"}  # beside a.pgm; such a file holds no grays
    assert pairs(planned("in")) == [(f"in/{name}", f"in_x4/{black_and_white.get(name, name)}") for name in names]


def test_a_format_changes_the_suffix(place: Path) -> None:
    make("a.JPEG", "in/b.webp")
    assert pairs(planned("a.JPEG", "in", format=JPEG)) == [("a.JPEG", "a_x4.jpg"), ("in/b.webp", "in_x4/b.jpg")]
    assert pairs(planned("a.JPEG", out="o", format=AVIF)) == [("a.JPEG", "o/a_x4.avif")]
    assert pairs(planned("a.JPEG", out="o.jfif", format=JPEG)) == [("a.JPEG", "o.jfif")]
    with pytest.raises(ValueError, match=r"o\.png .* JPEG"):
        planned("a.JPEG", out="o.png", format=JPEG)


def test_wish_20_a_template_names_results_beside_inputs_and_in_folders(place: Path) -> None:
    make("a.png", "in/b.png", "in/x/c.jpg")
    found = planned("a.png", "in", name="{index}_{model}_{stem}@{scale}", model="m", recursive=True)
    assert [target for _, target in pairs(found)] == ["1_m_a@4.png", "in_x4/2_m_b@4.png", "in_x4/x/3_m_c@4.jpg"]
    assert pairs(planned("a.png", out="o", name="big"))[0][1] == "o/big.png"
    with pytest.raises(ValueError, match="use one"):
        planned("a.png", out="o.png", name="big")
    with pytest.raises(ValueError, match=r"\{index\}"):
        planned("a.png", name="{nonsense}")


def test_numbers_have_as_many_digits_as_the_count(place: Path) -> None:
    make(*(f"in/{index:02}.png" for index in range(11)), "in/05.cr2")
    found = planned("in", name="{index}")
    assert [task.target and task.target.stem for task in found][:2] == ["01", "02"]
    assert found[-1].target == Path("in_x4/12.png")
    assert faults(found).count(None) == 11


def test_resume_leaves_what_exists_to_the_manifest(place: Path) -> None:
    make("in/a.png", "in/b.png", "in_x4/a.png")
    assert faults(planned("in"))[1] is None
    fault = faults(planned("in"))[0]
    assert fault is not None
    assert "--overwrite" in fault
    assert "--resume" in fault
    assert faults(planned("in", resume=True)) == [None, None]


def test_the_folder_that_knows_a_result(place: Path) -> None:
    make("a.png", "in/x/b.png")
    assert [task.root for task in planned("a.png", "in", recursive=True)] == [Path(), Path("in_x4")]
    assert [task.root for task in planned("a.png", "in", recursive=True, out="o")] == [Path("o"), Path("o")]
    assert [task.root for task in planned("in/x/b.png")] == [Path("in/x")]
    assert [task.root for task in planned("a.png", out="o/big.png")] == [Path("o")]


def test_a_second_run_over_a_pattern_means_the_originals(place: Path) -> None:
    make("a.png", "b.png", "sub/c.png")
    first = pairs(planned("*.png", "sub", name="{index}_{stem}_big", out="sub"))
    make("sub/1_a_big.png", "sub/3_c_big.png")
    known = {Path("sub"): ["1_a_big.png", "2_b_big.png", "3_c_big.png"]}
    again = planned(
        "*.png", "sub", name="{index}_{stem}_big", out="sub", resume=True, results_in=lambda root: known[root]
    )
    assert pairs(again) == first
    alone = planned("sub/1_a_big.png", resume=True, results_in=lambda root: known[root])
    assert pairs(alone) == [("sub/1_a_big.png", "sub/1_a_big_x4.png")], "asked for by name and without its original"


def test_stdin_goes_to_stdout_or_where_the_output_says(place: Path) -> None:
    assert planned("-") == [Task(STREAM, STREAM, stdin=True, stdout=True)]
    assert planned("-", out="-") == [Task(STREAM, STREAM, stdin=True, stdout=True)]
    assert planned("-", out="a.jpg") == [Task(STREAM, Path("a.jpg"), root=Path(), stdin=True)]
    assert planned("-", out="o")[0].target == Path("o/stdin_x4.png")
    assert planned("-", out="o", format=JPEG, name="{stem}{index}")[0].target == Path("o/stdin1.jpg")
    make("b.png")
    assert planned("-", "b.png")[1] == Task(Path("b.png"), Path("b_x4.png"), root=Path())
    assert planned("b.png", out="-") == [Task(Path("b.png"), STREAM, stdout=True)]


@pytest.mark.parametrize(
    ("inputs", "out"), [(("-", "-"), None), (("-", "b.png"), "-"), (("in",), "-"), (("-", "b.png"), "c.png")]
)
def test_one_stream_is_one_picture(place: Path, inputs: tuple[str, ...], out: str | None) -> None:
    make("b.png", "in/a.png")
    with pytest.raises(ValueError, match=r"once|several inputs"):
        planned(*inputs, out=out)


@pytest.mark.parametrize("given", ["-x.png", "./-x.png"])
def test_row_20_a_name_with_a_leading_dash_is_a_name(place: Path, given: str) -> None:
    make("-x.png", "-")
    assert pairs(planned(given)) == [("-x.png", "-x_x4.png")]
    (fault,) = faults(planned("./-"))
    assert fault is not None
    assert fault.startswith("-: not a supported kind"), "a file, not stdin"


def test_row_34_a_broken_link_in_a_folder_is_told(place: Path) -> None:
    make("in/a.png")
    Path("in/b.png").symlink_to("nowhere.png")
    Path("in/c.png").symlink_to("c.png")
    found = planned("in")
    assert [task.error is None for task in found] == [True, False, False]
    assert "gone" in str(found[1].error)


@posix
def test_row_34_a_pipe_called_like_a_picture_is_told_and_nobody_waits(place: Path) -> None:
    os.mkfifo("a.png")
    (fault,) = faults(planned("a.png"))
    assert fault is not None
    assert "pipe" in fault


def test_row_34_a_folder_that_cannot_be_read_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("in/a.png", "in/locked/b.png", "in/z.png")
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = planned("in", recursive=True)
    assert [task.source.name for task in found] == ["a.png", "locked", "z.png"]
    assert faults(found)[1] == "in/locked: cannot be looked into (Permission denied); check its rights"
    assert faults(planned("in/locked")) == [faults(found)[1]]


@pytest.mark.parametrize("given", ["in", "in/**/*.png", "in/**"])
def test_links_in_a_circle_are_walked_once(place: Path, given: str) -> None:
    make("in/x/a.png", "in/y/b.png", "in/c.png")
    for link in ("in/x/up", "in/x/top", "in/y/up"):
        Path(link).symlink_to(".." if link.endswith("up") else "../../in")
    started = time.perf_counter()
    found = planned(given, recursive=True, out="o")
    assert sorted(source for source, _ in pairs(found)) == ["in/c.png", "in/x/a.png", "in/y/b.png"]
    assert time.perf_counter() - started < 5


def test_a_deep_tree(place: Path) -> None:
    deep = Path("in", *["d"] * 600)
    deep.mkdir(parents=True)
    make(str(deep / "a.png"))
    ((source, target),) = pairs(planned("in", recursive=True))
    assert target == source.replace("in/", "in_x4/", 1)


def test_ten_thousand_inputs_are_planned_in_seconds(place: Path) -> None:
    Path("in").mkdir()
    for index in range(10_000):
        Path(f"in/{index}.jpg").touch()
    started = time.perf_counter()
    assert len(planned("in", format=PNG)) == 10_000
    assert time.perf_counter() - started < 10


PATHS = st.sampled_from(
    [
        f"{folder}/{stem}.{suffix}"
        for folder in "xyX"
        for stem in ("a", "A", "é", "e\u0301", "a_png")
        for suffix in ("png", "jpg", "PNG")
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(PATHS, unique=True, min_size=1),
    folders=st.booleans(),
    out=st.sampled_from([None, "o", "x"]),
    format_=st.sampled_from([None, PNG, JPEG]),
    name=st.sampled_from([None, "{stem}", "one", "{index}", "{stem}_png"]),
)
def test_no_two_inputs_share_a_result_and_none_is_overwritten(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[str],
    folders: bool,
    out: str | None,
    format_: Any,
    name: str | None,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("tree"))
        make(*files)
        inputs = sorted({file.split("/")[0] for file in files}) if folders else files
        places = Places(None if out is None else Path(out), "4", "m", format_, name, overwrite=True)
        found = tasks(inputs, places)
        good = [task for task in found if task.error is None]
        targets = [task.target for task in good if task.target]
        assert len(good) == len(targets) == len({os.path.realpath(target) for target in targets})
        assert not {os.path.realpath(target) for target in targets} & {os.path.realpath(file) for file in files}
        assert {task.source for task in found} == {Path(file) for file in files}, "none is lost"
        for target in targets:
            make(str(target))  # as a run does
        assert all(Path(file).read_bytes() == b"picture" for file in files)
        if not folders:
            again = [task.target for task in tasks(inputs, places)]
            assert again == [task.target for task in found], "the same places in each run, whatever is there"
