"""The proof of a result: it is read again, and holds every frame and every stream at its time."""

# PyAV leaves some parameters untyped:
# pyright: reportUnknownMemberType=false

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError

from upscale.errors import OutputError
from upscale.media.video.carried import Carried, is_cover
from upscale.media.video.stream_tags import Packet, Window, inside

_COPIED = Fraction(2, 1000)
"""Seconds by which a copied packet's time may differ beside the containers' clocks: sound is put on a grid of samples."""

_CONVERTED = Fraction(1, 10)
"""The same for converted sound, whose packets are others."""

_PROVED = ("audio", "subtitle", "video")


@dataclass(slots=True)
class Extent:
    """What a stream's packets say: how many, and from when to when, in seconds. `tick`: the finest difference. `hidden`: how
    many of them are there to be decoded, but not to be heard (an MP4's edit list says so)."""

    tick: Fraction
    packets: int = 0
    hidden: int = 0
    first: Fraction | None = None
    last: Fraction | None = None
    end: Fraction | None = None

    def add(self, pts: int, duration: int) -> None:
        time, until = pts * self.tick, (pts + duration) * self.tick
        self.packets += 1
        self.first = time if self.first is None else min(self.first, time)
        self.last = time if self.last is None else max(self.last, time)
        self.end = until if self.end is None else max(self.end, until)


def prove_video(path: Path, named: Path, wanted: "array[int]", last: int, base: Fraction) -> None:
    """As many frames as `wanted`, each at its time, in units of `base`, as exact as the container's clock; the last one as long
    as `last`, where that is known (not 0) and the container says so. `named`: what the result will be called.

    Raises OutputError, and says what differs.
    """
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams.video if not is_cover(stream))
        times, tick, longest = array("q"), stream.time_base or Fraction(1), (-(2**62), 0)
        for packet in container.demux(stream):
            if packet.pts is not None and not packet.is_discard:
                times.append(packet.pts)
                longest = max(longest, (packet.pts, packet.duration or 0))
    if len(times) != len(wanted):
        raise OutputError(
            f"{named}: proof failed: {len(times)} frames were written instead of {len(wanted)}; try --format mkv"
        )
    for number, (got, want) in enumerate(zip(sorted(times), wanted, strict=True)):
        if abs(got * tick - want * base) > tick / 2:
            raise OutputError(
                f"{named}: proof failed: frame {number} would be shown at {float(got * tick):.6f} s instead of "
                f"{float(want * base):.6f} s; try --format mkv"
            )
    if last and longest[1] and abs(longest[1] * tick - last * base) > tick:
        raise OutputError(
            f"{named}: proof failed: the last frame would be shown for {float(longest[1] * tick):.3f} s instead of "
            f"{float(last * base):.3f} s; try --format mkv"
        )


def prove_streams(
    path: Path, named: Path, source: Path, carried: Sequence[Carried], window: Window, shift: Fraction
) -> None:
    """Each stream that was copied has as many packets as in the source's window, and begins and ends with them; converted
    sound begins and ends with the source's. Raises OutputError, and says what differs."""
    wanted = [one for one in carried if one.kind in _PROVED and one.how != "drop" and one.codec != "tag"]
    if not wanted:
        return
    with av.open(str(source), metadata_errors="replace") as container:
        before = _extents(container, {one.index for one in wanted}, window)
    with av.open(str(path)) as container:
        main = next(stream.index for stream in container.streams.video if not is_cover(stream))
        after = _extents(
            container, {stream.index for stream in container.streams if stream.index != main}, (None, None)
        )
        found = {kind: _indices(container, kind, main) for kind in _PROVED}
    for one in wanted:
        if not found[one.kind]:
            raise OutputError(f"{named}: proof failed: {one.name} is missing; try --format mkv")
        fault = _difference(one, before[one.index], after[found[one.kind].pop(0)], shift)
        if fault is not None:
            raise OutputError(f"{named}: proof failed: {one.name} {fault}; try --format mkv")


def _difference(one: Carried, before: Extent, after: Extent, shift: Fraction) -> str | None:
    if before.first is None or before.end is None or before.last is None:
        return None  # nothing in the window
    if after.first is None or after.end is None or after.last is None:
        return "is empty"
    if one.how == "convert" and one.kind == "subtitle":
        return None  # lines that overlap become one
    near = (_COPIED if one.how == "copy" else _CONVERTED) + before.tick + after.tick
    if abs(after.first - (before.first - shift)) > near and not before.hidden:
        return f"begins at {float(after.first):.3f} s instead of {float(before.first - shift):.3f} s"
    if one.how == "copy" and not before.packets - before.hidden <= after.packets <= before.packets:
        return f"has {after.packets} packets instead of {before.packets}"
    pair = (after.last, before.last) if one.how == "copy" else (after.end, before.end)
    if abs(pair[0] - (pair[1] - shift)) > near:
        return f"ends at {float(pair[0]):.3f} s instead of {float(pair[1] - shift):.3f} s"
    return None


def _extents(container: InputContainer, indices: Iterable[int], window: Window) -> dict[int, Extent]:
    streams = [container.streams[index] for index in indices]
    found = {stream.index: Extent(stream.time_base or Fraction(1)) for stream in streams}
    try:
        for packet in container.demux(streams) if streams else ():
            if packet.pts is None or _is_gap(packet) or not inside(packet.pts * packet.time_base, window):
                continue
            found[packet.stream.index].add(packet.pts, packet.duration or 0)
            found[packet.stream.index].hidden += packet.is_discard
    except FFmpegError:
        pass  # a source that ends in the middle of something
    return found


def _indices(container: InputContainer, kind: str, main: int) -> list[int]:
    return [
        stream.index
        for stream in container.streams
        if stream.type == kind and stream.index != main and not is_cover(stream)
    ]


def _is_gap(packet: Packet) -> bool:
    """MP4 fills the time between subtitles with empty ones, of two bytes that say so."""
    return packet.stream.type == "subtitle" and packet.size <= 2
