"""A tiny game of 500 steps: the watch is silent while it is healthy, and sees at once what an absurd learning rate does.

test_training_rescue.py provokes this and the other failures with the real trainer, and looks at the rescue; it takes minutes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale_training.health.pictures import Checkup
from upscale_training.health.watch import Watch

CROP, BATCH = 24, 4
EVERY, VALIDATED = 10, 100


@dataclass(frozen=True)
class Game:
    """What differs between the runs."""

    steps: int
    generator: float = 1e-3
    discriminator: float = 3e-5
    weight: float = 0.01


def crops(count: int, seed: int, side: int = CROP) -> Tensor:
    """(count, 3, side, side): noise of natural spectrum with an edge."""
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.fft.rfft2(torch.randn(count, 3, side, side, generator=generator))
    far = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]).clamp_min(1 / side)
    soft = torch.fft.irfft2(spectrum / far, s=(side, side))
    slope = torch.randn(count, 2, 1, 1, generator=generator)
    place = torch.linspace(-1, 1, side)
    edge = (slope[:, :1] * place[None] + slope[:, 1:] * place[:, None] > 0).float() - 0.5
    return (0.5 + 0.12 * soft / soft.std() + 0.3 * edge).clamp(0, 1)


def small(hr: Tensor) -> Tensor:
    return F.interpolate(hr, scale_factor=0.5, mode="bicubic", antialias=True)


class Enlarger(nn.Module):
    """Two convolutions, nearest doubling, one more, and the enlarged input added."""

    def __init__(self) -> None:
        super().__init__()
        self.begin = nn.Sequential(
            nn.Conv2d(3, 12, 3, 1, 1), nn.LeakyReLU(0.2), nn.Conv2d(12, 12, 3, 1, 1), nn.LeakyReLU(0.2)
        )
        self.end = nn.Conv2d(12, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        large = F.interpolate(x, scale_factor=2, mode="bilinear")
        return large + 0.1 * self.end(F.interpolate(self.begin(x), scale_factor=2, mode="nearest"))


def networks() -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 16, 3, 1, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 32, 4, 2, 1), nn.LeakyReLU(0.2)]
        return Enlarger(), nn.Sequential(*layers, nn.Conv2d(32, 1, 3, 1, 1))


def played(game: Game) -> Iterator[dict[str, Any]]:
    """The lines of the log of a run: L1 and a non-saturating game."""
    made_by, judge = networks()
    train, held = crops(64, 1), crops(16, 2)
    wide = list(crops(4, 3, 64).split(1))
    chance, checkup = torch.Generator().manual_seed(4), Checkup(lambda: None)
    own = torch.optim.Adam(made_by.parameters(), game.generator)
    other = torch.optim.Adam(judge.parameters(), game.discriminator, (0.5, 0.99))
    for step in range(game.steps + 1):
        if step % VALIDATED == 0:
            with torch.no_grad():
                shown = [made_by(small(one)) for one in wide]
            error = torch.stack([F.mse_loss(one, two) for one, two in zip(shown, wide, strict=True)]).mean()
            health = checkup(shown, wide, [small(one) for one in wide])
            yield {
                "kind": "validation",
                "step": step,
                "adversarial": True,
                "game": {name: _share(judge, each) for name, each in (("known", train), ("held_out", held))},
                "health": health,
                "metrics": {"psnr_y": float(-10 * error.clamp(1e-9, 1e9).log10())},
            }
        hr = train[torch.randint(len(train), (BATCH,), generator=chance)]
        sr = made_by(small(hr))
        pixels, fooled = F.l1_loss(sr, hr), F.softplus(-judge(sr)).mean()
        (pull,) = torch.autograd.grad(game.weight * fooled, sr, retain_graph=True)
        own.zero_grad()
        (pixels + game.weight * fooled).backward()
        own.step()
        other.zero_grad()
        real, fake = judge(hr), judge(sr.detach())
        (F.softplus(-real) + F.softplus(fake)).mean().backward()
        other.step()
        if step % EVERY == 0:
            yield {
                "kind": "step",
                "step": step,
                "losses": {"total": float(pixels.detach())},
                "skipped_share": 0.0,
                "game": {"real": _share(judge, train), "fake": 1 - _share(judge, made_by(small(train)))},
                "gradients": {"adversary": float(pull.norm())},
            }


def _share(judge: nn.Module, pictures: Tensor) -> float:
    """Of the places that are rated real."""
    with torch.no_grad():
        return float((judge(pictures) > 0).float().mean())


def told(game: Game) -> set[str]:
    watch = Watch()
    return {alarm.name for line in played(game) for alarm in watch.observe(line)}


def test_a_healthy_run_of_500_steps_is_silent() -> None:
    assert told(Game(500)) == set()


def test_an_absurd_learning_rate_is_told_at_once() -> None:
    assert {"loss explodes", "pictures get worse"} <= told(Game(200, generator=10.0))
