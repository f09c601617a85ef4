"""Learns `upscale_training/imitate/guess.npz`: statistics of a picture → its noise and blur, on spoiled training pictures.

    python benchmarks/imitate_train.py ../shared/data/train        # 3232 pictures, some 5 minutes on two cores

Chains are drawn from the same families as the benchmark's (imitate_chains.py), with other seeds and other pictures; the
benchmark's pictures (data/val) are never seen. The grid and the JPEG quality are taken as known here (as they are where they
are found), and left out for a share of the chains, as happens where they are not.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from imitate_chains import Chain, Levels, applied, draw, original
from torch import Tensor, nn

from upscale_training.imitate import guess as guessing
from upscale_training.imitate.guess import BLUR_KNEE, COLOR_TO_LUMA, NOISE_KNEE, OUTPUTS, guess, together
from upscale_training.imitate.resizing import undone
from upscale_training.imitate.statistics import LIKELIEST, Known, statistics

PICTURES_PER_CHAIN = 4
KERNELS = {"linear": "linear", "cubic": "cubic", "bicubic+": "bicubic", "lanczos+": "lanczos"}
SEED = 20
WIDTH, MEMBERS = 64, 4


def prepared(path: Path, chance: np.random.Generator) -> Levels:
    """A training picture, half of them shrunk (their WebP chroma is coarse), at most 672 × 512."""
    levels = original(path)
    if chance.random() < 0.5:
        factor = chance.uniform(0.6, 1)
        levels = cv2.resize(levels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    top, left = (
        int(chance.integers(0, max(1, side - most))) for side, most in zip(levels.shape, (512, 672), strict=False)
    )
    return levels[top : top + 512, left : left + 672]


def known(levels: Levels, before: tuple[int, int], chain: Chain, seen: bool) -> tuple[Levels, Known]:
    """What the search for grid and quality would hand on: the aligned picture and what is known of it."""
    if chain.later is None:
        return levels, Known(chain.quality, chain.subsampling if chain.quality else None)
    if not seen:
        return levels, Known(chain.saved, "4:2:0" if chain.saved else None)
    whole = chain.saved is None and chain.later > 1
    aligned = undone(levels, KERNELS[chain.later_kernel] if whole else "cubic", *before)
    return aligned, Known(
        chain.quality if whole else None, chain.subsampling if whole else None, levels.shape[1] / before[1]
    )


def example(paths: list[Path], number: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Statistics (pictures, n) and targets (pictures, 6): luma σ, color, blur σ, correlation σ, quality (0: no JPEG), later."""
    chance = np.random.default_rng([SEED, number])
    chain = draw(chance, correlated=0.15)
    rows: list[npt.NDArray[np.float64]] = []
    for place in chance.integers(0, len(paths), PICTURES_PER_CHAIN):
        levels = prepared(paths[int(place)], chance)
        before = tuple(round(side / chain.scale) for side in levels.shape[:2])
        spoiled, _ = applied(levels, chain, chance)
        rows.append(statistics(*known(spoiled, (before[0], before[1]), chain, chance.random() < 0.8)))
    luma = chain.noise * (0.669 if chain.color else 1)
    target = [luma, chain.color, chain.seen_blur, chain.correlation, chain.quality or 0, chain.later or 1]
    return np.array(rows, np.float32), np.array([target] * len(rows), np.float32)


def collect(folder: Path, chains: int, cache: Path) -> None:
    """Statistics of `chains` spoiled sets, kept in `cache` (.npz)."""
    cv2.setNumThreads(1)
    paths = sorted(folder.glob("*.webp"))
    with ProcessPoolExecutor(2) as pool:
        made = list(pool.map(partial(example, paths), range(chains), chunksize=8))
    np.savez(cache, seen=np.stack([rows for rows, _ in made]), wanted=np.stack([targets for _, targets in made]))


def wanted(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Targets (n, 6) → means (n, 4) in the networks' units, and color (n,): -1 where there is too little noise to tell."""
    noise, color, blur, correlation, quality = targets[:, :5].unbind(1)
    correlation = torch.where(noise > 1, correlation, torch.nan)
    quality = torch.where(quality > 0, quality / 100, torch.nan)
    means = torch.stack([(noise + NOISE_KNEE).log(), (blur + BLUR_KNEE).log(), correlation, quality], 1)
    return means, torch.where(noise > 1, color, -1)


def loss(outputs: Tensor, means: Tensor, color: Tensor) -> Tensor:
    """Negative log likelihood under Laplace's distribution (less moved by hopeless pictures than Gauss's)."""
    value, doubt = outputs[:, 0:8:2], outputs[:, 1:8:2].clamp(-4.5, 1.5)
    there = ~means.isnan()
    off = torch.where(there, (value - means.nan_to_num()).abs(), 0)
    likelihood = ((off / doubt.exp() + doubt) * there).sum(1)
    odds = F.binary_cross_entropy_with_logits(outputs[:, 8], color.clamp(min=0), reduction="none")
    return (likelihood + odds * (color >= 0)).mean()


def member(seed: int, seen: Tensor, likeliest: Tensor, targets: Tensor, epochs: int) -> nn.Sequential:
    """One network of 195 → 64 → 32 → 9."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(seen.shape[1], WIDTH),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(WIDTH, 32),
            nn.ReLU(),
            nn.Linear(32, OUTPUTS),
        )
        means, color = wanted(targets)
        means[:, 0] -= likeliest
        optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.1)
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for _ in range(epochs):
            for batch in torch.randperm(len(seen)).split(256):
                noisy = seen[batch] + 0.05 * torch.randn_like(seen[batch])
                optimizer.zero_grad()
                loss(net(noisy), means[batch], color[batch]).backward()
                optimizer.step()
            rate.step()
    return net.eval()


def fit(cache: Path, file: Path, held_out: int, epochs: int) -> None:
    """Networks on all chains but the last `held_out`, whose errors are printed; coefficients into `file`."""
    with np.load(cache) as arrays:
        seen, targets = arrays["seen"], arrays["wanted"]
    flat = seen[: len(seen) - held_out].reshape(-1, seen.shape[2])
    middle, spread = np.median(flat, 0), flat.std(0) + 1e-3
    inputs = torch.from_numpy(np.clip((flat - middle) / spread, -4, 4))
    likeliest = torch.from_numpy(np.log(np.exp(flat[:, LIKELIEST]) + NOISE_KNEE))
    goals = torch.from_numpy(targets[: len(seen) - held_out].reshape(len(flat), -1))
    arrays = {"middle": middle, "spread": spread}
    for number in range(MEMBERS):
        net = member(number, inputs, likeliest, goals, epochs)
        for part, layer in enumerate(layer for layer in net if isinstance(layer, nn.Linear)):
            arrays[f"{number}.{part}.weight"] = layer.weight.detach().numpy().astype(np.float16)
            arrays[f"{number}.{part}.bias"] = layer.bias.detach().numpy()
    np.savez_compressed(file, **arrays)
    if held_out:
        report(seen[-held_out:], targets[-held_out:])


def report(seen: npt.NDArray[np.float32], targets: npt.NDArray[np.float32]) -> None:
    """Shares of held-out chains (of training pictures) within the benchmark's tolerances, one picture and sets of four."""
    single: dict[str, list[bool]] = {}
    for rows, (target, *_) in zip(seen, targets, strict=True):
        each = [guess(row) for row in rows]
        for name, found in [*(("one", one) for one in each), ("four", together(each))]:
            luma, color, blur = target[:3]
            noise = luma / (COLOR_TO_LUMA if color else 1)
            for what, off, limit in [
                ("noise", found.noise - noise, max(0.5, 0.15 * noise)),
                ("luma noise", found.luma_noise - luma, max(0.5, 0.15 * luma)),
                ("blur", found.blur - blur, max(0.15, 0.2 * blur)),
                ("quality", found.quality - target[4] if target[4] else 0, 5),
                ("correlation", found.correlation - target[3], 0.2),
            ]:
                single.setdefault(f"{what}, {name}", []).append(abs(off) <= limit)
            single.setdefault(f"color, {name}", []).append(luma < 1 or found.color == bool(color))
    for name, right in sorted(single.items()):
        print(f"{name}: {np.mean(right):.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--chains", type=int, default=808)
    parser.add_argument("--cache", type=Path, default=Path("imitate-statistics.npz"))
    parser.add_argument("--file", type=Path, default=Path(guessing.__file__).parent / "guess.npz")
    parser.add_argument("--held-out", type=int, default=0, help="chains kept for a report")
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    if not options.cache.exists():
        collect(options.pictures, options.chains, options.cache)
    fit(options.cache, options.file, options.held_out, options.epochs)
