"""FFmpeg's filters for frames."""

from collections.abc import Iterator

import av
from av.error import BlockingIOError as NotYetError
from av.error import EOFError as EndError
from av.filter import Graph
from av.video.stream import VideoStream


def deinterlaced(frames: Iterator[av.VideoFrame], stream: VideoStream, which: str) -> Iterator[av.VideoFrame]:
    """One whole frame for each, by bwdif; `which`: "all", or only those that say that they are "interlaced"."""
    graph = filter_graph(stream, "bwdif", f"mode=send_frame:parity=auto:deint={which}")
    for frame in frames:
        graph.vpush(frame)
        yield from _pulled(graph)
    graph.vpush(None)
    yield from _pulled(graph)


def filter_graph(stream: VideoStream, name: str, how: str | None = None) -> Graph:
    """One of FFmpeg's filters, for the stream's frames."""
    graph = Graph()
    nodes = graph.add_buffer(template=stream, time_base=stream.time_base), graph.add(name, how), graph.add("buffersink")
    graph.link_nodes(*nodes).configure()
    return graph


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (NotYetError, EndError):
            return
