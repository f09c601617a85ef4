"""Which codec a result gets, and which pixel format loses least."""

import pytest
from av import VideoFormat

from upscale.errors import OutputError
from upscale.frame import Layout
from upscale.media.video.codecs import CODECS, check_format, default_codec, format_for, names_of, threads
from upscale.media.video.containers import CONTAINERS, MKV, MOV, MP4, WEBM, Container, container_of, result_suffix
from upscale.media.video.planes import layout_of

YUV420, YUV444 = Layout(), Layout("yuv", 8, 0, 0)
TEN = Layout("yuv", 10)
RGB, RGB10 = Layout("rgb", 8, 0, 0), Layout("rgb", 10, 0, 0)
GRAY, GRAY10 = Layout("gray", 8, 0, 0), Layout("gray", 10, 0, 0)
ALPHA = Layout("yuv", 8, 1, 1, alpha=True)
RGBA = Layout("rgb", 8, 0, 0, alpha=True)


@pytest.mark.parametrize(
    ("codec", "source", "wanted"),
    [
        ("h264", YUV420, "yuv420p"),
        ("h264", Layout("yuv", 8, 1, 0), "yuv422p"),
        ("h264", YUV444, "yuv444p"),
        ("h264", TEN, "yuv420p10le"),
        ("h264", Layout("yuv", 9), "yuv420p10le"),
        ("h264", Layout("yuv", 12, 0, 0), "yuv444p10le"),
        ("h264", Layout("yuv", 8, 2, 0), "yuv422p"),  # 4:1:1: finer, never coarser
        ("h264", Layout("yuv", 8, 0, 1), "yuv444p"),
        ("h264", GRAY, "yuv420p"),
        ("h264", GRAY10, "yuv420p10le"),
        ("h264", RGB, "yuv444p"),
        ("h264", ALPHA, "yuv420p"),
        ("hevc", TEN, "yuv420p10le"),
        ("hevc", Layout("yuv", 12, 1, 0), "yuv422p12le"),
        ("hevc", Layout("yuv", 14, 0, 0), "yuv444p12le"),
        ("hevc", RGB10, "gbrp10le"),
        ("av1", YUV420, "yuv420p"),
        ("av1", YUV444, "yuv420p"),
        ("av1", Layout("yuv", 12), "yuv420p10le"),
        ("vp9", Layout("yuv", 8, 1, 0), "yuv422p"),
        ("prores", YUV420, "yuv422p10le"),
        ("prores", YUV444, "yuv444p10le"),
        ("prores", RGBA, "yuva444p10le"),
        ("prores", ALPHA, "yuva444p10le"),
        ("ffv1", ALPHA, "yuva420p"),
        ("ffv1", RGB, "bgr0"),
        ("ffv1", RGBA, "bgra"),
        ("ffv1", RGB10, "gbrp10le"),
        ("ffv1", Layout("rgb", 10, 0, 0, True), "gbrap10le"),
        ("ffv1", GRAY, "gray"),
        ("ffv1", GRAY10, "gray10le"),
        ("ffv1", Layout("yuv", 8, 2, 2), "yuv410p"),
        ("ffv1", Layout("yuv", 8, 2, 0), "yuv411p"),
        ("ffv1", Layout("yuv", 16, 1, 0), "yuv422p16le"),
    ],
    ids=str,
)
def test_the_format_that_loses_least(codec: str, source: Layout, wanted: str) -> None:
    assert format_for(CODECS[codec], source) == wanted  # type: ignore[index]


@pytest.mark.parametrize("codec", CODECS.values(), ids=lambda codec: codec.name)
def test_no_depth_and_no_chroma_is_lost_that_a_codec_has(codec: object) -> None:
    """Every format that it names it also chooses for a source that is just so."""
    for name in names_of(codec):  # type: ignore[arg-type]
        layout = layout_of(VideoFormat(name))
        if layout.kind == "gray":
            continue
        assert layout_of(VideoFormat(format_for(codec, layout))) == layout, name  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("container", "decoder", "layout", "wanted"),
    [
        (MP4, "h264", YUV420, "h264"),
        (MP4, "hevc", YUV420, "h264"),
        (MP4, "h264", TEN, "hevc"),
        (MP4, "ffv1", YUV420, "ffv1"),
        (MP4, "prores", TEN, "hevc"),
        (MOV, "prores", Layout("yuv", 10, 1, 0), "prores"),
        (MOV, "qtrle", RGBA, "prores"),
        (MOV, "ffv1", YUV420, "h264"),
        (MKV, "ffv1", TEN, "ffv1"),
        (MKV, "h264", ALPHA, "ffv1"),
        (MKV, "mpeg2video", YUV420, "h264"),
        (WEBM, "vp9", YUV420, "vp9"),
        (WEBM, "vp9", TEN, "av1"),
        (WEBM, "ffv1", YUV420, "vp9"),
    ],
    ids=str,
)
def test_default_codecs(container: Container, decoder: str, layout: Layout, wanted: str) -> None:
    assert default_codec(container, decoder, layout).name == wanted


@pytest.mark.parametrize("container", dict.fromkeys(CONTAINERS.values()), ids=lambda container: container.name)
def test_defaults_are_what_the_container_carries(container: Container) -> None:
    for layout in (YUV420, TEN, RGB, GRAY, ALPHA):
        assert default_codec(container, "whatever", layout).name in container.codecs


def test_formats_asked_for_are_checked() -> None:
    assert check_format(CODECS["h264"], "yuv444p10le") == "yuv444p10le"
    for codec, name in (
        ("av1", "yuv444p"),
        ("h264", "yuva420p"),
        ("ffv1", "nonsense"),
        ("h264", "yuvj420p"),
        ("vp9", ""),
    ):
        with pytest.raises(OutputError, match="use one of") as caught:
            check_format(CODECS[codec], name)  # type: ignore[index]
        assert "\n" not in str(caught.value)
        assert "yuv420p" in str(caught.value)


def test_only_formats_that_can_be_filled() -> None:
    for codec in CODECS.values():
        for name in names_of(codec):
            assert not name.startswith("yuvj")
            assert "f" not in name.split("p")[-1], "no floats"
            assert codec.alpha or not layout_of(VideoFormat(name)).alpha


def test_names_of_results() -> None:
    assert result_suffix(".mp4", None, None) == ".mp4"
    assert result_suffix(".MP4", None, "h264") == ".MP4"
    assert result_suffix(".avi", None, None) == ".mkv"
    assert result_suffix(".mp4", WEBM, None) == ".webm"
    assert result_suffix(".webm", None, "h264") == ".mkv"
    assert result_suffix(".mov", None, "prores") == ".mov"


def test_containers_by_name() -> None:
    from pathlib import Path

    assert container_of(Path("a/B.MkV")) is MKV
    assert container_of(Path("a.m4v")) is MP4
    assert container_of(Path("a.avi")) is None


def test_threads_are_few_and_at_least_one() -> None:
    assert 1 <= threads() <= 16
