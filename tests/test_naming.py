"""What results are called: templates, long names, and names that never meet."""

import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscale.media.formats import BY_SUFFIX
from upscale.media.naming import FIELDS, Wish, check_template, default_template, distinct, file_name, folded

VALUES = {"stem": "photo", "scale": "2.5", "model": "x4plus", "index": "07"}


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{stem}", "photo.png"),
        ("{stem}_x{scale}", "photo_x2.5.png"),
        ("{index}-{model}-{stem}", "07-x4plus-photo.png"),
        ("{stem}{stem}", "photophoto.png"),
        ("large", "large.png"),
        ("大 {stem} ñ", "大 photo ñ.png"),
    ],
)
def test_wish_20_a_template_names_the_result(template: str, name: str) -> None:
    check_template(template, "x4plus")
    assert file_name(template, VALUES, ".png") == name


@pytest.mark.parametrize("tag", ["4", "2.5", "0.5", "16"])
def test_results_are_called_by_the_scale(tag: str) -> None:
    assert file_name(default_template(tag), {**VALUES, "scale": tag}, ".jpg") == f"photo_x{tag}.jpg"


@pytest.mark.parametrize("tag", ["800x600", "w1024", "h768", "fit2048"])
def test_results_are_called_by_the_size_that_was_asked_for(tag: str) -> None:
    assert file_name(default_template(tag), {**VALUES, "scale": tag}, ".jpg") == f"photo_{tag}.jpg"


@pytest.mark.parametrize(
    "template",
    [
        *(
            "{name}",
            "{stem",
            "stem}",
            "{}",
            "{{stem}}",
            "{stem!r}",
            "{stem:>9}",
            "{stem.__class__}",
            "{stem[0]}",
            "{0}",
        ),
        *(
            "{Stem}",
            "{ stem }",
            "a/b",
            "/{stem}",
            "../{stem}",
            "a\\b",
            "a\0b",
            "",
            "  ",
            "{stem}.png",
            "a.JPG",
            "{stem}.exr",
        ),
    ],
)
def test_a_template_that_is_none_is_refused_with_the_list_of_fields(template: str) -> None:
    with pytest.raises(ValueError, match=r"must be|gives|braces") as refused:
        check_template(template, "x4plus")
    assert all(f"{{{field}}}" in str(refused.value) for field in FIELDS)


def test_a_template_that_is_empty_for_this_model_is_refused() -> None:
    check_template("{model}", "x4plus")
    with pytest.raises(ValueError, match="empty"):
        check_template("{model}", "")


def test_braces_in_a_files_own_name_mean_nothing() -> None:
    values = {**VALUES, "stem": "{model}{index}{x}"}
    assert file_name("{stem}_x{scale}", values, ".png") == "{model}{index}{x}_x2.5.png"


def test_a_models_name_makes_no_folders() -> None:
    assert file_name("{stem}-{model}", {**VALUES, "model": "../a\\b"}, ".png") == "photo-.._a_b.png"


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=300))
def test_row_20_any_name_fits_and_keeps_its_tag_and_suffix(stem: str) -> None:
    values = {**VALUES, "stem": stem}
    name = file_name("{stem}_x{scale}", values, ".webp")
    assert len(name.encode()) <= 255
    assert name.endswith("_x2.5.webp")
    assert name == file_name("{stem}_x{scale}", values, ".webp")
    if len(stem.encode()) + len("_x2.5.webp") <= 255:
        assert name == f"{stem}_x2.5.webp", "what fits is not touched"
    other = file_name("{stem}_x{scale}", values, ".webp", "_jpg")
    assert len(other.encode()) <= 255
    assert other.endswith("_jpg_x2.5.webp")


def test_long_names_that_begin_alike_stay_two() -> None:
    names = {file_name("{stem}_x4", {**VALUES, "stem": "长" * 90 + end}, ".png") for end in "ab"}
    assert len(names) == 2
    assert all(name.startswith("长" * 70) for name in names), "as much as fits is kept"


@pytest.mark.parametrize("template", ["n" * 300, "n" * 240 + "{stem}", "{stem}" * 60, "{model}"])
def test_a_template_too_long_is_cut(template: str) -> None:
    for extra in ("", "_jpg_2"):
        name = file_name(template, {**VALUES, "model": "m" * 400}, ".png", extra)
        assert len(name.encode()) <= 255
        assert name.endswith(f"{extra}.png")


def test_names_that_a_disk_may_hold_for_one_are_folded_alike() -> None:
    assert folded("Größe.PNG") == folded("GRÖSSE.png")
    for name in ("é", "ñ", "가", "Å"):
        assert folded(unicodedata.normalize("NFC", name)) == folded(unicodedata.normalize("NFD", name))
    assert folded("a.png") != folded("b.png")


def places(*names: str, suffix: str | None = None, template: str = "{stem}") -> list[Wish]:
    """Wishes of these inputs for results in one folder."""

    def place(source: Path, extra: str) -> Path:
        return Path("o", file_name(template, {**VALUES, "stem": source.stem}, suffix or source.suffix, extra))

    return [Wish(Path(name), Path("o"), partial(place, Path(name))) for name in names]


def named(wishes: list[Wish], forbidden: Callable[[Path], bool] = lambda _: False) -> list[str]:
    def keys(_: Wish, path: Path) -> Sequence[str]:
        return (folded(path.as_posix()),)

    return [path.name for path in distinct(wishes, keys, forbidden)]


def test_wish_20_of_several_inputs_for_one_name_each_gets_its_own() -> None:
    assert named(places("a.jpg", "a.png", "a.webp", suffix=".png")) == ["a_jpg.png", "a.png", "a_webp.png"]
    assert named(places("a.jpg", "a.webp", suffix=".png")) == ["a.png", "a_webp.png"]
    assert named(places("x/a.png", "y/a.png", "z/a.png")) == ["a.png", "a_png.png", "a_png_2.png"]
    assert named(places("a.png", "A.PNG", "é.png", "e\u0301.png")) == ["a.png", "A_png.PNG", "é.png", "e\u0301_png.png"]
    assert named(places("a.png", "b.jpg", "c.png", template="one")) == ["one.png", "one.jpg", "one_png.png"]


def test_a_name_that_another_input_has_of_its_own_is_not_taken_from_it() -> None:
    assert named(places("a.jpg", "a.png", "a_jpg.png", suffix=".png")) == ["a_jpg_2.png", "a.png", "a_jpg.png"]


def test_another_name_is_never_that_of_an_input() -> None:
    wishes = places("a.jpg", "a.png", suffix=".png")
    assert named(wishes, lambda path: path.name == "a_jpg.png") == ["a_jpg_2.png", "a.png"]


def test_a_thousand_inputs_for_one_name() -> None:
    names = named(places(*(f"{index}/a.png" for index in range(1000))))
    assert len(set(names)) == 1000
    assert names[999] == "a_png_999.png"


STEMS = st.sampled_from(
    ["a", "A", "b", "é", "e\u0301", "a_png", "a_jpg", "A_PNG", "a_png_2", "长" * 100, "长" * 100 + "x", "{stem}"]
)
INPUTS = st.lists(
    st.builds("{}/{}{}".format, st.sampled_from("xyz"), STEMS, st.sampled_from(sorted(BY_SUFFIX))), unique=True
)


@given(INPUTS, st.sampled_from([None, ".png", ".jpg"]), st.sampled_from(["{stem}", "{stem}_x{scale}", "one"]))
def test_no_two_inputs_ever_share_a_name(inputs: list[str], suffix: str | None, template: str) -> None:
    names = named(places(*inputs, suffix=suffix, template=template))
    assert len({folded(name) for name in names}) == len(inputs)
    assert names == named(places(*inputs, suffix=suffix, template=template)), "the same in each run"
    wanted = [wish.place("").name for wish in places(*inputs, suffix=suffix, template=template)]
    assert {folded(name) for name in wanted} <= {folded(name) for name in names}, "someone gets each plain name"
