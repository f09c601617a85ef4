"""Do details move with the picture? Two small RRDBNets, alike but for their upsampling, trained alike, on sub-pixel pans.

    python benchmarks/equivariance.py [--steps 300] [--data ../shared/data]

Both begin with the same weights, see the same patches (pictures halved twice by a Gaussian and a cubic) and minimize L1.
Then pictures of val are moved by up to one pixel in Fourier space, which moves every frequency alike:

equivariance  PSNR of network(move(x)) against move(network(x)), peak 1, over the middle of the pictures, in dB: how far
              details are from moving with the picture (EQ-T of Karras et al. 2021, arXiv:2106.12423, section 3)
PSNR          to the truth, of pictures that were not moved
"""

import argparse
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from common import ROOT, picture, save, table

from upscale.image import Floats
from upscale.nets import Network, build
from upscale.spec import ModelSpec, Upsampling

SCALE, PATCH, BATCH, RATE = 4, 24, 4, 2e-3
SIDE, RIM, MOVES = 96, 24, 3
"""Pixels of the judged input, of its rim that does not count, and moves of each picture."""

Pair = tuple[Floats, Floats]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, val = pairs(options.data / "train", 60), pairs(options.data / "val", 8)
    rows = [row(upsampling, options.steps, train, val) for upsampling in ("nearest", "alias-free")]
    gain = rows[1]["equivariance dB"] - rows[0]["equivariance dB"]
    print(table(rows), f"\nalias-free moves with the picture {gain:.1f} dB better")
    save("equivariance", rows, steps=options.steps, batch=BATCH, patch=PATCH, gain_db=round(gain, 2))


def row(upsampling: Upsampling, steps: int, train: list[Pair], val: list[Pair]) -> dict[str, Any]:
    start = time.perf_counter()
    network = trained(ModelSpec(upsampling, "rrdb", SCALE, 16, 8, 2, upsampling=upsampling), steps, train)
    seconds = time.perf_counter() - start
    equivariance, truth = judged(network, val)
    return {
        "upsampling": upsampling,
        "equivariance dB": round(equivariance, 2),
        "PSNR dB": round(truth, 2),
        "training s": round(seconds),
    }


def pairs(folder: Path, count: int) -> list[Pair]:
    """The first pictures of a folder and what they look like at a quarter of their size."""
    found: list[Pair] = []
    for path in sorted(folder.glob("*.webp"))[:count]:
        large = picture(path)
        height, width = (side // SCALE * SCALE for side in large.shape[:2])
        large = large[:height, :width]
        blurred = cv2.GaussianBlur(large, (0, 0), 0.4 * SCALE)
        small = cv2.resize(blurred, (width // SCALE, height // SCALE), interpolation=cv2.INTER_CUBIC)
        if min(small.shape[:2]) >= SIDE // 2:
            found.append((np.asarray(small, np.float32), large))
    return found


def trained(spec: ModelSpec, steps: int, train: list[Pair]) -> Network:
    network = build(spec)
    chance = torch.Generator().manual_seed(0)
    for value in network.parameters():
        bound = (3 / value[0].numel()) ** 0.5 * 0.6 if value.ndim == 4 else 0.0
        torch.nn.init.uniform_(value, -bound, bound, generator=chance)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, cycle_momentum=False)
    for step in range(steps):
        small, large = batch(train, np.random.default_rng([0, step]))
        optimizer.zero_grad()
        F.l1_loss(network(small), large).backward()
        optimizer.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def batch(train: list[Pair], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    chosen: list[Pair] = []
    for _ in range(BATCH):
        small, large = train[rng.integers(len(train))]
        y, x = (int(rng.integers(side - PATCH + 1)) for side in small.shape[:2])
        end_y, end_x = y + PATCH, x + PATCH
        chosen.append((small[y:end_y, x:end_x], large[y * SCALE : end_y * SCALE, x * SCALE : end_x * SCALE]))
    small, large = (torch.tensor(np.stack(side)).permute(0, 3, 1, 2).contiguous() for side in zip(*chosen, strict=True))
    return small, large


def judged(network: Network, val: list[Pair]) -> tuple[float, float]:
    rng = np.random.default_rng(5)
    moved_errors: list[float] = []
    errors: list[float] = []
    rim = slice(RIM * SCALE, -RIM * SCALE)
    for whole, truth in val:
        small = whole[:SIDE, :SIDE]
        large = run(network, small)
        errors.append(float(np.mean((large - truth[: large.shape[0], : large.shape[1]]) ** 2)))
        for _ in range(MOVES):
            dy, dx = rng.uniform(-1, 1, 2)
            difference = run(network, moved(small, dy, dx)) - moved(large, dy * SCALE, dx * SCALE)
            moved_errors.append(float(np.mean(difference[rim, rim] ** 2)))
    return -10 * np.log10(np.mean(moved_errors)), -10 * np.log10(np.mean(errors))


def run(network: Network, x: Floats) -> Floats:
    planes = torch.tensor(np.ascontiguousarray(x)).permute(2, 0, 1)[None]
    return network(planes)[0].permute(1, 2, 0).numpy()


def moved(x: Floats, dy: float, dx: float) -> Floats:
    """Moved down and right by pixels, in Fourier space, mirrored beyond the rim."""
    around = np.pad(x, ((32, 32), (32, 32), (0, 0)), mode="reflect")
    down, right = np.fft.fftfreq(around.shape[0])[:, None, None], np.fft.fftfreq(around.shape[1])[None, :, None]
    turned = np.fft.fft2(around, axes=(0, 1)) * np.exp(-2j * np.pi * (down * dy + right * dx))
    return np.fft.ifft2(turned, axes=(0, 1)).real[32:-32, 32:-32].astype(np.float32)


if __name__ == "__main__":
    main()
