"""Sound, subtitles, chapters, attachments, covers, data and tags: all of them reach the new file, at their own times."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.stream import Disposition
from av.subtitles.stream import SubtitleStream
from av.video.stream import VideoStream

from upscale.media.video.carried import Carried, plan, warnings
from upscale.media.video.stream_tags import carry_metadata
from upscale.media.video.streams import Others, options

CLICK = Fraction(1, 4)
LINES = [(200, 450, "Grüße & <3 {世界}"), (500, 800, "two\nlines")]
FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


class Clip:
    """Builds one second of 24 small frames with further streams, all written when the context ends."""

    def __init__(self, path: Path) -> None:
        self.out = av.open(str(path), "w", format=FORMATS[path.suffix], options=options(FORMATS[path.suffix]))
        codec = "libvpx" if path.suffix == ".webm" else "mpeg4"
        self.video = self.out.add_stream(codec, 24, width=64, height=48, pix_fmt="yuv420p")
        self.packets: list[Any] = []
        self.sounds: list[tuple[AudioStream, np.ndarray[Any, Any], float]] = []

    def sound(
        self, codec: str, rate: int = 48000, layout: str = "stereo", start: float = 0, **tags: str
    ) -> AudioStream:
        """A click at CLICK in every channel's own height; none sounds before `start`."""
        stream = self.out.add_stream(codec, rate, layout=layout)
        count = stream.layout.nb_channels
        samples = np.zeros((rate, count), np.float32)
        at = round(CLICK * rate)
        samples[at : at + 8] = 0.9 - 0.1 * np.arange(count)
        stream.metadata.update(tags)
        self.sounds.append((stream, samples[round(start * rate) :], start))
        return stream

    def text(self, codec: str, bodies: list[tuple[int, int, bytes]], **tags: str) -> SubtitleStream:
        """Packets made by hand: (start, end, body), in ms."""
        stream = self.out.add_stream(codec, time_base=Fraction(1, 1000))
        stream.time_base = Fraction(1, 1000)
        stream.codec_context.subtitle_header = ASS
        stream.metadata.update(tags)
        self.packets += [packet(stream, start, body, end - start) for start, end, body in bodies]
        return stream

    def write(self) -> None:
        for number in range(24):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number * 9, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            self.out.mux(self.video.encode(frame))
        for stream, samples, start in self.sounds:
            self.out.mux([*encoded(stream, samples, start), *stream.encode(None)])
        self.out.mux(self.video.encode(None))
        self.out.mux(self.packets)


ASS = b"""[Script Info]
ScriptType: v4.00+
[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, \
ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1
[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def packet(stream: Any, start: int, body: bytes, duration: int) -> Any:
    made = av.Packet(body)
    made.stream, made.time_base = stream, Fraction(1, 1000)
    made.pts = made.dts = start
    made.duration, made.is_keyframe = duration, True
    return made


def encoded(stream: AudioStream, samples: np.ndarray[Any, Any], start: float) -> list[Any]:
    """Packets of at most 1024 samples."""
    made: list[Any] = []
    for at in range(0, len(samples), 1024):
        part = np.ascontiguousarray(samples[at : at + 1024].reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(part, "flt", stream.layout.name)
        frame.sample_rate, frame.time_base = stream.rate, Fraction(1, stream.rate)
        frame.pts = round(start * stream.rate) + at
        made += stream.encode(frame)
    return made


@contextmanager
def building(path: Path) -> Iterator[Clip]:
    clip = Clip(path)
    with clip.out:
        yield clip
        clip.write()


def carry(
    source: Path,
    result: Path,
    carried: tuple[Carried, ...] | None = None,
    window: tuple[Fraction | None, Fraction | None] = (None, None),
    shift: Fraction = Fraction(0),
) -> list[str]:
    """The whole way with the main video's packets copied; the warnings."""
    with av.open(str(source)) as opened:
        main = opened.streams.video[0]
        chosen = plan(opened, main.index, FORMATS[result.suffix]) if carried is None else carried
        format_ = FORMATS[result.suffix]
        with (
            av.open(str(result), "w", format=format_, options=options(format_)) as out,
            Others(source, main.index, chosen, window, shift) as others,
        ):
            added: list[VideoStream] = []

            def add_main() -> VideoStream:
                codec = main.codec_context.name if result.suffix != ".webm" or main.name == "vp8" else "vp8"
                added.append(
                    out.add_stream_from_template(main, opaque=True) if codec == main.codec_context.name else vp8(out)
                )
                carry_metadata(main, added[0])
                return added[0]

            others.add_to(out, add_main)
            for one in opened.demux(main):
                if one.dts is not None and added[0].codec_context.name == main.codec_context.name:
                    one.stream = added[0]
                    out.mux(one)
            for time, one in others.packets():
                assert time == one.dts * one.time_base
                out.mux(one)
            assert others.damage() == []
    return warnings(chosen)


def vp8(out: Any) -> VideoStream:
    """A video stream that WebM takes, without pictures."""
    return out.add_stream("libvpx", 24, width=64, height=48)


def converting(source: Path, codec: str, kind: str = "audio") -> tuple[Carried, ...]:
    with av.open(str(source)) as opened:
        return tuple(
            Carried(stream.index, kind, "convert", codec, kind) for stream in opened.streams if stream.type == kind
        )


def times(path: Path, index: int) -> list[tuple[Fraction, int]]:
    """(pts in seconds, bytes) of each packet."""
    with av.open(str(path)) as opened:
        stream = opened.streams[index]
        return [(one.pts * one.time_base, one.size) for one in opened.demux(stream) if one.pts is not None]


def click(path: Path, channel: int = 0, track: int = 0) -> float:
    """When the click is heard, in seconds: the middle of what is loudest."""
    with av.open(str(path)) as opened:
        heard: list[tuple[float, float]] = []
        for frame in opened.decode(audio=track):
            layers = frame.to_ndarray().astype(float)
            line = layers[channel] if frame.format.is_planar else layers[0, channel :: frame.layout.nb_channels]
            line = np.abs(line) ** 2
            if line.max() > 0:
                place = int(line.argmax())
                heard.append((float(line.max()), float(frame.pts * frame.time_base) + place / frame.sample_rate))
    return max(heard)[1]


def texts(path: Path, track: int = 0) -> list[tuple[float, float, str]]:
    """(start and end in ms, text) of each subtitle that shows something."""
    with av.open(str(path)) as opened:
        found: list[tuple[float, float, str]] = []
        for one in opened.demux(opened.streams.subtitles[track]):
            if one.pts is None:
                continue
            for line in one.decode():
                marked = line.ass.split(b",", 8)[-1].decode().replace(r"\N", "\n").replace("{}", "")
                text = re.sub(r"\{\\[^}]*\}", "", marked).replace(r"\{", "{").replace(r"\}", "}").strip()
                if text:
                    start = float(one.pts * one.time_base * 1000)
                    found.append((start, start + float(one.duration * one.time_base * 1000), text))
        return found


def picture(color: int) -> bytes:
    """A small JPEG."""
    body = io.BytesIO()
    with av.open(body, "w", format="image2pipe") as out:
        stream = out.add_stream("mjpeg", 1, width=16, height=16, pix_fmt="yuvj420p")
        frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), color, np.uint8), format="rgb24")
        out.mux([*stream.encode(frame), *stream.encode(None)])
    return body.getvalue()


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    """Matroska with two sounds, two subtitles, a font, a cover, chapters and titles."""
    path = tmp_path / "rich.mkv"
    with building(path) as clip:
        clip.sound("pcm_s16le", language="deu", title="Ton").disposition = Disposition.default
        clip.sound("flac", 44100, language="fra").disposition = Disposition.comment
        bodies = [(start, end, text.encode()) for start, end, text in LINES]
        clip.text("subrip", bodies, language="eng", title="Text").disposition = Disposition.forced
        clip.text("ass", [(100, 400, rb"0,0,Default,,0,0,0,,{\i1}styled{\i0}")], language="spa")
        clip.out.add_attachment("font.ttf", "font/ttf", bytes(range(256)) * 3)
        clip.out.add_attachment("cover.jpg", "image/jpeg", picture(90))
        clip.out.metadata.update({"title": "A film", "artist": "Somebody", "encoder": "old"})
        clip.out.set_chapters([chapter(1, 0, 500, "One"), chapter(2, 500, 1000, "Zwei ü")])
    return path


def chapter(number: int, start: int, end: int, title: str) -> Any:
    base = Fraction(1, 1000)
    return {"id": number, "start": start, "end": end, "time_base": base, "metadata": {"title": title}}


def chapters(path: Path) -> list[tuple[float, float, str]]:
    with av.open(str(path)) as opened:
        return [
            (float(one["start"] * one["time_base"]), float(one["end"] * one["time_base"]), one["metadata"]["title"])
            for one in opened.chapters()
        ]


def test_matroska_to_matroska_keeps_everything(rich: Path, tmp_path: Path) -> None:
    result = tmp_path / "out.mkv"
    assert carry(rich, result) == []
    with av.open(str(rich)) as before, av.open(str(result)) as after:
        assert [(one.type, one.name) for one in after.streams] == [(one.type, one.name) for one in before.streams]
        for old, new in zip(before.streams, after.streams, strict=True):
            assert new.disposition == old.disposition
            assert [new.metadata.get(key) for key in ("language", "title")] == [
                old.metadata.get(key) for key in ("language", "title")
            ]
            if old.type not in ("attachment", "video"):
                assert times(result, new.index) == times(rich, old.index)
        assert after.streams.attachments[0].data == bytes(range(256)) * 3
        assert after.streams.attachments[0].name == "font.ttf"
        assert after.metadata["title"] == "A film"
        assert after.metadata["ARTIST"] == "Somebody"
        assert after.metadata["ENCODER"] != "old"
    assert chapters(result) == [(0, 0.5, "One"), (0.5, 1, "Zwei ü")]
    assert covers(result) == [picture(90)]


def covers(path: Path) -> list[bytes]:
    with av.open(str(path)) as opened:
        wanted = [one for one in opened.streams.video if Disposition.attached_pic in one.disposition]
        return [bytes(one) for one in opened.demux(wanted) if one.size] if wanted else []


def test_matroska_to_mp4_and_back(rich: Path, tmp_path: Path) -> None:
    middle, result = tmp_path / "out.mp4", tmp_path / "back.mkv"
    said = carry(rich, middle)
    assert said == [
        "subtitle track 1 (eng, Text, subrip): converted to MP4 text, since MP4 cannot hold subrip",
        "subtitle track 2 (spa, ass): converted to MP4 text, since MP4 cannot hold ass (its styles are lost)",
        "attachment font.ttf: left out, since MP4 holds no attachments",
    ]
    with av.open(str(middle)) as opened:
        assert [one.metadata.get("language") for one in opened.streams.audio] == ["deu", "fra"]
        assert [one.name for one in opened.streams.audio] == ["pcm_s16le", "flac"]
        assert [one.metadata.get("language") for one in opened.streams.subtitles] == ["eng", "spa"]
        assert opened.metadata["title"] == "A film"
        assert opened.streams.audio[0].metadata["handler_name"] == "Ton"
    assert texts(middle) == LINES
    assert texts(middle, 1)[0][:2] == (100, 400)
    assert covers(middle) == [picture(90)]
    assert chapters(middle) == [(0, 0.5, "One"), (0.5, 1, "Zwei ü")]
    assert click(middle) == pytest.approx(0.25, abs=1e-4)
    with av.open(str(middle)) as opened:
        assert [one.kind for one in plan(opened, 0, "mp4")].count("data") == 0, "the chapter track counts as a stream"
    assert len(carry(middle, result)) == 2
    assert texts(result) == LINES
    assert covers(result) == [picture(90)]
    assert chapters(result) == chapters(middle)
    with av.open(str(result)) as opened:
        assert [one.name for one in opened.streams.subtitles] == ["srt", "srt"]


def test_webm_takes_its_own_codecs(rich: Path, tmp_path: Path) -> None:
    result = tmp_path / "out.webm"
    said = carry(rich, result)
    assert [line.split(": ")[1].split(",")[0] for line in said] == [
        "converted to Opus",
        "converted to Opus",
        "converted to WebVTT",
        "converted to WebVTT",
        "left out",
        "left out",
    ]
    assert texts(result) == LINES
    with av.open(str(result)) as opened:
        assert [one.rate for one in opened.streams.audio] == [48000, 48000]
    for track in (0, 1):
        assert click(result, track=track) == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize("codec", ["pcm_s16le", "flac", "libopus"])
@pytest.mark.parametrize("start", [0, 0.13])
def test_a_click_stays_where_it_is(tmp_path: Path, codec: str, start: float) -> None:
    source, middle, result = tmp_path / "in.mkv", tmp_path / "out.mp4", tmp_path / "out.webm"
    with building(source) as clip:
        clip.sound(codec, start=start)
    carry(source, middle, converting(source, "aac"))
    carry(middle, result, converting(middle, "libopus"))
    before = click(source)
    assert before == pytest.approx(0.25, abs=1e-3)
    assert click(middle) == pytest.approx(
        before if codec == "libopus" else 0.25, abs=1e-3 if codec == "libopus" else 1e-4
    )
    assert click(result) == pytest.approx(before, abs=1e-3)


def test_alac_is_exact_to_the_sample(tmp_path: Path) -> None:
    source, result = tmp_path / "in.mkv", tmp_path / "out.mp4"
    with building(source) as clip:
        clip.sound("pcm_u8", 22050)
    assert carry(source, result) == ["audio track 1 (pcm_u8): converted to ALAC, since MP4 cannot hold pcm_u8"]
    assert heard(source) == heard(result)


def heard(path: Path) -> bytes:
    """All samples as 16 bits."""
    turn = av.AudioResampler("s16", "stereo")
    with av.open(str(path)) as opened:
        frames = [one for frame in opened.decode(audio=0) for one in turn.resample(frame)]
        return b"".join(one.to_ndarray().tobytes() for one in frames)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_six_channels_stay_in_their_places(tmp_path: Path, suffix: str) -> None:
    source, result = tmp_path / "in.mkv", tmp_path / f"out{suffix}"
    with building(source) as clip:
        clip.sound("flac", 48000, "5.1(side)")
    carry(source, result, converting(source, "aac" if suffix == ".mp4" else "libopus"))
    with av.open(str(result)) as opened:
        assert opened.streams.audio[0].layout.nb_channels == 6
    for channel in (0, 1, 2, 4, 5):
        assert click(result, channel) == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_priming_before_zero_keeps_its_place(tmp_path: Path, suffix: str) -> None:
    source, result = tmp_path / "in.mp4", tmp_path / f"out{suffix}"
    with building(source) as clip:
        clip.sound("aac", 44100)
    assert carry(source, result) == []
    assert times(source, 1)[0][0] < 0
    tick = 0 if suffix != ".mkv" else 0.0005
    for old, new in zip(times(source, 1), times(result, 1), strict=True):
        assert float(new[0]) == pytest.approx(float(old[0]), abs=tick + 1e-9)
        assert new[1] == old[1]
    assert float(times(result, 0)[0][0]) == 0
    assert click(result) == pytest.approx(click(source), abs=1e-3)


def test_sound_from_matroska_is_even_in_mp4(tmp_path: Path) -> None:
    source, result = tmp_path / "in.mkv", tmp_path / "out.mp4"
    with building(source) as clip:
        clip.sound("aac", 44100)
    carry(source, result)
    stamps = [time for time, _ in times(result, 1)]
    assert {after - before for before, after in pairwise(stamps)} == {Fraction(1024, 44100)}
    assert click(result) == pytest.approx(click(source), abs=1e-3)


def test_a_gap_becomes_silence(tmp_path: Path) -> None:
    source, result = tmp_path / "in.mkv", tmp_path / "out.mp4"
    with building(source) as clip:
        stream = clip.sound("flac")
        clip.sounds.clear()
        sound = np.zeros((24000, 2), np.float32)
        sound[12000:12008] = 0.9
        clip.packets = [*encoded(stream, sound[:9216], 0), *encoded(stream, sound[:18432], 0.5), *stream.encode(None)]
    carry(source, result, converting(source, "aac"))
    assert click(result) == pytest.approx(0.75, abs=1e-3)


def test_webvtt_and_back(rich: Path, tmp_path: Path) -> None:
    middle, result, last = tmp_path / "out.mkv", tmp_path / "out.mp4", tmp_path / "last.mkv"
    carry(rich, middle, converting(rich, "webvtt", "subtitle"))
    with av.open(str(middle)) as opened:
        bodies = [bytes(one) for one in opened.demux(opened.streams.subtitles[0]) if one.size]
    assert bodies == ["Grüße &amp; &lt;3 {世界}".encode(), b"two\nlines"]
    carry(middle, result, converting(middle, "mov_text", "subtitle"))
    assert texts(result) == LINES
    carry(result, last, converting(result, "subrip", "subtitle"))
    assert texts(last) == LINES


def test_lines_that_overlap_are_shown_together(tmp_path: Path) -> None:
    source, result = tmp_path / "in.mkv", tmp_path / "out.mp4"
    with building(source) as clip:
        clip.text("subrip", [(100, 500, b"first"), (300, 700, b"second")])
    carry(source, result)
    assert texts(result) == [(100, 300, "first"), (300, 500, "first\nsecond"), (500, 700, "second")]


def test_drawings_are_no_text(tmp_path: Path) -> None:
    source, result = tmp_path / "in.mkv", tmp_path / "out.mp4"
    with building(source) as clip:
        lines = [rb"0,0,Default,,0,0,0,,{\pos(1,1)\p1}m 0 0 l 9 9", rb"1,0,Default,,0,0,0,,a, b, c"]
        clip.text("ass", [(100, 200, lines[0]), (300, 400, lines[1])])
    carry(source, result)
    assert texts(result) == [(300, 400, "a, b, c")]


def test_bitmaps_are_copied_or_said(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with building(source) as clip:
        stream = clip.out.add_mux_stream("hdmv_pgs_subtitle")
        clip.packets = [packet(stream, 100, bytes((0x80, 0, 0)), 50), packet(stream, 300, bytes((0x80, 0, 0)), 50)]
    assert carry(source, tmp_path / "out.mkv") == []
    assert times(tmp_path / "out.mkv", 1) == times(source, 1)
    (said,) = carry(source, tmp_path / "out.mp4")
    assert said == (
        "subtitle track 1 (hdmv_pgs_subtitle): left out, "
        "since MP4 cannot hold hdmv_pgs_subtitle, and it consists of pictures"
    )


def test_a_window_cuts_and_moves(rich: Path, tmp_path: Path) -> None:
    window = (Fraction(24, 100), Fraction(7, 10))
    copied, converted = tmp_path / "out.mkv", tmp_path / "out.mp4"
    carry(rich, copied, None, window, window[0])
    kept = [time for time, _ in times(copied, 1)]
    assert min(kept) >= 0
    assert max(kept) < window[1] - window[0]
    assert texts(copied) == [(260, 560, "two\nlines")]
    assert chapters(copied) == [(0, 0.26, "One"), (0.26, 0.46, "Zwei ü")]
    carry(rich, converted, converting(rich, "aac"), window, window[0])
    assert click(converted) == pytest.approx(0.01, abs=1e-3)
    assert sum(size > 0 for _, size in times(converted, 1)) < 30
    carry(rich, converted, converting(rich, "mov_text", "subtitle"), window, window[0])
    assert texts(converted) == [(260, 460, "two\nlines")]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_late_window_is_sought(tmp_path: Path, suffix: str) -> None:
    source, result = tmp_path / f"in{suffix}", tmp_path / "out.mp4"
    with building(source) as clip:
        stream = clip.sound("flac", 8000, "mono")
        sound = np.zeros((8000 * 30, 1), np.float32)
        sound[20 * 8000 + 4000 : 20 * 8000 + 4004] = 0.9
        clip.sounds = [(stream, sound, 0)]
    window = (Fraction(20), Fraction(21))
    carry(source, result, None, window, window[0])
    assert click(result) == pytest.approx(0.5, abs=1e-3)
    kept = [time for time, _ in times(source, 1) if window[0] <= time < window[1]]
    assert [float(time) for time, _ in times(result, 1)] == pytest.approx([float(time - 20) for time in kept], abs=1e-3)
    carry(source, result, converting(source, "aac"), window, window[0])
    assert click(result) == pytest.approx(0.5, abs=1e-3)
    beyond = (Fraction(40), None)
    carry(source, result, converting(source, "aac"), beyond, beyond[0])
    assert times(result, 0)


def test_damaged_sound_is_said_and_leaves_a_gap(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with building(source) as clip:
        stream = clip.sound("flac")
        clip.sounds.clear()
        sound = np.zeros((48000, 2), np.float32)
        sound[36000:36008] = 0.9
        made = [*encoded(stream, sound, 0), *stream.encode(None)]
        clip.packets = [
            *made[:2],
            *(packet(stream, round(one.pts / 48), bytes(200), 96) for one in made[2:3]),
            *made[3:],
        ]
    carried = converting(source, "aac")
    with av.open(str(tmp_path / "out.mp4"), "w", options=options("mp4")) as out, Others(source, 0, carried) as others:
        others.add_to(out, lambda: out.add_stream("mpeg4", 24, width=64, height=48))
        for _, one in others.packets():
            out.mux(one)
        assert others.damage() == ["audio: 1 damaged packet could not be converted and is missing"]
    assert click(tmp_path / "out.mp4") == pytest.approx(0.75, abs=1e-3)


def test_hidden_sound_stays_hidden(tmp_path: Path) -> None:
    source, cut, result = tmp_path / "in.mp4", tmp_path / "cut.mp4", tmp_path / "out.mkv"
    with building(source) as clip:
        clip.sound("aac")
    carry(source, cut, shift=Fraction(1, 5))
    assert float(times(cut, 1)[0][0]) < -0.2
    carry(cut, result)
    assert -0.15 < float(times(result, 1)[0][0]) < -0.1
    assert click(result) == pytest.approx(0.05, abs=1e-3)


def test_converted_tracks_keep_their_roles(rich: Path, tmp_path: Path) -> None:
    result = tmp_path / "out.mkv"
    carry(rich, result, (*converting(rich, "aac"), *converting(rich, "webvtt", "subtitle")))
    with av.open(str(rich)) as before, av.open(str(result)) as after:
        assert [one.disposition for one in after.streams] == [one.disposition for one in before.streams][:5]
        assert [one.metadata.get("title") for one in after.streams] == [None, "Ton", None, "Text", None]


def test_a_second_video_is_copied(tmp_path: Path) -> None:
    source, result = tmp_path / "in.mp4", tmp_path / "out.mkv"
    with building(source) as clip:
        second = clip.out.add_stream("mpeg4", 24, width=32, height=32, pix_fmt="yuv420p")
        frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 7, np.uint8), format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 24)
        clip.packets = [*second.encode(frame), *second.encode(None)]
    assert carry(source, result) == []
    with av.open(str(result)) as opened:
        assert [one.width for one in opened.streams.video] == [64, 32]


def test_the_source_keeps_its_order(tmp_path: Path) -> None:
    source, result = tmp_path / "in.mkv", tmp_path / "out.mkv"
    with building(source) as clip:
        clip.sound("flac")
    turned = tmp_path / "turned.mkv"
    with av.open(str(source)) as opened, av.open(str(turned), "w", format="matroska") as out:
        streams = {one.index: out.add_stream_from_template(one, opaque=True) for one in reversed(list(opened.streams))}
        for one in opened.demux():
            if one.dts is not None:
                one.stream = streams[one.stream.index]
                out.mux(one)
    carry(turned, result)
    with av.open(str(result)) as opened:
        assert [one.type for one in opened.streams] == ["audio", "video"]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_timecode_survives(tmp_path: Path, suffix: str) -> None:
    source, result = tmp_path / "in.mov", tmp_path / f"out{suffix}"
    with building(source) as clip:
        clip.video.metadata["timecode"] = "01:02:03:04"
    said = carry(source, result)
    with av.open(str(result)) as opened:
        tags = {key.lower(): value for key, value in opened.streams.video[0].metadata.items()}
        assert tags["timecode"] == "01:02:03:04"
        assert len(opened.streams.data) == (suffix != ".mkv")
    assert said == (
        ["data track 1 (tmcd): converted to a tag of the video, since Matroska has no timecode tracks"]
        if suffix == ".mkv"
        else []
    )


def test_a_timecode_reaches_a_video_without_tags(tmp_path: Path) -> None:
    source, result = tmp_path / "in.mov", tmp_path / "out.mov"
    with building(source) as clip:
        clip.video.metadata["timecode"] = "01:02:03:04"
    with av.open(str(source)) as opened:
        carried = plan(opened, 0, "mov")
    with av.open(str(result), "w", options=options("mov")) as out, Others(source, 0, carried) as others:
        video = out.add_stream("mpeg4", 24, width=64, height=48)
        others.add_to(out, lambda: video)
        assert video.metadata["timecode"] == "01:02:03:04"


def test_telemetry_of_a_real_camera(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "clips" / "gopro_karma_coast_854x480.mp4"
    if not source.is_file():
        pytest.skip(f"{source} is not there")
    (said,) = carry(source, tmp_path / "out.mp4")
    assert said.startswith("data track 3 (GoPro SOS, unknown): left out, since")
    assert times(tmp_path / "out.mp4", 2) == times(source, 3)
    assert times(tmp_path / "out.mp4", 1) == times(source, 1)
    assert "GoPro MET" in "".join(carry(source, tmp_path / "out.mkv"))
