"""One step of Real-ESRGAN's recipe, ours against basicsr's own: images per second.

    python tests/golden/make_training_golden.py --environment FOLDER       # basicsr's environment, once
    python benchmarks/training.py --peer FOLDER/bin/python
    python benchmarks/training.py --peer FOLDER/bin/python --device cuda --batch 12 --crop 256 --blocks 23

The same networks (RRDBNet, U-Net discriminator with spectral norm), batch, losses (L1, five layers of VGG19, vanilla game),
Adam and average on both sides; weights and pictures are random, and no degradation or disk is measured on either. basicsr
has one way, fp32. Ours runs in turn with it: fp32, then bf16, each in the memory order that the trainer takes. Both sides
wait for each other, so that only one computes at a time; the first steps of each are left out.
"""

# torch leaves some members untyped:
# pyright: reportUnknownMemberType=false

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from asked import Asked
from common import median, save, table

from upscale.nets import build
from upscale.spec import ModelSpec
from upscale_training.adversary import Adversary, AdversaryRecipe
from upscale_training.adversary.unet import UNetDiscriminator
from upscale_training.backbones import BackboneName, random_backbone
from upscale_training.generator import Ema
from upscale_training.losses import l1, perceptual, prepare
from upscale_training.players import Players
from upscale_training.precision import Arithmetic
from upscale_training.recipe import Precision, Stage
from upscale_training.step import Pictures, train_step

PEER = Path(__file__).resolve().parent / "peers" / "basicsr_step.py"


@dataclass
class Way:
    """A trainer that can be asked for steps: their number → seconds."""

    name: str
    run: Callable[[int], float]
    seconds: list[float] = field(default_factory=list[float])
    memory: int = 0


def main() -> None:
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    peer = Peer(options) if options.peer else None
    ways = [Way("basicsr fp32", peer.steps)] if peer else []
    ways += [_our_way(options, precision) for precision in options.precisions]
    for way in ways:
        way.run(options.warm)
    for _ in range(options.repeats):
        for way in ways:
            way.seconds.append(way.run(options.steps) / options.steps)
    rows = [_row(way, ways[0], options.batch) for way in ways]
    print(table(rows))
    versions = {"torch": torch.__version__, "peer": peer.versions if peer else None}
    settings = {key: getattr(options, key) for key in ("device", "batch", "crop", "blocks", "features", "note")}
    name = f"training-{options.device}-{options.blocks}x{options.crop}"
    save(name, rows, **settings, **versions, steps=options.steps * options.repeats)
    if peer:
        print(
            f"basicsr's memory at its peak: {peer.memory / 1e9:.2f} GB; ours: {_memory(options.device) / 1e9:.2f} GB (all ways)"
        )
        peer.end()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="Python of basicsr's environment; without it ours alone is measured")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=128, help="side of the targets; the inputs' is a quarter")
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--features", type=int, default=64, help="of the discriminator")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--compile", action="store_true", help="ours through torch.compile")
    parser.add_argument("--warm", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="of each way before the next way's turn")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--note", default="", help="kept with the figures, such as what else the machine did")
    return parser.parse_args()


class Peer:
    """basicsr's process."""

    def __init__(self, options: argparse.Namespace) -> None:
        wishes = [f"--{key}={getattr(options, key)}" for key in ("device", "batch", "crop", "blocks", "features")]
        if options.threads:
            wishes.append(f"--threads={options.threads}")
        self._asked = Asked([str(options.peer), "-I", str(PEER), *wishes])
        self.memory = 0
        self.versions: dict[str, str] = self._asked.ready["ready"]

    def steps(self, count: int) -> float:
        answer = self._asked.ask(count)
        self.memory = answer["memory"]
        return answer["seconds"]

    def end(self) -> None:
        self._asked.end()


def _our_way(options: argparse.Namespace, precision: Precision) -> Way:
    device = torch.device(options.device)
    stage = Stage(
        "benchmark",
        100_000,
        (l1(1.0), perceptual(1.0)),
        AdversaryRecipe(partial(UNetDiscriminator, options.features)),
        batch=options.batch,
        crop=options.crop,
    )
    prepare(stage.terms, device, _backbone)
    network = build(ModelSpec("benchmark", "rrdb", 4, blocks=options.blocks))
    network = network.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    assert stage.adversary is not None
    adversary = Adversary(stage.adversary, device)
    adversary.net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99), fused=device.type == "cuda")
    players = Players(network, Ema(network, 0.999), optimizer, Arithmetic(precision, device), adversary)
    if options.compile:
        players.compiled = torch.compile(network)
    generator = torch.Generator().manual_seed(0)
    sides = (options.crop // 4, options.crop)
    lr, hr = (torch.rand((options.batch, 3, side, side), generator=generator).to(device) for side in sides)
    return Way(
        f"upscale {precision}{', compiled' if options.compile else ''}",
        partial(_steps, players, Pictures(lr, hr), stage),
    )


def _steps(players: Players, pictures: Pictures, stage: Stage, count: int) -> float:
    began = time.perf_counter()
    for step in range(count):
        train_step(players, pictures, stage, step)
    if players.arithmetic.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _backbone(name: BackboneName) -> Any:
    return random_backbone(name, 0)


def _row(way: Way, base: Way, batch: int) -> dict[str, Any]:
    seconds = median(way.seconds)
    return {
        "way": way.name,
        "seconds a step": round(seconds, 3),
        "images a second": round(batch / seconds, 2),
        f"times {base.name}": round(median(base.seconds) / seconds, 2),
        "spread": f"{min(way.seconds):.3f} to {max(way.seconds):.3f}",
    }


def _memory(device: str) -> int:
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
