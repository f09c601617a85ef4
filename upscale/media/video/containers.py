"""Which containers are written, and what each can carry. Needs no FFmpeg, since names of results are made of it."""

from dataclasses import dataclass
from pathlib import Path

from upscale.wishes import CodecName


@dataclass(frozen=True, slots=True)
class Container:
    """`muxer`: FFmpeg's name. `codecs`: what it can carry, the default for 8 bits first; `deep` the one for more bits, `alpha`
    the one for transparency. `shape`: whether it is told the shape of pixels (PyAV does not let us tell Matroska)."""

    name: str
    suffix: str
    muxer: str
    codecs: tuple[CodecName, ...]
    deep: CodecName
    alpha: CodecName | None
    shape: bool = False


MP4 = Container("MP4", ".mp4", "mp4", ("h264", "hevc", "av1", "vp9", "ffv1"), "hevc", None, shape=True)
MOV = Container("MOV", ".mov", "mov", ("h264", "hevc", "prores"), "hevc", "prores", shape=True)
MKV = Container("Matroska", ".mkv", "matroska", ("h264", "hevc", "av1", "vp9", "prores", "ffv1"), "hevc", "ffv1")
WEBM = Container("WebM", ".webm", "webm", ("vp9", "av1"), "av1", None)

CONTAINERS = {container.suffix: container for container in (MP4, MOV, MKV, WEBM)} | {".m4v": MP4}


def result_suffix(suffix: str, wanted: Container | None, codec: CodecName | None) -> str:
    """What a result is called whose source is called `suffix`: as `wanted`; else as the source where such a container is
    written and carries the codec; else Matroska, which carries all."""
    if wanted is not None:
        return wanted.suffix
    own = CONTAINERS.get(suffix.lower())
    return suffix if own is not None and (codec is None or codec in own.codecs) else MKV.suffix


def container_of(path: Path) -> Container | None:
    return CONTAINERS.get(path.suffix.lower())
