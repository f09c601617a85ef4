"""The measures of pictures' health: what healthy, soft, collapsed, checkered, tinted, flat and broken pictures get."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale_training.backbones import random_backbone
from upscale_training.health import limits
from upscale_training.health.checkerboard import checkerboard, periods
from upscale_training.health.diversity import diversity, effective_rank, wavelet_features
from upscale_training.health.pictures import Checkup, drifts, flat, not_finite
from upscale_training.health.watch import Watch

SIDE = 128
SCALE = 4


def scene(seed: int, side: int = SIDE) -> Tensor:
    """(1, 3, side, side): a natural spectrum and hard edges."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(rng.normal(size=(side, side, 3)), axes=(0, 1))
    far = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])[..., None]
    soft = np.fft.irfft2(spectrum / np.maximum(far, 1 / side), s=(side, side), axes=(0, 1))
    picture = 0.5 + 0.15 * soft / soft.std()
    for _ in range(8):
        center, color = rng.integers(0, side, 2).tolist(), rng.uniform(0, 1, 3).tolist()
        cv2.circle(picture, center, int(rng.integers(4, 24)), color, -1, cv2.LINE_AA)
    return torch.tensor(np.clip(picture, 0, 1).transpose(2, 0, 1)[None].astype(np.float32))


def smaller(pictures: list[Tensor], scale: int = SCALE) -> list[Tensor]:
    return [F.interpolate(one, scale_factor=1 / scale, mode="bicubic", antialias=True).clamp(0, 1) for one in pictures]


def larger(pictures: list[Tensor], scale: int = SCALE) -> list[Tensor]:
    return [F.interpolate(one, scale_factor=scale, mode="bicubic", antialias=True) for one in pictures]


@pytest.fixture(scope="module")
def hr() -> list[Tensor]:
    return [scene(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def lr(hr: list[Tensor]) -> list[Tensor]:
    return smaller(hr)


def blurred(pictures: list[Tensor], sigma: float) -> list[Tensor]:
    arrays = [cv2.GaussianBlur(one[0].permute(1, 2, 0).numpy(), (0, 0), sigma) for one in pictures]
    return [torch.tensor(array).permute(2, 0, 1)[None] for array in arrays]


def jpeg(picture: Tensor, quality: int) -> Tensor:
    pixels = np.rint(picture[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    read = cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    assert read is not None
    return torch.tensor(read).permute(2, 0, 1)[None] / 255


def wave(side: int, period: float) -> Tensor:
    place = torch.arange(side) * (2 * math.pi / period)
    return (place[:, None] + place[None]).sin()[None, None]


def test_effective_rank_counts_directions() -> None:
    assert effective_rank(torch.eye(7)) == pytest.approx(7)
    assert effective_rank(torch.ones(5, 5)) == pytest.approx(1)
    assert effective_rank(torch.zeros(5, 5)) == 0
    values = torch.tensor([4.0, 1.0])  # singular values 2 and 1
    wanted = math.exp(-(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)))
    assert effective_rank(torch.diag(values)) == pytest.approx(wanted)


def test_wavelets_answer_to_their_own_direction() -> None:
    place = torch.arange(64) * (2 * math.pi / 4)
    across = wavelet_features(place.sin().expand(1, 3, 64, 64).clone())
    assert across.shape == (1, 144, 5, 5)
    along = wavelet_features(place.sin()[:, None].expand(1, 3, 64, 64).clone())
    assert not torch.allclose(across, along)
    assert torch.allclose(wavelet_features(torch.full((1, 3, 64, 64), 0.3)), torch.zeros(1), atol=1e-4)


def test_diversity_tells_collapsed_from_soft(hr: list[Tensor], lr: list[Tensor]) -> None:
    bicubic = larger(lr)
    assert diversity(hr, hr, lr, None) == pytest.approx(1)
    assert diversity(blurred(hr, 1.0), hr, lr, None) > 0.7
    same = [one + 0.1 * wave(SIDE, 6) for one in bicubic]
    details = [(one - two).abs().mean(1, keepdim=True) for one, two in zip(bicubic, blurred(bicubic, 3), strict=True)]
    strength = [F.avg_pool2d(each, 9, 1, 4) for each in details]
    modulated = [one + 2 * each * wave(SIDE, 6) for one, each in zip(bicubic, strength, strict=True)]
    assert diversity(same, hr, lr, None) < (limits.LOST_DIVERSITY.least or 0)
    assert diversity(modulated, hr, lr, None) < (limits.LOST_DIVERSITY.least or 0)


def test_diversity_takes_the_given_eyes_and_leaves_out_what_it_cannot_see(hr: list[Tensor], lr: list[Tensor]) -> None:
    backbone = random_backbone("alexnet", 0)
    soft = blurred(hr, 1.0)
    assert diversity(hr, hr, lr, backbone) == pytest.approx(1)
    assert diversity(soft, hr, lr, backbone) != pytest.approx(diversity(soft, hr, lr, None))
    broken = [hr[0].clone(), *soft[1:]]
    broken[0][0, 0, 5, 5] = math.nan
    assert diversity(broken, hr, lr, None) == pytest.approx(diversity(soft[1:], hr[1:], lr[1:], None))
    assert math.isnan(diversity([torch.rand(1, 3, 32, 32)], [torch.rand(1, 3, 32, 32)], [torch.rand(1, 3, 8, 8)], None))


@pytest.mark.parametrize("sigma", [0.0, 0.7, 1.5])
def test_sound_pictures_have_no_checkerboard(hr: list[Tensor], sigma: float) -> None:
    made = blurred(hr, sigma) if sigma else hr
    assert checkerboard(made, hr, SCALE) < 1.02
    assert checkerboard([one[..., :48, :64] for one in made], [one[..., :48, :64] for one in hr], SCALE) < 1.04


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("axis", [-1, -2])
def test_each_period_along_each_axis_is_seen(hr: list[Tensor], scale: int, axis: int) -> None:
    for period in periods(scale):
        pattern = torch.cos(torch.arange(SIDE) * (2 * math.pi / period)) * (0.03 if period < 8 else 0.12)
        made = [one + (pattern if axis == -1 else pattern[:, None]) for one in blurred(hr, 1.0)]
        assert checkerboard(made, hr, scale) > (limits.CHECKERBOARD.most or 0)
    between = torch.cos(torch.arange(SIDE) * (2 * math.pi / 5.3)) * 0.03
    assert checkerboard([one + between for one in blurred(hr, 1.0)], hr, scale) < (limits.CHECKERBOARD.most or 0)


def test_periods() -> None:
    assert [periods(scale) for scale in (1, 2, 3, 4, 8)] == [(2, 4), (2, 4), (3,), (2, 4), (2, 4, 8)]


@pytest.mark.parametrize("quality", [10, 40])
def test_a_jpeg_grid_in_the_truth_neither_hides_nor_alarms(hr: list[Tensor], quality: int) -> None:
    truth = [jpeg(one, quality) for one in hr]
    soft = blurred(hr, 1.0)
    checkered = [one + 0.03 * torch.cos(torch.arange(SIDE) * math.pi / 2) for one in soft]
    assert checkerboard(soft, truth, SCALE) < 1.02
    assert checkerboard(checkered, truth, SCALE) > (limits.CHECKERBOARD.most or 0)


def test_transposed_convolutions_and_shuffles_without_icnr_are_caught(hr: list[Tensor], lr: list[Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    kernel = torch.rand(3, 1, 3, 3, generator=generator) + 0.5
    doubled = [
        F.conv_transpose2d(one, kernel, stride=2, padding=1, output_padding=1, groups=3) for one in smaller(hr, 2)
    ]
    uneven = [one * (other.mean() / one.mean()) for one, other in zip(doubled, hr, strict=True)]
    assert checkerboard(uneven, hr, 2) > (limits.CHECKERBOARD.most or 0)
    shares = 1 + 0.05 * torch.randn(1, 16, 1, 1, generator=generator)
    shuffled = [
        F.pixel_shuffle((F.pixel_unshuffle(one, SCALE).unflatten(1, (3, 16)) * shares).flatten(1, 2), SCALE)
        for one in larger(lr)
    ]
    assert checkerboard(shuffled, hr, SCALE) > (limits.CHECKERBOARD.most or 0)


def test_one_odd_picture_and_broken_or_tiny_ones_decide_nothing(hr: list[Tensor]) -> None:
    odd = [*hr[:-1], hr[-1] + 0.2 * torch.cos(torch.arange(SIDE) * math.pi)]
    assert checkerboard(odd, hr, SCALE) < 1.02
    broken = [*hr[:-1], torch.full_like(hr[-1], math.inf)]
    assert checkerboard(broken, hr, SCALE) < 1.02
    assert math.isnan(checkerboard([torch.rand(1, 3, 20, 80)], [torch.rand(1, 3, 20, 80)], SCALE))


def test_drift_is_told_per_channel_in_levels(hr: list[Tensor], lr: list[Tensor]) -> None:
    inner = [0.2 + 0.6 * one for one in hr]
    tint = torch.tensor([3.0, 0.0, -2.0]).view(1, 3, 1, 1) / 255
    found = drifts([one + tint for one in inner], smaller(inner))
    assert len(found) == len(hr)
    assert np.mean(found, 0).tolist() == pytest.approx([3, 0, -2], abs=0.1)
    assert drifts([torch.full_like(hr[0], math.nan), hr[1]], lr[:2]) == drifts(hr[1:2], lr[1:2])


def test_flat_and_broken_outputs_are_counted(hr: list[Tensor]) -> None:
    gray, black = torch.full_like(hr[0], 0.5), torch.full_like(hr[0], -3.0)
    assert flat(hr, hr) == 0
    assert flat([gray, black, *hr[2:]], hr) == pytest.approx(2 / 6)
    assert flat([torch.full_like(hr[0], math.nan)], hr[:1]) == 1
    assert math.isnan(flat([gray], [gray]))
    broken = hr[0].clone()
    broken[0, 0, :2] = math.nan
    broken[0, 1, 0] = math.inf
    assert not_finite([broken, hr[1]]) == pytest.approx(3 * SIDE / (2 * 3 * SIDE**2))


def told(found: dict[str, object]) -> list[str]:
    watch, line = Watch(), {"kind": "validation", "adversarial": True, "metrics": {}, "health": found}
    return [
        alarm.name for number in (1, 2) for alarm in watch.observe(json.loads(json.dumps({**line, "step": number})))
    ]


def test_a_checkup_is_what_the_watch_reads(hr: list[Tensor], lr: list[Tensor]) -> None:
    checkup = Checkup(lambda: None)
    sound = checkup(blurred(hr, 0.6), hr, lr)
    assert sound["diversity_eyes"] == "wavelets"
    assert told(sound) == []
    assert Checkup(lambda: random_backbone("alexnet", 0))(hr, hr, lr)["diversity_eyes"] == "alexnet"
    pattern = 0.05 * torch.cos(torch.arange(SIDE) * math.pi)
    assert told(checkup([one + pattern for one in hr], hr, lr)) == ["checkerboard"]
    assert told(checkup([one + 0.1 for one in hr], hr, lr)) == ["colors drift"]
    assert "output is flat" in told(checkup([torch.full_like(one, 0.5) for one in hr], hr, lr))
    assert "output is no number" in told(checkup([torch.full_like(one, math.nan) for one in hr], hr, lr))
    assert told(checkup([one + 0.15 * wave(SIDE, 6) for one in larger(lr)], hr, lr)) == ["diversity is lost"]


class Doubled(nn.Module):
    """Two convolutions, then either a transposed convolution or nearest doubling and a convolution."""

    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.begin = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.LeakyReLU(0.2))
        self.transposed = transposed
        self.end = nn.ConvTranspose2d(8, 3, 3, 2, 1, 1) if transposed else nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.begin(x)
        return self.end(y if self.transposed else F.interpolate(y, scale_factor=2, mode="nearest"))


@pytest.mark.parametrize("transposed", [True, False])
def test_a_young_network_with_transposed_convolutions_is_caught_another_is_not(
    hr: list[Tensor], transposed: bool
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Doubled(transposed)
    truth = torch.cat(hr)[..., :64, :64]
    small, optimizer = torch.cat(smaller([truth], 2)), torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        F.l1_loss(network(small), truth).backward()
        optimizer.step()
    with torch.no_grad():
        made = list(network(small).split(1))
    assert (checkerboard(made, list(truth.split(1)), 2) > (limits.CHECKERBOARD.most or 0)) == transposed
