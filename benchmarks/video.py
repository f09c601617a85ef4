"""Frames a second of `upscale in.mp4`, from process start to finished file, against a plain loop as Real-ESRGAN's.

    python benchmarks/video.py                                   # ../shared's clip of a walk at 640×360, ×2 and ×4
    python benchmarks/video.py --peer FOLDER                     # with Real-ESRGAN's own code for the network's part
    python benchmarks/video.py --device cuda --frames 300        # on a GPU
    python benchmarks/video.py --memory                          # peak memory for 10 seconds and for 10 minutes

The plain loop takes one frame after another: decoded to BGR, the whole of it through the network as
Real-ESRGAN's inference_realesrgan_video.py does (fp32; half on CUDA), rounded to 8 bits, resized by OpenCV where another scale
is asked for, encoded. Both write with libx264, crf 17, preset medium, as many threads, no sound. Theirs pipes frames to FFmpeg
processes, which work beside the network: `network alone` tells what the loop would reach if all else cost it nothing.

`pip install --no-deps --target FOLDER realesrgan==0.3.0` gives their code. The one name that it takes from basicsr is a
download it does not use here, so basicsr itself is not needed. The network is ours (upscale/nets/compact.py), the same arithmetic.
"""

# PyAV and torch leave some parameters untyped:
# pyright: reportUnknownMemberType=false

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace, Interpolation
from common import ROOT, median, psnr, save, table
from memory import proportional, tree

from upscale import zoo
from upscale.image import Array
from upscale.media.video.codecs import threads

CLIP = ROOT.parent / "shared" / "data" / "clips" / "gopro_max_walk_848x480.mp4"
MODEL = "animevideov3"
CRF, PRESET = "17", "medium"

_BT709 = 1
_LENGTHS = (10, 600)
"""Seconds of the clips for --memory."""

Enhance = Callable[[Array, int], Array]
"""uint8 BGR (H, W, 3) and a scale → the enlarged picture."""


@dataclass
class Way:
    """One of the commands that are compared, and what was seen of it: lists over its runs."""

    name: str
    scale: int
    command: list[str]
    result: Path
    seconds: list[float] = field(default_factory=list[float])
    first: list[float] = field(default_factory=list[float])
    """Seconds of whole runs on a clip of one frame."""
    work: list[float] = field(default_factory=list[float])
    """Processor seconds, of all cores, for each frame after the first: what other work on the machine changes least."""
    peaks: list[int] = field(default_factory=list[int])
    busy: list[dict[str, float]] = field(default_factory=list[dict[str, float]])


def main() -> None:
    options = _options()
    if options.plain:
        print(json.dumps(plain(options.clip, options.plain, options.scale, options.device, options.peer)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.memory:
            rows = [memory(Path(folder), seconds) for seconds in _LENGTHS]
            growth = rows[-1]["peak memory, MB"] / rows[0]["peak memory, MB"] - 1
            print(table(rows) + f"\n\nthe longer one needs {growth:+.1%}")
            save("video-memory", rows, note=options.note, growth=round(growth, 3))
        else:
            speed(Path(folder), options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, default=CLIP, help="made from noise where it is not there")
    parser.add_argument("--size", default="640x360", help="that the clip is shrunk to")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60, help="no further repetition where it would take longer")
    parser.add_argument("--scales", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peer", type=Path, help="where `realesrgan` was installed to")
    parser.add_argument("--note", default="", help="kept with the figures, such as what else the machine did")
    parser.add_argument("--memory", action="store_true", help="memory in place of speed")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)  # the plain loop in a process of its own
    parser.add_argument("--scale", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


# Both ways on one clip


def speed(folder: Path, options: argparse.Namespace) -> None:
    size = tuple(int(side) for side in options.size.split("x"))
    clip, single = folder / "clip.mp4", folder / "single.mp4"
    frames = write(clip, pictures(options.clip, size), options.frames)
    write(single, pictures(options.clip, size), 1)
    ways = [way for scale in options.scales for way in _ways(folder, scale, options)]
    began, repeats = time.perf_counter(), 0
    while repeats < options.repeats:
        for way in ways:
            alone, seen = run(way, single), run(way, clip)
            way.first.append(alone.seconds)
            way.seconds.append(seen.seconds)
            way.work.append((seen.work - alone.work) / max(1, frames - 1))
            way.peaks.append(seen.peak)
            way.busy.append(seen.record["video"]["busy"])
            print(f"×{way.scale} {way.name}: {seen.seconds:.1f} s", file=sys.stderr, flush=True)
        repeats += 1
        if (time.perf_counter() - began) * (1 + 1 / repeats) > 60 * options.minutes:
            break
    rows = [row for scale in options.scales for row in compared([w for w in ways if w.scale == scale], frames)]
    print(f"{MODEL}, {frames} frames of {options.size}, {repeats} runs each, medians")
    print(table(rows))
    clip_name = options.clip.name if options.clip.is_file() else "moving noise"
    facts = {"clip": clip_name, "size": options.size, "frames": frames, "repeats": repeats}
    facts |= {"note": options.note, "load": os.getloadavg(), "threads": threads()}
    save("video" if options.device == "cpu" else f"video-{options.device}", rows, **facts)


def _ways(folder: Path, scale: int, options: argparse.Namespace) -> list[Way]:
    ours = [sys.executable, "-m", "upscale", "--model", MODEL, "--scale", str(scale), "--device", options.device]
    ours += ["--codec", "h264", "--crf", CRF, "--preset", PRESET, "--json", "--overwrite", "-q"]
    theirs = [sys.executable, __file__, "--scale", str(scale), "--device", options.device]
    theirs += ["--peer", str(options.peer)] if options.peer else []
    name = "plain loop, Real-ESRGAN's code" if options.peer else "plain loop in Real-ESRGAN's manner"
    return [
        Way("upscale", scale, ours, folder / f"ours_{scale}.mp4"),
        Way(name, scale, theirs, folder / f"plain_{scale}.mp4"),
        Way("upscale --no-color-fix", scale, [*ours, "--no-color-fix"], folder / f"bare_{scale}.mp4"),
    ]


def run(way: Way, clip: Path) -> "Seen":
    files = ["--clip", clip, "--plain", way.result] if "--json" not in way.command else [clip, "-o", way.result]
    return watched([*way.command, *map(str, files)], every=0.25)


class Seen(NamedTuple):
    """Of one run: seconds by the clock, seconds of processor, peak memory in bytes, and the record that it printed."""

    seconds: float
    work: float
    peak: int
    record: dict[str, Any]


def watched(command: list[str], every: float) -> Seen:
    """A command from start to end; the memory of all its processes is looked at `every` so many seconds."""
    start, before, peak = time.perf_counter(), _processor(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        while True:
            try:
                child.wait(every)
                break
            except subprocess.TimeoutExpired:
                peak = max(peak, sum(proportional(number) for number in tree(child.pid)))
        seconds, output = time.perf_counter() - start, child.stdout.read() if child.stdout else ""
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {child.returncode}")
    return Seen(seconds, _processor() - before, peak, json.loads(output))


def _processor() -> float:
    """Seconds that finished child processes have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compared(ways: list[Way], frames: int) -> list[dict[str, Any]]:
    """A row for each way at one scale; the second is the plain loop."""
    base = ways[1]
    return [
        {
            "scale": way.scale,
            "way": way.name,
            "frames/s": round(frames / median(way.seconds), 3),
            "times plain": round(median(base.seconds) / median(way.seconds), 2),
            "frames/s after the first": _later(way, frames),
            "times plain after the first": round(_later(way, frames) / _later(base, frames), 2),
            "processor seconds for each of those": round(median(way.work), 2),
            "start to a file of one frame, s": round(median(way.first), 2),
            **{f"{stage}, share": round(share, 3) for stage, share in _shares(way).items()},
            "network alone, frames/s": round(frames / median([busy["network"] for busy in way.busy]), 3),
            "peak memory, GB": round(max(way.peaks) / 1e9, 2),
            "PSNR to plain, dB": None if way is base else likeness(way.result, base.result, frames),
        }
        for way in ways
    ]


def _later(way: Way, frames: int) -> float:
    """Frames a second without what a process needs before its first and after its last one."""
    return round((frames - 1) / max(1e-9, median(way.seconds) - median(way.first)), 3)


def _shares(way: Way) -> dict[str, float]:
    """Of a whole run's seconds, those that a stage was at work."""
    taken = median(way.seconds)
    return {stage: median([busy[stage] for busy in way.busy]) / taken for stage in ("decode", "network", "encode")}


def likeness(result: Path, reference: Path, frames: int) -> float:
    """PSNR of luma over all frames in dB. Both must have as many as the source."""
    pairs = list(zip(_luma(result), _luma(reference), strict=True))
    if len(pairs) != frames:
        raise SystemExit(f"{result.name} has {len(pairs)} frames, not {frames}")
    return round(psnr(*(np.stack(luma) for luma in zip(*pairs, strict=True))), 2)


def _luma(path: Path) -> Iterator[Array]:
    with av.open(path) as file:
        for frame in file.decode(video=0):
            yield (frame.to_ndarray()[: frame.height].astype(np.float32) - 16) / 219


# The plain loop


def plain(clip: Path, target: Path, scale: int, device: str, peer: Path | None) -> dict[str, Any]:
    """Enlarges a clip frame by frame, and gives the seconds of each step, named as in the command's record."""
    enhance = _peers(peer, device) if peer else _own(device)
    busy, clock = {"decode": 0.0, "network": 0.0, "encode": 0.0}, time.perf_counter()

    def spent(stage: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        busy[stage] += now - clock
        clock = now

    with av.open(clip) as source, av.open(target, "w") as output:
        given = source.streams.video[0]
        stream = _h264(output, (given.width * scale, given.height * scale), given.average_rate or Fraction(25), CRF)
        for frame in source.decode(given):
            bgr = frame.to_ndarray(format="bgr24", src_colorspace=Colorspace.ITU709)
            spent("decode")
            larger = enhance(bgr, scale)
            spent("network")
            new = _coded(av.VideoFrame.from_ndarray(larger, format="bgr24"))
            new.pts, new.time_base = frame.pts, frame.time_base
            output.mux(stream.encode(new))
            spent("encode")
        output.mux(stream.encode())
    spent("encode")
    return {"video": {"busy": busy}}


def _own(device: str) -> Enhance:
    """What Real-ESRGAN's `enhance` does to a video's frame, written anew."""
    import torch

    network, half = _network().eval().to(device), device != "cpu"
    network = network.half() if half else network

    @torch.no_grad()
    def enhance(bgr: Array, scale: int) -> Array:
        rgb = cv2.cvtColor(bgr.astype(np.float32) / 255, cv2.COLOR_BGR2RGB)
        x = torch.from_numpy(np.transpose(rgb, (2, 0, 1))).unsqueeze(0).to(device)
        y = network(x.half() if half else x).squeeze().float().cpu().clamp_(0, 1).numpy()
        result = (np.transpose(y[[2, 1, 0]], (1, 2, 0)) * 255).round().astype(np.uint8)
        sides = bgr.shape[1] * scale, bgr.shape[0] * scale
        if result.shape[1::-1] != sides:
            result = cv2.resize(result, sides, interpolation=cv2.INTER_LANCZOS4)
        return np.asarray(result, np.uint8)

    return enhance


def _peers(folder: Path, device: str) -> Enhance:
    """Real-ESRGAN's own. It wants its weights in a file."""
    import importlib.util

    import torch

    stand_in: Any = ModuleType("basicsr.utils.download_util")
    stand_in.load_file_from_url = None
    sys.modules |= dict.fromkeys(("basicsr", "basicsr.utils"), ModuleType("basicsr")) | {stand_in.__name__: stand_in}
    found = importlib.util.spec_from_file_location("realesrgan_utils", folder / "realesrgan" / "utils.py")
    if found is None or found.loader is None:
        raise SystemExit(f"{folder}: no realesrgan; pip install --no-deps --target {folder} realesrgan==0.3.0")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    network = _network()
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save({"params": network.state_dict()}, file.name)
        half, scale = device != "cpu", network.spec.scale
        made = module.RealESRGANer(
            scale, file.name, model=network, tile=0, pre_pad=0, half=half, device=torch.device(device)
        )
    return lambda bgr, scale: made.enhance(bgr, outscale=scale)[0]


def _network() -> Any:
    import torch

    from upscale.nets import build

    checkpoint = zoo.load(MODEL)
    network = build(checkpoint.spec)
    network.load_state_dict({key: torch.tensor(value) for key, value in checkpoint.arrays.items()})
    return network


# Clips


def pictures(clip: Path, size: tuple[int, ...]) -> Iterator[av.VideoFrame]:
    """A file's frames shrunk to `size` (width, height), or noise that moves."""
    if clip.is_file():
        with av.open(clip) as file:
            for frame in file.decode(video=0):
                yield _coded(frame, size)
        return
    rng, (width, height) = np.random.default_rng(0), size
    coarse = rng.integers(0, 256, (height // 6, width // 6, 3), np.uint8)
    large = cv2.resize(coarse, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC)
    for index in range(300):
        shift = np.array([[1, 0, -1.3 * index], [0, 1, -0.7 * index]], np.float32)
        moved = np.asarray(cv2.warpAffine(large, shift, (width, height)), np.uint8)
        yield _coded(av.VideoFrame.from_ndarray(moved, format="rgb24"))


def _coded(frame: av.VideoFrame, size: tuple[int, ...] | None = None) -> av.VideoFrame:
    """As BT.709 of limited range, as every clip here says that it is."""
    width, height = size or (frame.width, frame.height)
    return frame.reformat(width, height, "yuv420p", dst_colorspace=Colorspace.ITU709, interpolation=Interpolation.AREA)


def write(path: Path, frames: Iterator[av.VideoFrame], count: int) -> int:
    """An H.264 file of at most `count` frames; how many it has."""
    with av.open(path, "w") as output:
        stream, rate, written = None, Fraction(30000, 1001), 0
        for frame in frames:
            stream = stream or _h264(output, (frame.width, frame.height), rate, "12")
            frame.pts, frame.time_base = written, 1 / rate
            output.mux(stream.encode(frame))
            written += 1
            if written == count:
                break
        if stream:
            output.mux(stream.encode())
    return written


def _h264(output: Any, size: tuple[int, int], rate: Fraction, crf: str) -> Any:
    stream = output.add_stream("libx264", rate=rate, options={"crf": crf, "preset": PRESET})
    stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
    context = stream.codec_context
    context.thread_count, context.color_range = threads(), 1
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    return stream


# Memory


def memory(folder: Path, seconds: int) -> dict[str, Any]:
    """Peak memory of the command for a generated clip of that length: 64×48 at 24 frames a second, no network."""
    clip, noise = folder / "clip.mkv", np.random.default_rng(0).integers(0, 256, (48, 128), np.uint8)
    with av.open(clip, "w") as output:
        stream = output.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
        for index in range(seconds * 24):
            picture = np.roll(noise, index, axis=1)[:, :64]
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="gray")))
        output.mux(stream.encode())
    command = [sys.executable, "-m", "upscale", clip, "-o", folder / "large.mkv", "--overwrite", "--strength", 0]
    options = ["--scale", 2, "--model", MODEL, "--device", "cpu", "--json", "-q"]
    seen = watched([str(part) for part in (*command, *options)], every=0.05)
    return {
        "seconds of video": seconds,
        "frames": seen.record["frames"],
        "peak memory, MB": round(seen.peak / 1e6, 1),
        "took, s": round(seen.seconds, 1),
    }


if __name__ == "__main__":
    main()
