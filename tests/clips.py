"""Small video files that say what is in them, and the reader of what came out; for every test of video.

Each frame carries its number as a row of 16 black and white cells over its upper half (11 bits and 5 that check them, distance 4),
over a photo-like lower half with a black square that moves; each sound track is a tone with clicks at the times of chosen
frames. So order, count, times and sync of a result are read from its pixels and samples. All is seeded and made with PyAV alone.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt
from av.filter import Graph
from av.stream import Disposition
from av.subtitles.subtitle import SubtitleSet

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

NO_TIMES = {".avi", ".h264"}
"""Files that keep no times: `make` returns those that the rate means; FFmpeg gives none, or makes them up, even out of order."""


# What a clip is


@dataclass(frozen=True)
class Sound:
    """One sound track: a tone of amplitude 0.1 from `start` (seconds) to the end of the pictures, and clicks."""

    language: str = "eng"
    codec: str = "aac"
    rate: int = 48000
    hz: float = 440.0
    clicks: tuple[int, ...] = ()
    """Frames, counted from 0, at whose pts a click starts."""
    start: Fraction = Fraction(0)
    title: str = ""


@dataclass(frozen=True)
class Sub:
    """One track of text subtitles; lines are (start in seconds, end in seconds, text)."""

    language: str = "eng"
    codec: Literal["subrip", "ass", "mov_text", "webvtt"] = "subrip"
    lines: tuple[tuple[float, float, str], ...] = ((0.1, 0.4, "first line"), (0.5, 0.9, "second line"))


@dataclass(frozen=True)
class Attachment:
    """A file inside of a Matroska file."""

    name: str = "font.ttf"
    mimetype: str = "font/ttf"
    data: bytes = b"\x00\x01\x00\x00 not really a font"


@dataclass(frozen=True)
class Clip:
    """All choices of a clip; `make` writes it, in the container that the path's suffix names."""

    frames: int = 24
    width: int = 96
    height: int = 64
    rate: Fraction = Fraction(24)
    pts: tuple[int, ...] | None = None
    """Of each of the `frames`, in `time_base`; None: 0, 1, … in 1 / rate."""
    time_base: Fraction | None = None
    stored_pts: tuple[int, ...] | None = None
    """Written into the file in place of `pts`, in any order; for codecs without B-frames."""
    codec: str | None = "libx264"
    """None: no video track."""
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict[str, str])
    """The encoder's; they replace the few that each codec has here (crf 23 and the like)."""
    container_options: dict[str, str] = field(default_factory=dict[str, str])
    b_frames: bool = True
    open_gop: bool = False
    gop: int = 12
    matrix: int = 2
    full_range: bool | None = None
    primaries: int = 2
    transfer: int = 2
    """Numbers of ITU-T H.273, 2: not said."""
    chroma_location: str = ""
    """left, center, topleft, …"""
    sar: Fraction = Fraction(1)
    rotation: int = 0
    """Degrees, counter-clockwise, as a display matrix; mp4 and mov only."""
    interlaced: bool = False
    """Top field first; the lower field shows the square half a frame later."""
    hdr: bool = False
    """Mastering display and light level; libx265 only."""
    scene: Literal["numbers", "still", "cut", "patches"] = "numbers"
    """still: every frame is frame 0 without its number; cut: another background from the middle on."""
    patches: tuple[tuple[int, ...], ...] = ()
    seed: int = 0
    sound: tuple[Sound, ...] = ()
    subtitles: tuple[Sub, ...] = ()
    chapters: tuple[tuple[float, float, str], ...] = ()
    attachments: tuple[Attachment, ...] = ()
    """mkv only."""
    cover: bool = False
    """A picture of its own, as music has; mp4 and mov only."""
    metadata: dict[str, str] = field(default_factory=dict[str, str])

    def seconds(self) -> list[Fraction]:
        """The time of each frame before any container rounds, shifts or cuts it."""
        return [pts * self.unit for pts in self.stored_pts or self.pts or range(self.frames)]

    @property
    def unit(self) -> Fraction:
        """Seconds of one step of pts."""
        return self.time_base or 1 / self.rate


# Drawing


def draw(clip: Clip, index: int, moment: float | None = None) -> Bytes:
    """Frame `index` as RGBA (height, width, 4); the square is where it is at `moment` (in frames, default `index`)."""
    still, cut = clip.scene == "still", clip.scene == "cut" and index >= clip.frames / 2
    picture = background(clip.height, clip.width, clip.seed + cut).copy()
    moment = index if moment is None else moment
    _draw_square(picture, 0.0 if still else moment / max(clip.frames, 1))
    if not still:
        for place, white in enumerate(_cells(index)):
            picture[_tile(clip.height / 2, clip.width, (2, 8), place)] = (
                (235, 235, 235, 255) if white else (20, 20, 20, 255)
            )
    return picture


@lru_cache(maxsize=16)
def background(height: int, width: int, seed: int) -> Bytes:
    """RGBA (height, width, 4): shading, edges, waves and grain; alpha is full above and fades to the left below."""
    rng = np.random.default_rng((seed, height, width))
    y, x = (np.mgrid[0:height, 0:width] + 0.5) / np.array([height, width])[:, None, None]
    picture = np.stack([0.3 + 0.4 * y, 0.6 - 0.3 * x, 0.4 + 0.3 * x * y, np.ones_like(x)], axis=2)
    for _ in range(5):
        angle, color = rng.uniform(0, np.pi), rng.uniform(0.35, 0.9, 3)
        side = (x - rng.uniform(0, 1)) * np.cos(angle) + (y - rng.uniform(0.4, 1)) * np.sin(angle)
        picture[(side > 0) & (side < 0.15), :3] = color
    picture[..., :3] += (0.08 * np.sin(2 * np.pi * (9 * x + 5 * y)) * (x > 0.5))[..., None]
    picture[..., :3] += rng.normal(0, 0.02, (height, width, 1))
    picture[..., 3] = np.where(y < 0.6, 1.0, np.clip(1.5 * x, 0, 1))
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _draw_square(picture: Bytes, share: float) -> None:
    """A black square on its way from left (0) to right (1), in the lower half."""
    height, width = picture.shape[:2]
    side = height // 4
    left = round(share * (width - side))
    picture[height * 5 // 8 : height * 5 // 8 + side, left : left + side, :3] = 0


# The number in a frame: an extended Hamming code (16, 11), which tells up to three wrong cells

_FLIPPED = 0b0001_0010_0010_0100
"""Cells that are inverted, so that neither black nor white frames are numbers: two away from every word of the code."""
_PLACES = tuple(place for place in range(3, 16) if place & (place - 1))
"""Of the number's 11 bits among the 16 cells; 0 and the powers of 2 are the checks' places."""


def _cells(number: int) -> list[bool]:
    """Which of the 16 cells are white for a number below 2048 (larger ones start again at 0)."""
    bits = [0] * 16
    for bit, place in enumerate(_PLACES):
        bits[place] = number >> bit & 1
    wrong = _syndrome(bits)
    for power in (1, 2, 4, 8):
        bits[power] = int(wrong & power > 0)
    bits[0] = sum(bits) % 2
    return [bool(bit ^ (_FLIPPED >> place & 1)) for place, bit in enumerate(bits)]


def _syndrome(bits: Sequence[int]) -> int:
    """The place of a single wrong bit; 0 where all is right."""
    place = 0
    for other, bit in enumerate(bits):
        place ^= other * bit
    return place


def read_number(gray: npt.NDArray[Any]) -> int | None:
    """The number in a frame's luma (height, width), uint8, of any size; None where a cell is gray or the checks fail."""
    height, width = gray.shape
    levels = [float(gray[_tile(height / 2, width, (2, 8), place, 0.25)].mean()) / 255 for place in range(16)]
    if any(0.35 < level < 0.65 for level in levels):
        return None
    bits = [int(level > 0.5) ^ (_FLIPPED >> place & 1) for place, level in enumerate(levels)]
    if _syndrome(bits) or sum(bits) % 2:
        return None
    return sum(bits[place] << bit for bit, place in enumerate(_PLACES))


def _tile(height: float, width: float, grid: tuple[int, int], index: int, margin: float = 0.0) -> tuple[slice, slice]:
    """Rows and columns of one tile of a grid (rows, columns), less `margin` of its size on each side."""
    row, column = divmod(index, grid[1])
    down, right = height / grid[0], width / grid[1]
    return (
        slice(round((row + margin) * down), round((row + 1 - margin) * down)),
        slice(round((column + margin) * right), round((column + 1 - margin) * right)),
    )


# Frames


def _frames(clip: Clip) -> Iterator[av.VideoFrame]:
    """The clip's frames, in its pixel format, with pts and color."""
    flag_fields = _field_flagger(clip) if clip.interlaced else None
    for index, pts in enumerate(clip.pts or range(clip.frames)):
        frame = _frame(clip, index)
        if flag_fields is not None:
            _weave(frame, _frame(clip, index, index + 0.5))
            frame = flag_fields(frame)
        frame.pts, frame.time_base = pts, clip.unit
        frame.colorspace, frame.color_primaries, frame.color_trc = clip.matrix, clip.primaries, clip.transfer
        frame.color_range = _range(clip)
        yield frame


def _frame(clip: Clip, index: int, moment: float | None = None) -> av.VideoFrame:
    if clip.scene == "patches":
        return _patches_frame(clip)
    frame = av.VideoFrame.from_ndarray(draw(clip, index, moment), format="rgba")
    if clip.pix_fmt.startswith(("rgb", "gbr", "bgr", "argb")):
        return frame.reformat(format=clip.pix_fmt)
    matrix = clip.matrix if clip.matrix in (1, 9) else 5  # swscale's numbers: BT.709, BT.2020, BT.601
    return frame.reformat(format=clip.pix_fmt, dst_colorspace=matrix, dst_color_range=2 if clip.full_range else 1)


def _range(clip: Clip) -> int:
    return 0 if clip.full_range is None else 1 + clip.full_range


def _field_flagger(clip: Clip) -> Callable[[av.VideoFrame], av.VideoFrame]:
    """A function that marks frames as interlaced, top field first, which PyAV's frames cannot be told directly."""
    graph = Graph()
    layout = av.VideoFormat(clip.pix_fmt, clip.width, clip.height)
    source = graph.add_buffer(width=clip.width, height=clip.height, format=layout, time_base=clip.unit)
    graph.link_nodes(source, graph.add("setfield", "tff"), graph.add("buffersink")).configure()

    def flag(frame: av.VideoFrame) -> av.VideoFrame:
        graph.vpush(frame)
        return graph.vpull()

    return flag


def _weave(upper: av.VideoFrame, lower: av.VideoFrame) -> None:
    """Puts every other row of `lower` into `upper`, in each plane."""
    for into, plane in zip(_planes(upper), _planes(lower), strict=True):
        into[1::2] = plane[1::2]


# Patches of known codes


def patches_clip(colors: Iterable[tuple[int, ...]], pix_fmt: str = "yuv420p", **changes: Any) -> Clip:
    """Two lossless frames of flat patches with exactly these codes (Y, Cb, Cr[, A] or R, G, B); planar formats, 8 to 16 bits."""
    start = Clip(frames=2, codec="ffv1", pix_fmt=pix_fmt, scene="patches", patches=tuple(colors))
    return replace(start, **changes)


def read_patches(path: Path, count: int, frame: int = 0) -> Floats:
    """(count, components): mean codes in the middle of each of `count` patches in one decoded frame, of any size."""
    with av.open(str(path)) as container:
        decoded = next(picture for index, picture in enumerate(container.decode(video=0)) if index == frame)
    planes = _planes(decoded)
    return np.array([[float(_patch(plane, count, i, 0.25).mean()) for plane in planes] for i in range(count)])


def _patches_frame(clip: Clip) -> av.VideoFrame:
    frame = av.VideoFrame(clip.width, clip.height, clip.pix_fmt)
    for component, plane in enumerate(_planes(frame)):
        plane[:] = clip.patches[0][component]  # what no patch covers
        for index, codes in enumerate(clip.patches):
            _patch(plane, len(clip.patches), index)[:] = codes[component]
    return frame


def _planes(frame: av.VideoFrame) -> list[npt.NDArray[Any]]:
    """Views of a planar frame's components, in the order Y, Cb, Cr, A or R, G, B, A; what is written to them is in the frame."""
    planes: list[npt.NDArray[Any]] = []
    for component in frame.format.components:
        plane = frame.planes[component.plane]
        codes = np.frombuffer(memoryview(plane), np.uint8 if component.bits <= 8 else "<u2")
        stored = codes.reshape(plane.height, -1)  # rows are padded
        planes.append(stored[:, : component.width])
    return planes


def _patch(plane: npt.NDArray[Any], count: int, index: int, margin: float = 0.0) -> npt.NDArray[Any]:
    """A view of patch `index` of `count` in a plane."""
    columns = int(np.ceil(np.sqrt(count)))
    return plane[_tile(plane.shape[0], plane.shape[1], (-(-count // columns), columns), index, margin)]


# Writing


def make(path: Path, clip: Clip) -> list[Fraction]:
    """Writes the clip; returns the time in seconds of each frame as a reader should see it.

    Fewer than `clip.frames` where an mp4 starts before 0: its edit list cuts those off. Two runs may differ in some bytes.
    """
    file: Any = av.open(str(path), "w", container_options=clip.container_options)
    with file as container:
        container.metadata.update(clip.metadata)
        video = None if clip.codec is None else _add_video(container, clip)
        sounds = [_add_sound(container, sound) for sound in clip.sound]
        subtitles = [_add_subtitles(container, sub) for sub in clip.subtitles]
        cover = _add_cover(container) if clip.cover else None
        for attachment in clip.attachments:
            container.add_attachment(attachment.name, attachment.mimetype, attachment.data)
        container.set_chapters([_chapter(*chapter) for chapter in clip.chapters])
        container.start_encoding()
        packets = [] if video is None else _video_packets(video, clip)
        for stream, sound in zip(sounds, clip.sound, strict=True):
            packets += _sound_packets(stream, sound, clip)
        for stream, sub in zip(subtitles, clip.subtitles, strict=True):
            packets += _subtitle_packets(stream, sub)
        if cover is not None:
            packets += _cover_packets(cover)
        seen = [] if video is None else _seen(path, clip, packets)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
        return seen


def _seen(path: Path, clip: Clip, packets: Sequence[Any]) -> list[Fraction]:
    """The clip's times after the container's rounding, its shift and its edit list."""
    if path.suffix in NO_TIMES or not clip.seconds():
        return [index / clip.rate for index in range(len(clip.seconds()))]
    step = next(packet.stream.time_base for packet in packets if packet.stream.type == "video")
    seen = [_rounded(seconds, step) for seconds in clip.seconds()]
    if path.suffix in {".mp4", ".mov"} and "empty_moov" not in clip.container_options.get("movflags", ""):
        start = max(seen[0], Fraction(0))
        late = _rounded(start * 1000 // 1 / Fraction(1000), step) - start  # an edit list starts at a full millisecond
        return [seconds + late for seconds in seen if seconds >= 0]
    if path.suffix in {".mkv", ".webm"}:  # pts never below 0
        return [seconds - min(*seen, 0) for seconds in seen]
    first = [_rounded(packet.dts * packet.time_base, packet.stream.time_base) for packet in packets]  # nor dts
    return [seconds - min(*first, 0) + (path.suffix == ".mpg") * Fraction(1, 2) for seconds in seen]


def _rounded(seconds: Fraction, step: Fraction) -> Fraction:
    """The nearest multiple of `step`, halves away from zero, as FFmpeg rounds."""
    return (abs(seconds) / step + Fraction(1, 2)) // 1 * step * (1 if seconds >= 0 else -1)


def _add_video(container: Any, clip: Clip) -> Any:
    stream = container.add_stream(clip.codec, rate=clip.rate, options=_video_options(clip))
    stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, clip.pix_fmt
    stream.thread_count = 1
    context = stream.codec_context
    context.time_base = clip.unit
    context.gop_size = clip.gop
    context.sample_aspect_ratio = clip.sar
    context.colorspace, context.color_primaries, context.color_trc = clip.matrix, clip.primaries, clip.transfer
    context.color_range = _range(clip)
    if clip.codec in {"libx264", "libx265", "mpeg2video", "mpeg4"}:
        context.max_b_frames = 2 if clip.b_frames else 0
    if clip.rotation:
        stream.set_display_rotation(clip.rotation)
    return stream


def _video_options(clip: Clip) -> dict[str, str]:
    options: dict[str, str] = {}
    if clip.codec in {"libx264", "libx265"}:
        params = {"b-adapt": "0", "scenecut": "0", "open-gop": str(int(clip.open_gop))}
        if clip.codec == "libx265":
            params |= {"log-level": "error", "pools": "1"} | (_HDR if clip.hdr else {})
        name = f"{clip.codec[3:]}-params"
        options = {"preset": "veryfast", "crf": "23", name: ":".join(f"{k}={v}" for k, v in params.items())}
    elif clip.codec == "libvpx-vp9":
        options = {"deadline": "realtime", "cpu-used": "8", "crf": "25", "b": "0"}
    elif clip.codec == "libsvtav1":
        options = {"preset": "12", "crf": "25"}
    if clip.interlaced:
        options["flags"] = "+ildct+ilme"
    if clip.chroma_location:
        options["chroma_sample_location"] = clip.chroma_location
    return options | clip.options


_HDR = {
    "hdr10": "1",
    "master-display": "G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,50)",
    "max-cll": "1000,400",
}


def _video_packets(stream: Any, clip: Clip) -> list[Any]:
    packets = [packet for frame in _frames(clip) for packet in stream.encode(frame)]
    packets += stream.encode(None) if clip.frames else []
    stored = clip.stored_pts or ()
    for index, pts in enumerate(stored):
        packets[index].pts, packets[index].dts = pts, min(stored[index:])  # muxers want rising dts, none after its pts
    return packets


def _chapter(start: float, end: float, title: str) -> Any:
    first, last = round(start * 1000), round(end * 1000)
    about = {"title": title}
    return {"id": first + 1, "start": first, "end": last, "time_base": Fraction(1, 1000), "metadata": about}


def _add_cover(container: Any) -> Any:
    stream = container.add_stream("mjpeg")
    stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
    stream.codec_context.time_base = Fraction(1, 25)
    stream.disposition = Disposition.attached_pic
    return stream


def _cover_packets(stream: Any) -> list[Any]:
    frame = av.VideoFrame.from_ndarray(background(32, 32, 7), format="rgba").reformat(format="yuvj420p")
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    return stream.encode(frame) + stream.encode(None)


# Sound


def _add_sound(container: Any, sound: Sound) -> Any:
    stream = container.add_stream(sound.codec, rate=sound.rate)
    stream.layout = "mono"
    stream.metadata["language"] = sound.language
    if sound.title:
        stream.metadata["title"] = sound.title
    return stream


def _sound_packets(stream: Any, sound: Sound, clip: Clip) -> list[Any]:
    seconds = clip.seconds()
    end = max(seconds, default=Fraction(1)) + 1 / clip.rate
    count = int((end - sound.start) * sound.rate)
    times = float(sound.start) + np.arange(count) / sound.rate
    samples = 0.1 * np.sin(2 * np.pi * sound.hz * times)
    for index in sound.clicks:
        samples += 0.6 * _click(times - float(seconds[index]))
    levels = np.rint(samples * 32767).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(levels, format="s16", layout="mono")
    frame.sample_rate, frame.time_base = sound.rate, Fraction(1, sound.rate)
    frame.pts = round(sound.start * sound.rate)
    return stream.encode(frame) + stream.encode(None)


def _click(times: Floats) -> Floats:
    """A chirp from 1 to 3.5 kHz in the 8 ms from time 0 on: short, and unlike every tone."""
    phase = 2 * np.pi * (1000 * times + 2500 / 0.008 / 2 * times**2)
    return np.where((times >= 0) & (times < 0.008), np.sin(phase) * np.sin(np.pi * times / 0.008) ** 2, 0.0)


def samples_of(path: Path, track: int = 0) -> tuple[Floats, float, int]:
    """A sound track on one line of time, gaps as silence: samples as mono, the time in seconds of the first, the rate."""
    pieces: list[tuple[float, Floats]] = []
    rate = 0
    with av.open(str(path)) as container:
        to_mono = av.AudioResampler("flt", "mono")
        for frame in container.decode(audio=track):
            rate, seconds = frame.sample_rate, float((frame.pts or 0) * (frame.time_base or 0))
            values = [part.to_ndarray()[0] for part in to_mono.resample(frame)]
            pieces.append((seconds, np.concatenate(values).astype(np.float64)))
    place, placed = 0, list[tuple[int, Floats]]()
    start = pieces[0][0]
    for seconds, values in pieces:
        exact = (seconds - start) * rate
        place = place if abs(exact - place) < 0.0015 * rate else round(exact)  # times in Matroska are full milliseconds
        placed.append((place, values))
        place += len(values)
    line = np.zeros(place)
    for place, values in placed:
        line[place : place + len(values)] = values
    return line, start, rate


def clicks(path: Path, track: int = 0) -> list[float]:
    """Times in seconds at which clicks start in a decoded sound track; right to a sample or two."""
    line, start, rate = samples_of(path, track)
    kernel = _click(np.arange(round(0.008 * rate)) / rate)
    heard = np.correlate(np.pad(line, len(kernel)), kernel, "valid") / (0.6 * np.sum(kernel**2))
    found: list[float] = []
    while heard.max() > 0.5:
        peak = int(heard.argmax())
        found.append(start + (peak - len(kernel)) / rate)
        heard[max(peak - len(kernel), 0) : peak + len(kernel)] = 0
    return sorted(found)


def tone(path: Path, track: int = 0) -> float:
    """The strongest frequency of a sound track, in Hz; right to about 1 Hz."""
    line, _, rate = samples_of(path, track)
    size = 4 * rate
    spectrum = np.abs(np.fft.rfft(line * np.hanning(len(line)), max(size, len(line))))
    return float(spectrum.argmax()) * rate / max(size, len(line))


# Subtitles

_ASS = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Alignment
Style: Default,Arial,16,&Hffffff,2

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def _add_subtitles(container: Any, sub: Sub) -> Any:
    stream = container.add_stream(sub.codec)
    stream.codec_context.subtitle_header = _ASS
    stream.codec_context.time_base = Fraction(1, 1000)
    stream.metadata["language"] = sub.language
    return stream


def _subtitle_packets(stream: Any, sub: Sub) -> list[Any]:
    packets: list[Any] = []
    for number, (start, end, text) in enumerate(sub.lines):
        dialogue = f"{number},0,Default,,0,0,0,,{text}".encode()
        packet = stream.codec_context.encode_subtitle(SubtitleSet.create(dialogue, 0, round((end - start) * 1000)))
        packet.pts = packet.dts = round(start * 1000)
        packet.duration = round((end - start) * 1000)
        packet.time_base, packet.stream = Fraction(1, 1000), stream
        packets.append(packet)
    return packets


# Reading


def numbers(path: Path) -> list[int | None]:
    """The number drawn in each decoded frame, in the order of decoding; None where it cannot be read for sure."""
    with av.open(str(path)) as container:
        return [read_number(frame.reformat(format="gray").to_ndarray()) for frame in container.decode(video=0)]


def times(path: Path) -> list[Fraction]:
    """The pts in seconds of each decoded frame; ValueError where a frame has none."""
    with av.open(str(path)) as container:
        found = [(frame.pts, frame.time_base) for frame in container.decode(video=0)]
    if any(pts is None or unit is None for pts, unit in found):
        raise ValueError(f"{path}: frames without pts")
    return [pts * unit for pts, unit in found if pts is not None and unit is not None]


# Ready clips


def all_variants() -> dict[str, Clip]:
    """Name of a file, whose suffix is its container → clip; every one can be decoded."""
    return {**_timing(), **_tracks(), **_pictures()}


def _timing() -> dict[str, Clip]:
    sound = (Sound(clicks=(6, 12)),)
    uneven = (0, 40, 90, 100, 300, 333, 1000, 1017)
    film, fast = Fraction(24000, 1001), Fraction(60000, 1001)
    return {
        "constant-24.mp4": Clip(sound=sound),
        "constant-23.976.mp4": Clip(rate=film, sound=sound),
        "constant-23.976.mkv": Clip(rate=film, sound=sound),
        "constant-59.94.mov": Clip(rate=fast, sound=sound),
        "variable.mp4": Clip(frames=8, pts=uneven, time_base=Fraction(1, 1000), sound=(Sound(clicks=(3,)),)),
        "variable.mkv": Clip(frames=8, pts=uneven, time_base=Fraction(1, 1000), sound=(Sound(clicks=(3,)),)),
        "late-start.mp4": Clip(pts=tuple(range(50, 74)), sound=sound),
        "late-start.mkv": Clip(pts=tuple(range(50, 74)), sound=sound),
        "late-start.ts": Clip(pts=tuple(range(50, 74)), sound=sound),
        "late-sound.mkv": Clip(sound=(Sound(start=Fraction(1, 5), clicks=(12,)),)),
        "cut-start.mp4": Clip(pts=tuple(range(-5, 19)), sound=(Sound(clicks=(7, 12)),)),  # an edit list hides 5 frames
        "negative-start.mkv": Clip(pts=tuple(range(-5, 19)), sound=(Sound(clicks=(7, 12)),)),
        "no-b-frames.mp4": Clip(b_frames=False),
        "open-gop.mp4": Clip(frames=36, open_gop=True),
        "fragments.mp4": Clip(container_options={"movflags": "empty_moov+frag_keyframe"}, sound=sound),
        "stream.ts": Clip(sound=sound),
        "stream.nut": Clip(sound=sound),
        "mpeg2.ts": Clip(codec="mpeg2video", rate=Fraction(25), sound=(Sound(codec="mp2", clicks=(6, 12)),)),
        "mpeg2.mpg": Clip(codec="mpeg2video", rate=Fraction(25), sound=(Sound(codec="mp2", clicks=(6, 12)),)),
        "raw.h264": Clip(),
        "b-frames.avi": Clip(),
        "mpeg4.avi": Clip(codec="mpeg4", b_frames=False),
        "motion-jpeg.avi": Clip(codec="mjpeg", pix_fmt="yuvj420p", sound=(Sound(codec="pcm_s16le", clicks=(6, 12)),)),
        "backwards.mkv": Clip(frames=8, codec="ffv1", stored_pts=(0, 1, 2, 5, 4, 3, 6, 7)),
        "twice.mkv": Clip(frames=8, codec="ffv1", stored_pts=(0, 1, 2, 2, 3, 3, 4, 5)),
        "gap.mkv": Clip(frames=8, codec="ffv1", stored_pts=(0, 1, 2, 3, 2400, 2401, 2402, 2403)),
    }


def _tracks() -> dict[str, Clip]:
    two = Sound("eng", clicks=(6,)), Sound("deu", hz=880.0, clicks=(12,), title="Kommentar")
    parts = (0.0, 0.5, "first part"), (0.5, 1.0, "second part")
    return {
        "everything.mkv": Clip(
            sound=two,
            subtitles=(Sub("eng"), Sub("deu", "ass")),
            chapters=parts,
            attachments=(Attachment(),),
            metadata={"title": "a clip"},
        ),
        "everything.mp4": Clip(
            sound=two, subtitles=(Sub("eng", "mov_text"),), chapters=parts, cover=True, metadata={"title": "a clip"}
        ),
        "opus.webm": Clip(
            codec="libvpx-vp9", sound=(Sound(codec="libopus", clicks=(6,)),), subtitles=(Sub("eng", "webvtt"),)
        ),
        "pcm.mov": Clip(sound=(Sound(codec="pcm_s16le", rate=44100, clicks=(6,)),)),
        "flac.mkv": Clip(sound=(Sound(codec="flac", clicks=(6,)),)),
        "only-sound.m4a": Clip(codec=None, sound=(Sound(),)),
        "no-frames.mp4": Clip(frames=0, container_options={"movflags": "empty_moov+frag_keyframe"}),
        "no-frames.mkv": Clip(frames=0, sound=(Sound(),)),
        "one-frame.mp4": Clip(frames=1),
    }


def _pictures() -> dict[str, Clip]:
    hd, sd = (Clip(matrix=n, primaries=n, transfer=n, full_range=False) for n in (1, 6))
    wide = Clip(matrix=9, primaries=9, transfer=18, full_range=False, pix_fmt="yuv420p10le", codec="libx265")
    hdr10 = replace(wide, transfer=16, hdr=True, chroma_location="topleft")
    return {
        "bt709.mp4": replace(hd, chroma_location="left"),
        "bt601.mkv": replace(sd, chroma_location="center"),
        "full-range.mp4": replace(hd, full_range=True),
        "ten-bits.mp4": Clip(pix_fmt="yuv420p10le"),
        "hdr10.mkv": hdr10,
        "hdr10.mp4": hdr10,
        "hlg.mkv": wide,
        "av1.mkv": Clip(codec="libsvtav1", pix_fmt="yuv420p10le"),
        "422.mkv": Clip(pix_fmt="yuv422p"),
        "444.mp4": Clip(pix_fmt="yuv444p"),
        "small.mp4": Clip(width=64, height=48),
        "odd-size.mkv": Clip(width=101, height=67, codec="ffv1", pix_fmt="yuv444p"),
        "odd-size-420.mkv": Clip(width=101, height=67, codec="ffv1", pix_fmt="yuv420p"),
        "rotated.mp4": Clip(rotation=90),
        "rotated.mov": Clip(rotation=-90),
        "wide-pixels.mp4": Clip(sar=Fraction(64, 45)),
        "wide-pixels.mkv": Clip(sar=Fraction(64, 45)),
        "interlaced.mp4": Clip(interlaced=True),
        "interlaced.ts": Clip(interlaced=True, codec="mpeg2video", rate=Fraction(25)),
        "alpha.mov": Clip(codec="prores_ks", pix_fmt="yuva444p10le", options={"profile": "4444"}),
        "alpha.mkv": Clip(codec="ffv1", pix_fmt="yuva420p"),
        "rgb.mkv": Clip(codec="ffv1", pix_fmt="gbrp10le"),
        "rgb.mov": Clip(codec="qtrle", pix_fmt="rgb24"),
        "rgb.mp4": Clip(codec="libx264rgb", pix_fmt="rgb24"),
        "gray.mkv": Clip(codec="ffv1", pix_fmt="gray"),
        "gray10.mp4": Clip(pix_fmt="gray10le"),
        "still.mp4": Clip(scene="still"),
        "scene-cut.mp4": Clip(scene="cut"),
    }


# Files that are damaged or strange


def broken_files(folder: Path) -> dict[str, Path]:
    """Writes them into a folder; name → path."""
    clip = Clip(sound=(Sound(),))
    whole = {suffix: folder / f"whole{suffix}" for suffix in (".mp4", ".mkv", ".ts")}
    for path in whole.values():
        make(path, clip)
    first, second = folder / "first.h264", folder / "second.h264"
    make(first, Clip(frames=12))
    make(second, Clip(frames=12, width=64, height=48))
    nothing, noise = folder / "empty.mp4", folder / "noise.mp4"
    nothing.write_bytes(b"")
    noise.write_bytes(np.random.default_rng(0).bytes(5000))
    return {
        "cut mp4": truncated(whole[".mp4"], 0.6),
        "cut mkv": truncated(whole[".mkv"], 0.6),
        "cut ts": truncated(whole[".ts"], 0.6),
        "no moov": without_moov(whole[".mp4"]),
        "two sizes": joined(folder / "two-sizes.h264", first, second),
        "empty": nothing,
        "noise": noise,
    }


def truncated(path: Path, share: float) -> Path:
    """A copy beside `path` that holds this share of its bytes; its name ends in -cut."""
    return _part(path, round(path.stat().st_size * share), "cut")


def without_moov(path: Path) -> Path:
    """A copy of an mp4 beside it that ends before the box with the tables: what a camera leaves when its battery dies."""
    return _part(path, path.read_bytes().rindex(b"moov") - 4, "no-moov")


def _part(path: Path, size: int, word: str) -> Path:
    part = path.with_stem(f"{path.stem}-{word}")
    part.write_bytes(path.read_bytes()[:size])
    return part


def joined(path: Path, *parts: Path) -> Path:
    """Raw streams (.h264, .ts) one after the other in one file: another size from some frame on, or times that start again."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path
