"""Our way against the plain Real-ESRGAN way: the same RRDBNet in fp32 torch, whole and in 512-pixel tiles with pad 10.

Same picture, one run, alternating; seconds of the network alone, models loaded and graphs compiled before, and PSNR to the
plain fp32 whole. `--start` measures whole processes as well: from start to file, against a bare `import torch`.

    python benchmarks/speed.py                          # 128×128, x4plus
    python benchmarks/speed.py --width 700 --height 600 --repeats 1      # more than one 512-pixel tile
    python benchmarks/speed.py --device cuda --width 960 --height 540    # on a GPU
"""

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import PICTURE, alternate, by_hand, median, picture, psnr, save, table

from upscale import zoo
from upscale.bands import Plan
from upscale.checkpoint import Checkpoint
from upscale.engines import Engine
from upscale.engines.choose import Wish, choose
from upscale.image import Floats, to_float
from upscale.nets import build
from upscale.stages import total_macs

TILE, TILE_PAD = 512, 10  # Real-ESRGAN's own pad


def main() -> None:
    options = _options()
    checkpoint = zoo.load(options.model)
    pixels = picture(Path(options.picture), options.width, options.height)
    engine = choose(checkpoint, Wish(device=options.device, engine=options.engine, precision=options.precision)).engine
    plain = _plain_network(checkpoint, engine.device)
    ways = {
        "plain fp32, whole": partial(_plain_whole, plain, pixels),
        "plain fp32, 512-pixel tiles": partial(_plain_tiles, plain, pixels),
        f"upscale, {engine.name} {engine.precision}": partial(_ours, engine, pixels),
    }
    if engine.name == "openvino" and checkpoint.spec.arch == "rrdb":
        ways["openvino by hand, bf16"] = by_hand(checkpoint, pixels, "bf16")
    if options.fp32:
        exact = choose(checkpoint, Wish(device=options.device, engine=options.engine, precision="fp32")).engine
        ways[f"upscale, {exact.name} fp32"] = partial(_ours, exact, pixels)
    seconds = alternate(ways, options.repeats)
    reference = _plain_whole(plain, pixels)
    base = median(seconds["plain fp32, whole"])
    operations = 2 * total_macs(checkpoint.spec) * pixels.shape[0] * pixels.shape[1] / checkpoint.spec.unshuffle**2
    rows: list[dict[str, Any]] = []
    for name, way in ways.items():
        taken = median(seconds[name])
        rows.append(
            {
                "way": name,
                "seconds": round(taken, 3),
                "times faster": round(base / taken, 2),
                "TFLOP/s": round(operations / taken / 1e12, 3),
                "PSNR to plain fp32 whole, dB": round(psnr(way(), reference), 1),
            }
        )
    limit = _limit(engine.device)
    size = f"{pixels.shape[1]}×{pixels.shape[0]}"
    print(f"{options.model}, {size}, {options.repeats} runs each, medians")
    print(table(rows))
    print("a large matrix product here: " + ", ".join(f"{name} {value:.3f} TFLOP/s" for name, value in limit.items()))
    facts = {"model": options.model, "size": size, "matrix_product_tflops": limit, "torch": torch.__version__}
    if options.start:
        facts["process"] = _processes(options.picture)
        print(facts["process"])
    save(f"speed-{options.model}-{size.replace('×', 'x')}-{engine.device}", rows, **facts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", default=str(PICTURE))
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--model", default="x4plus")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--fp32", action="store_true", help="our fp32 as well")
    parser.add_argument("--start", action="store_true", help="whole processes as well")
    return parser.parse_args()


def _plain_network(checkpoint: Checkpoint, device: str) -> torch.nn.Module:
    network = build(checkpoint.spec).eval()
    network.load_state_dict({key: torch.tensor(value) for key, value in checkpoint.arrays.items()})
    return network.to(device)


def _plain_whole(network: torch.nn.Module, pixels: Floats) -> Floats:
    device = next(network.parameters()).device
    with torch.inference_mode():
        x = torch.as_tensor(pixels).permute(2, 0, 1).unsqueeze(0).contiguous().to(device)
        return network(x)[0].clamp(0, 1).permute(1, 2, 0).cpu().numpy()


def _plain_tiles(network: torch.nn.Module, pixels: Floats) -> Floats:
    height, width = pixels.shape[:2]
    scale = network.spec.scale
    result = np.empty((height * scale, width * scale, 3), np.float32)
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            top, left = max(0, y - TILE_PAD), max(0, x - TILE_PAD)
            bottom, right = min(height, y + TILE + TILE_PAD), min(width, x + TILE + TILE_PAD)
            tile = _plain_whole(network, pixels[top:bottom, left:right])
            h, w = min(TILE, height - y) * scale, min(TILE, width - x) * scale
            inner = tile[(y - top) * scale :, (x - left) * scale :][:h, :w]
            result[y * scale : y * scale + h, x * scale : x * scale + w] = inner
    return result


def _ours(engine: Engine, pixels: Floats) -> Floats:
    """The engine alone, without padding, so that all ways compute the same picture."""
    height, width = pixels.shape[:2]
    bands = engine.run(iter([pixels]), width, height, Plan(height, 32), np.uint8)
    return to_float(np.concatenate(list(bands)))


def _limit(device: str) -> dict[str, float]:
    """What a large matrix product reaches on this device, in TFLOP/s."""
    found: dict[str, float] = {}
    n = 2048 if device == "cpu" else 8192
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.randn(n, n, dtype=torch.float32).to(device, dtype)

        def product(a: torch.Tensor = a) -> None:
            (a @ a).sum().item()

        found[name] = round(2 * n**3 / min(alternate({"product": product}, 5)["product"]) / 1e12, 3)
    return found


def _processes(source: str) -> dict[str, float]:
    """Medians of whole processes, from start to file, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.png"
        from PIL import Image

        Image.open(source).convert("RGB").crop((0, 0, 128, 128)).save(small)
        job = [sys.executable, "-m", "upscale", str(small), "--overwrite", "-q"]
        bare = [sys.executable, "-c", "import torch"]
        ways = {"start to file, 128×128": job, "import torch": bare}
        seconds = alternate({name: partial(subprocess.run, command, check=True) for name, command in ways.items()}, 5)
    return {name: round(median(values), 2) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
