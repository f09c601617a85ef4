"""What is written about a file and its streams: titles, languages, times, roles, chapters."""

from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream

if TYPE_CHECKING:
    from av.container.core import Chapter

Packet: TypeAlias = "av.Packet[Any]"
"""A packet of any stream. (PyAV's class is generic to type checkers only.)"""

Window = tuple[Fraction | None, Fraction | None]
"""Seconds in the source's time; None: open."""

_OF_FILES = {"major_brand", "minor_version", "compatible_brands", "encoder", "encoded_by_muxer", "firmware", "duration"}
_OF_STREAMS = {"vendor_id", "encoder", "encoder_options", "duration", "bps", "filename", "mimetype"}
_STATISTICS = ("number_of_frames", "number_of_bytes", "_statistics_", "bps-", "duration-")
NO_NAMES = {"VideoHandler", "SoundHandler", "SubtitleHandler", "DataHandler", "TimeCodeHandler"}
"""What FFmpeg writes where it was told no handler's name."""


def carry_metadata(source: Stream, out: Stream) -> None:
    """Language, title, handler, timecode and the rest of a stream's tags, and its roles (default, forced, dub, …).

    What describes the old encoding (its size, rate, encoder) stays behind. A title without a handler's name becomes one as well,
    since MP4 shows that.
    """
    for key, value in source.metadata.items():
        known = key.lower()  # Matroska writes some in capitals
        if known in _OF_STREAMS or known.startswith(_STATISTICS):
            continue
        if known != "handler_name" or value not in NO_NAMES:
            out.metadata[known if known in ("handler_name", "timecode") else key] = value
    title = source.metadata.get("title") or source.metadata.get("name")
    if title and "handler_name" not in out.metadata:
        out.metadata["handler_name"] = title
    out.disposition = source.disposition


def carry_file_metadata(source: InputContainer, out: OutputContainer) -> None:
    """The file's tags, but for those of its old container."""
    out.metadata.update({key: value for key, value in source.metadata.items() if key.lower() not in _OF_FILES})


def carry_chapters(source: InputContainer, out: OutputContainer, window: Window, shift: Fraction) -> None:
    """The chapters, cut to the window and moved with it."""
    cut = [_chapter(chapter, window, shift) for chapter in source.chapters()]
    kept = [chapter for chapter in cut if chapter is not None]
    if kept:
        out.set_chapters(kept)


def _chapter(chapter: "Chapter", window: Window, shift: Fraction) -> "Chapter | None":
    base = chapter["time_base"] or Fraction(1, 1000)
    start, end = chapter["start"] * base, chapter["end"] * base
    if window[0] is not None:
        start = max(start, window[0])
    if window[1] is not None:
        end = min(end, window[1])
    if start > end or (start == end and chapter["start"] != chapter["end"]):
        return None
    moved: Chapter = {**chapter, "start": round((start - shift) / base), "end": round((end - shift) / base)}
    return moved


def inside(time: Fraction, window: Window) -> bool:
    """Whether window[0] <= time < window[1]."""
    return (window[0] is None or time >= window[0]) and (window[1] is None or time < window[1])
