"""Encoders: their settings, what they refuse, and what of the source's tags a player finds in the result."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from upscale.errors import OutputError
from upscale.media.video.codecs import CODECS
from upscale.media.video.colors import Light, Tags
from upscale.media.video.containers import MKV
from upscale.media.video.encoder import Encoder, Encoding, options_of
from upscale.media.video.join import Film, write
from upscale.media.video.packets import Coded, SegmentWriter
from upscale.media.video.source import VideoFile

BASE = Fraction(1, 1000)
PQ = Tags(9, 9, 16, 1, "topleft")
LIGHT = Light(((0.708, 0.292), (0.17, 0.797), (0.131, 0.046)), (0.3127, 0.329), (0.005, 1000.0), (1000, 400))
QUICK = {"h264": "ultrafast", "hevc": "ultrafast", "av1": "12", "vp9": "8", "prores": None, "ffv1": None}
FORMATS = {
    "h264": "yuv420p",
    "hevc": "yuv420p10le",
    "av1": "yuv420p10le",
    "vp9": "yuv420p",
    "prores": "yuv422p10le",
    "ffv1": "yuv420p10le",
}


def encoding(codec: str, **changes: Any) -> Encoding:
    kind = CODECS[codec]  # type: ignore[index]
    tags = Tags(1, 1, 1, 1, "left")
    start = Encoding(
        kind,
        kind.encoder,
        96,
        64,
        FORMATS[codec],
        tags,
        Light(),
        Fraction(1),
        BASE,
        Fraction(25),
        1,
        preset=QUICK[codec],
    )
    return replace(start, **changes)


def coded(settings: Encoding, frames: int = 5) -> list[Coded]:
    """So many frames of noise, 40 ms each."""
    encoder, rng, found = Encoder(settings), np.random.default_rng(0), list[Coded]()
    layout = settings.layout
    for number in range(frames):
        planes = tuple(
            rng.integers(0, 1 << layout.depth, shape).astype(layout.dtype)
            for shape in layout.shapes(settings.width, settings.height)
        )
        found += encoder.encode(planes, 40 * number - 80, 40 + number)
    return [*found, *encoder.finish()]


def film(path: Path, settings: Encoding) -> Path:
    with SegmentWriter(path.with_suffix(".packets")) as writer:
        for one in coded(settings):
            writer.add(one)
        writer.done()
    write(path, Film(MKV, settings, [path.with_suffix(".packets")], Encoder(settings).extradata), None, lambda _: None)
    return path


by_codec = pytest.mark.parametrize("codec", CODECS)


# ---------------------------------------------------------------- what comes out


@by_codec
def test_every_frame_once_with_its_own_time(codec: str) -> None:
    found = coded(encoding(codec), 9)
    assert sorted(one.pts for one in found) == [40 * number - 80 for number in range(9)]
    assert {one.pts: one.duration for one in found} == {40 * number - 80: 40 + number for number in range(9)}
    assert found[0].key
    assert all(one.data for one in found)


@by_codec
def test_equal_settings_give_equal_headers_and_bits(codec: str) -> None:
    """Segments of two runs have to fit together. In AV1 and VP9 as well: one thread here."""
    one, two = Encoder(encoding(codec)).extradata, Encoder(encoding(codec)).extradata
    assert one == two
    assert coded(encoding(codec)) == coded(encoding(codec))


@by_codec
def test_tags_reach_the_result(codec: str, tmp_path: Path) -> None:
    """In the stream or the container: what a player finds."""
    tags = Tags(9, 9, 18, 1, "left") if FORMATS[codec].endswith("10le") else Tags(6, 5, 6, 1, "left")
    path = film(tmp_path / "film.mkv", encoding(codec, tags=tags))
    with VideoFile(path) as file:
        assert file.info.tags == tags
        assert (file.info.width, file.info.height) == (96, 64)
        assert len(list(file.frames())) == 5


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_the_shape_of_pixels_reaches_the_result(codec: str, tmp_path: Path) -> None:
    with VideoFile(film(tmp_path / "film.mkv", encoding(codec, aspect=Fraction(16, 15)))) as file:
        assert file.info.aspect == Fraction(16, 15)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "ffv1"])
@pytest.mark.parametrize("place", ["left", "center", "topleft"])
def test_the_place_of_chroma_reaches_the_result(codec: str, place: str, tmp_path: Path) -> None:
    if (codec, place) == ("av1", "center"):
        pytest.skip("AV1 has no such place")
    tags = Tags(9, 9, 16, 1, place)  # type: ignore[arg-type]
    with VideoFile(film(tmp_path / "film.mkv", encoding(codec, tags=tags))) as file:
        assert file.info.tags.location == place


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9", "ffv1"])
def test_full_range_reaches_the_result(codec: str, tmp_path: Path) -> None:
    with VideoFile(film(tmp_path / "film.mkv", encoding(codec, tags=Tags(1, 1, 1, 2, "left")))) as file:
        assert file.info.tags.range == 2


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
@pytest.mark.parametrize(
    "light",
    [LIGHT, replace(LIGHT, content=None), Light(content=(987, 123))],
    ids=["both", "mastering display", "light level"],
)
def test_hdr_reaches_the_result(codec: str, light: Light, tmp_path: Path) -> None:
    """As exact as the codecs write it: chromaticities 0.00002 (AV1: 2^-16), luminances 0.0001 (AV1: 2^-8 and 2^-14)."""
    with VideoFile(film(tmp_path / "film.mkv", encoding(codec, tags=PQ, light=light))) as file:
        found = file.info.light
    assert (found.content or (0, 0)) == (light.content or (0, 0))  # x265 writes 0, which means unknown
    if light.primaries is None:
        assert found.primaries is None
        return
    assert found.primaries is not None
    assert found.white is not None
    assert found.luminance is not None
    np.testing.assert_allclose(found.primaries, light.primaries, atol=2e-5)
    np.testing.assert_allclose(found.white, light.white, atol=2e-5)
    np.testing.assert_allclose(found.luminance, light.luminance, atol=1e-4, rtol=1e-5)


def test_lossless_is_lossless(tmp_path: Path) -> None:
    settings = encoding("ffv1")
    rng, planes = np.random.default_rng(0), list[Any]()
    path = film(tmp_path / "film.mkv", settings)
    with VideoFile(path) as file:
        for frame in file.frames():
            planes = [rng.integers(0, 1024, shape).astype(np.uint16) for shape in settings.layout.shapes(96, 64)]
            for ours, wanted in zip(frame.planes, planes, strict=True):
                np.testing.assert_array_equal(ours, wanted)
    assert planes


# ---------------------------------------------------------------- settings


def test_quality_and_speed_reach_the_encoder() -> None:
    found = options_of(encoding("h264", crf=21.5, preset="slow"))
    assert (found["crf"], found["preset"]) == ("21.5", "slow")
    assert options_of(encoding("h264", preset=None))["preset"] == "medium"
    assert options_of(encoding("h264"))["crf"] == "17"
    assert options_of(encoding("vp9", preset="5"))["cpu-used"] == "5"
    assert "crf" not in options_of(encoding("prores"))
    assert options_of(encoding("hevc", encoder="hevc_nvenc", crf=20))["cq"] == "20"
    assert options_of(encoding("hevc", encoder="hevc_nvenc", preset=None))["preset"] == "p5"


def test_quality_changes_what_comes_out() -> None:
    sizes = [sum(len(one.data) for one in coded(encoding("h264", crf=crf))) for crf in (10, 30, 45)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_options_of_the_user_come_last() -> None:
    found = options_of(encoding("hevc", options={"x265-params": "aq-mode=3:pools=1", "crf": "30"}))
    assert found["crf"] == "30"
    assert found["x265-params"].endswith(":aq-mode=3:pools=1")
    assert found["x265-params"].startswith("log-level=none")
    hdr = options_of(encoding("h264", tags=PQ, light=LIGHT, options={"x264-params": "aq-mode=2"}))
    assert "mastering-display=" in hdr["x264-params"]
    assert hdr["x264-params"].endswith(":aq-mode=2")


def test_the_words_of_hdr() -> None:
    """In the units of x264 and x265: 0.00002 and 0.0001 cd/m²; green, blue, red, white; the brighter luminance first."""
    text = "G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,50)"
    assert (
        options_of(encoding("h264", light=LIGHT))["x264-params"]
        == f"cpu-independent=1:mastering-display={text}:cll=1000,400"
    )
    found = options_of(encoding("hevc", light=LIGHT))["x265-params"]
    assert f":master-display={text}:max-cll=1000,400" in found
    assert "hdr10=1" in found
    assert "hdr10" not in options_of(encoding("hevc"))["x265-params"]


def test_all_that_decides_is_described() -> None:
    """Two settings that give other bits are not told to be the same."""
    start = encoding("h264")
    others = [
        replace(start, width=98),
        replace(start, pixel_format="yuv444p"),
        replace(start, tags=PQ),
        replace(start, aspect=Fraction(2)),
        replace(start, time_base=Fraction(1, 90000)),
        replace(start, threads=2),
        replace(start, crf=3.0),
        replace(start, preset="slow"),
        replace(start, options={"tune": "film"}),
        replace(start, encoder="h264_nvenc"),
    ]
    described = [repr(one.described()) for one in (start, *others)]
    assert len(set(described)) == len(described), [one for one in described if described.count(one) > 1]


# ---------------------------------------------------------------- refusals


def refusal(settings: Encoding) -> str:
    with pytest.raises(OutputError) as caught:
        Encoder(settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@by_codec
def test_unknown_options_are_refused(codec: str) -> None:
    text = refusal(encoding(codec, options={"no-such-option": "1"}))
    assert "no-such-option" in text
    assert "ffmpeg -h encoder=" in text


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_unknown_presets_are_refused(codec: str) -> None:
    assert "preset warp" in refusal(encoding(codec, preset="warp"))


@pytest.mark.parametrize("codec", ["av1", "vp9"])
def test_presets_that_are_no_numbers_are_refused(codec: str) -> None:
    assert "fast" in refusal(encoding(codec, preset="fast"))


_IGNORED = pytest.mark.xfail(strict=True, reason="FFmpeg only warns of what is unknown inside of -params")


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("h264", {"tune": "nonsense"}),
        pytest.param("h264", {"x264-params": "no-such-thing=1"}, marks=_IGNORED),
        pytest.param("hevc", {"x265-params": "no-such-thing=1"}, marks=_IGNORED),
        pytest.param("av1", {"svtav1-params": "no-such-thing=1"}, marks=_IGNORED),
        ("h264", {"crf": "many"}),
    ],
    ids=str,
)
def test_nonsense_is_refused(codec: str, options: dict[str, str]) -> None:
    refusal(encoding(codec, options=options))


def test_sizes_that_no_encoder_takes_are_refused() -> None:
    assert "100000×64" in refusal(encoding("h264", width=100000))
    assert "95×64" in refusal(encoding("h264", width=95))


def test_a_failing_encoder_is_an_output_error(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(encoding("ffv1"))

    class Broken:
        def encode(self, frame: object) -> list[object]:
            raise av.error.ExternalError(1, "it broke")

    monkeypatch.setattr(encoder, "_context", Broken())
    with pytest.raises(OutputError, match=r"ffv1 failed.*another --codec"):
        list(encoder.finish())
