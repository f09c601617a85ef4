"""The table of formats: what the README says of each is what the code knows of it."""

from pathlib import Path

import pytest

from upscale.errors import OutputError
from upscale.media.formats import AVIF, BY_SUFFIX, FORMATS, HEIC, JPEG_XL, PNG, REFUSED, WEBP, Format, format_of

README = Path(__file__).resolve().parents[1] / "README.md"


def row(format_: Format) -> str:
    """A format's line in the README."""

    def yes(kept: bool) -> str:
        return "✓" if kept else "–"

    extra = f" (`pip install 'upscale[{format_.extra}]'`)" if format_.extra else ""
    density = "in EXIF" if format_.exif and not format_.dpi else yes(format_.dpi)
    kept = [yes(format_.alpha), yes(format_.icc), yes(format_.exif), yes(format_.xmp), density]
    cells = [f"{format_.name}{extra}", "8, 16" if format_.deep else "8", *kept, yes(format_.animated)]
    return "| " + " | ".join([*cells, yes(format_.streamed)]) + " |"


@pytest.mark.parametrize("format_", FORMATS, ids=lambda format_: format_.name)
def test_the_readme_tells_what_each_format_keeps(format_: Format) -> None:
    assert row(format_) in README.read_text(encoding="utf-8").splitlines()


def test_suffixes_are_found_whatever_their_case() -> None:
    assert format_of(Path("a/B.PnG")) is PNG
    assert len(BY_SUFFIX) == sum(len(format_.suffixes) for format_ in FORMATS), "no suffix twice"
    assert not BY_SUFFIX.keys() & REFUSED.keys()


@pytest.mark.parametrize("name", ["a", "a.docx", "a.cr2"])
def test_other_suffixes_are_refused_with_a_remedy(name: str) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*use \.png"):
        format_of(Path(name))


def test_formats_without_a_gray_channel_are_those_whose_gray_is_tested() -> None:
    """tests/test_encode.py decodes them again and finds three equal channels."""
    assert [format_ for format_ in FORMATS if not format_.gray] == [WEBP, AVIF, HEIC]
    assert JPEG_XL.gray
