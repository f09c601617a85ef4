"""What becomes of each stream beside the main video: copied, converted or left out, decided before any work, and said."""

# PyAV leaves some parameters untyped:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from dataclasses import dataclass
from typing import Literal

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard, Disposition, Stream

from upscale.media.video.stream_tags import NO_NAMES
from upscale.media.video.trial import LAYOUTS, samples, takes

How = Literal["copy", "convert", "drop"]

CONTAINERS = {"mp4": "MP4", "mov": "QuickTime (MOV)", "matroska": "Matroska", "webm": "WebM"}
_CODECS = {
    **{"aac": "AAC", "alac": "ALAC", "flac": "FLAC", "libopus": "Opus"},
    **{"mov_text": "MP4 text", "subrip": "SubRip", "webvtt": "WebVTT", "tag": "a tag of the video"},
}
_TEXTS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
_PLAIN = ("subrip", "mov_text", "text", "webvtt")
_BITMAPS = ("dvd_subtitle", "dvb_subtitle", "hdmv_pgs_subtitle", "xsub", "dvb_teletext")
_PICTURES = {"mjpeg": "image/jpeg", "png": "image/png"}


@dataclass(frozen=True, slots=True)
class Carried:
    """One stream of the source beside the main video.

    `index` in the source; `kind`: audio, subtitle, data, attachment, cover (a still picture), video (a further one) or
    unknown; `codec`: FFmpeg's name of what it is in the result ("tmcd": written by the muxer from the video's timecode,
    "tag": that timecode as a tag alone); `name` for messages; `why` it is not copied.
    """

    index: int
    kind: str
    how: How
    codec: str
    name: str
    why: str = ""


def plan(container: InputContainer, main: int, format_: str) -> tuple[Carried, ...]:
    """What a file of FFmpeg's muxer `format_` ("mp4", "mov", "matroska", "webm") takes of `container`, without decoding.

    `container` is not read on: what must be seen is read from its file anew.
    QuickTime's chapter tracks are not listed: they are carried as chapters.
    """
    counts: dict[str, int] = {}
    result: list[Carried] = []
    others = [stream for stream in container.streams if stream.index != main and not _is_chapters(stream)]
    first = samples(container.name, [stream.index for stream in others if stream.type in ("audio", "video")])
    for stream in others:
        kind = "cover" if is_cover(stream) else stream.type
        counts[kind] = counts.get(kind, 0) + 1
        taken = takes(stream, format_, first.get(stream.index))
        result.append(_carried(stream, kind, _name(stream, kind, counts[kind]), format_, taken))
    return tuple(result)


def warnings(carried: tuple[Carried, ...]) -> list[str]:
    """One line for each stream that is not kept as it is."""
    lines: list[str] = []
    for one in carried:
        match one.how:
            case "convert":
                lines.append(f"{one.name}: converted to {_CODECS.get(one.codec, one.codec)}, since {one.why}")
            case "drop":
                lines.append(f"{one.name}: left out, since {one.why}")
            case "copy":
                pass
    return lines


def is_cover(stream: Stream) -> bool:
    """Whether a video stream is a still picture of the whole."""
    return Disposition.attached_pic in stream.disposition


def _is_chapters(stream: Stream) -> bool:
    """FFmpeg reads QuickTime's chapter tracks itself and then hides them."""
    return stream.discard == Discard.all and stream.type == "data" and stream.name == "bin_data"


def is_timecode(stream: Stream) -> bool:
    """QuickTime's tmcd: PyAV does not tell its tag, but FFmpeg gives no other data without a codec a timecode."""
    return stream.type == "data" and stream.name is None and "timecode" in stream.metadata


def codec_of(stream: Stream) -> str:
    """FFmpeg's name of what a stream holds, or "unknown"."""
    if stream.codec_context is not None:  # pyright: ignore[reportUnnecessaryComparison]
        return stream.codec_context.codec.canonical_name
    if is_timecode(stream):
        return "tmcd"
    return (stream.name if stream.type == "data" else None) or "unknown"


def _name(stream: Stream, kind: str, number: int) -> str:
    """Such as: audio track 2 (deu, pcm_s16le)."""
    if kind == "attachment":
        return f"attachment {stream.metadata.get('filename', number)}"
    tags = stream.metadata
    handler = tags.get("handler_name", "") if kind in ("data", "unknown") else ""
    title = tags.get("title") or (handler if handler not in NO_NAMES else "")
    language = tags.get("language", "") if kind in ("audio", "subtitle") else ""
    facts = [language if language != "und" else "", title.strip(), codec_of(stream)]
    noun = "cover picture" if kind == "cover" else f"{kind} track"
    return f"{noun} {number} ({', '.join(fact for fact in facts if fact)})"


def _carried(stream: Stream, kind: str, name: str, format_: str, taken: bool) -> Carried:
    codec, container = codec_of(stream), CONTAINERS.get(format_, format_)
    lacking = f"{container} cannot hold {codec if codec != 'unknown' else 'this kind of ' + kind}"

    def decided(how: How, codec: str = codec, why: str = "") -> Carried:
        return Carried(stream.index, kind, how, codec, name, why)

    match kind:
        case "attachment":
            return (
                decided("copy") if format_ == "matroska" else decided("drop", why=f"{container} holds no attachments")
            )
        case "cover":
            return (
                decided("copy")
                if _holds_cover(stream, format_, taken)
                else decided("drop", why=f"{container} cannot hold it")
            )
        case "data" if codec == "tmcd":
            made = format_ in ("mp4", "mov")
            return decided("copy") if made else decided("convert", "tag", f"{container} has no timecode tracks")
        case "data" if stream.discard == Discard.all:
            return decided("drop", why="the times of its packets cannot be read")
        case "data":
            return decided("copy") if taken else decided("drop", why=lacking)
        case "subtitle" | "audio" | "video" if taken:
            return decided("copy")
        case "audio" if isinstance(stream, AudioStream) and stream.layout.nb_channels in LAYOUTS:
            return decided("convert", _sound(stream, format_), lacking)
        case "subtitle" if codec in (*_PLAIN, "ass"):
            styles = "" if codec in _PLAIN else " (its styles are lost)"
            return decided("convert", _TEXTS[format_], lacking + styles)
        case "subtitle" if codec in _BITMAPS:
            return decided("drop", why=f"{lacking}, and it consists of pictures")
        case _:
            return decided("drop", why=lacking)


def _sound(stream: AudioStream, format_: str) -> str:
    """Lossless stays lossless where whole numbers of up to 24 bits suffice; otherwise what every player of the container knows."""
    if format_ == "webm":
        return "libopus"
    codec = stream.codec_context.codec
    if codec.lossless and not codec.lossy and stream.format.name.rstrip("p") in ("u8", "s16", "s32"):
        return "alac" if format_ in ("mp4", "mov") else "flac"
    return "aac"


def _holds_cover(stream: Stream, format_: str, taken: bool) -> bool:
    """Matroska keeps pictures as attachments, MP4 in its metadata; chapters' own pictures fit in neither."""
    if codec_of(stream) not in _PICTURES or Disposition.timed_thumbnails in stream.disposition:
        return False
    return format_ == "matroska" or (format_ != "webm" and taken)


def picture_type(stream: Stream) -> str:
    """The MIME type of a cover picture."""
    return _PICTURES.get(codec_of(stream), "application/octet-stream")
