"""Whether a container takes a stream as it is: tried on a throw-away file with one packet, which must be read back as the same."""

# PyAV leaves some parameters untyped:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import io
from collections.abc import Collection
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.stream import Stream

from upscale.media.video.stream_tags import Packet

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""FFmpeg's usual layout for each number of channels."""

_MOST_PACKETS = 4000


def add_copy(out: OutputContainer, source: Stream) -> Stream:
    """A new stream for the packets of `source`. Raises FFmpegError or ValueError where the container does not know the codec."""
    added = out.add_stream_from_template(source, opaque=True)
    if isinstance(source, AudioStream) and isinstance(added, AudioStream):
        channels = source.layout.nb_channels
        # Matroska does not say where PCM's channels belong, and MP4 must know.
        if source.layout.name == f"{channels} channels" and channels in LAYOUTS:
            added.codec_context.layout = LAYOUTS[channels]
    added.disposition = source.disposition
    return added


def takes(stream: Stream, format_: str, sample: bytes | None = None) -> bool:
    """Whether FFmpeg's muxer `format_` writes `stream`, and the result holds the same codec. `sample`: one of its packets."""
    body = io.BytesIO()
    try:
        with av.open(body, "w", format=format_) as out:
            out.mux(_packet(add_copy(out, stream), sample or bytes(8)))
        body.seek(0)
        with av.open(body, "r", metadata_errors="replace") as again:
            return any(_alike(one, stream) for one in again.streams)
    except (FFmpegError, ValueError):
        return False


def samples(path: str, wanted: Collection[int]) -> dict[int, bytes]:
    """The first packet of each stream in `wanted`, by index; without those that come late."""
    found: dict[int, bytes] = {}
    if not wanted:
        return found
    with av.open(path, metadata_errors="replace") as source:
        for number, packet in enumerate(source.demux([source.streams[index] for index in sorted(wanted)])):
            if packet.size:
                found.setdefault(packet.stream.index, bytes(packet))
            if len(found) == len(wanted) or number > _MOST_PACKETS:
                break
    return found


def _alike(one: Stream, other: Stream) -> bool:
    names = [
        stream.codec_context.codec.canonical_name if stream.codec_context else stream.name for stream in (one, other)
    ]
    return one.type == other.type and names[0] == names[1]


def _packet(stream: Stream, body: bytes) -> Packet:
    packet = av.Packet(body)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = 0
    packet.duration, packet.is_keyframe = 20, True
    return packet
