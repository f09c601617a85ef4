"""Which files a command means, and where each result goes."""

from pathlib import Path

import pytest

from upscale.errors import OutputError, PictureError
from upscale.media.folder import Places, Task, tasks


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the command is started."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def make(*names: str) -> None:
    """Files that look like pictures: nobody opens them here."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"picture")


def planned(
    *inputs: str, out: str | None = None, scale: float = 4, recursive: bool = False, overwrite: bool = False
) -> list[Task]:
    return tasks(inputs, Places(None if out is None else Path(out), scale, recursive, overwrite))


def pairs(found: list[Task]) -> list[tuple[str, str]]:
    assert [task.error for task in found if task.error] == []
    return [(task.source.as_posix(), task.target.as_posix()) for task in found if task.target]


def faults(found: list[Task]) -> list[str | None]:
    return [None if task.error is None else str(task.error) for task in found]


@pytest.mark.parametrize(
    ("scale", "name"), [(4, "a_x4.png"), (2.5, "a_x2.5.png"), (0.5, "a_x0.5.png"), (16, "a_x16.png"), (3.0, "a_x3.png")]
)
def test_result_lies_beside_its_input_and_is_called_by_the_scale(place: Path, scale: float, name: str) -> None:
    make("a.png", "sub/a.png")
    assert pairs(planned("a.png", scale=scale)) == [("a.png", name)]
    assert pairs(planned("sub/a.png", scale=scale)) == [("sub/a.png", f"sub/{name}")]


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


@pytest.mark.parametrize("name", ["out.gif", "out.heic", "out.mp4", "out.bmp"])
def test_an_output_of_another_format_is_refused_not_made_a_folder(place: Path, name: str) -> None:
    make("a.png")
    (fault,) = faults(planned("a.png", out=name))
    assert fault is not None
    assert fault.startswith(f"{name}: cannot write")
    assert not Path(name).exists()


def test_row_34_only_pictures_of_a_folder_are_meant(place: Path) -> None:
    make("in/b.png", "in/a.JPG", "in/notes.txt", "in/Thumbs.db", "in/movie.mp4", "in/sub/c.png")
    assert pairs(planned("in")) == [("in/a.JPG", "in_x4/a.JPG"), ("in/b.png", "in_x4/b.png")]


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
    make("good.png", "notes.txt", "film.gif", "noext")
    Path("broken.png").symlink_to("nowhere.png")
    Path("loop.png").symlink_to("loop.png")
    Path("empty").mkdir()
    names = ["missing.png", "notes.txt", "film.gif", "noext", "broken.png", "loop.png", "empty", "x" * 300 + ".png"]
    found = planned(*names, "good.png")
    assert found[-1] == Task(Path("good.png"), Path("good_x4.png"))
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


def test_row_20_of_two_inputs_for_one_result_the_first_gets_it(place: Path) -> None:
    make("x/a.png", "y/a.png", "z/a.png")
    found = planned("x/a.png", "y/a.png", "z", out="o", overwrite=True)
    assert [task.target for task in found] == [Path("o/a_x4.png"), Path("o/a_x4.png"), Path("o/a.png")]
    assert faults(found)[::2] == [None, None]
    fault = faults(found)[1]
    assert fault is not None
    assert all(part in fault for part in ("x/a.png", "y/a.png", "use -o"))


def test_collision_through_a_link_is_seen(place: Path) -> None:
    make("a.png")
    Path("real").mkdir()
    Path("link").symlink_to("real")
    first, second = tasks(["a.png"], Places(Path("real"), 4, False, False)), planned("a.png", out="link")
    assert first[0].target != second[0].target
    make("x/a.png", "y/a.png")
    Path("x_x4").mkdir()
    Path("y_x4").symlink_to("x_x4")
    assert [fault is None for fault in faults(planned("x", "y"))] == [True, False]


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
    (fault,) = faults(planned("a.png", overwrite=True))
    assert fault == "a_x4.png: a folder is so called; use -o"


def test_a_name_too_long_for_the_result_is_told(place: Path) -> None:
    name = "n" * 251 + ".png"
    make(name, "b.png")
    found = planned(name, "b.png")
    assert "too long" in str(found[0].error)
    assert isinstance(found[0].error, OutputError)
    assert found[1].error is None


def test_the_root_of_the_file_system_needs_an_output(place: Path) -> None:
    with pytest.raises(OutputError, match="-o"):
        planned("/")


@pytest.mark.parametrize(
    "name", ["图片.png", "ñandú é.jpg", "with  spaces.png", "-dash.png", "new\nline.png", "%d.png"]
)
def test_row_20_any_name_is_kept(place: Path, name: str) -> None:
    make(name)
    assert pairs(planned(name)) == [(name, f"{Path(name).stem}_x4{Path(name).suffix}")]
