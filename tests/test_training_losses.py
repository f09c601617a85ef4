"""What each loss sees and does not see. That those which BasicSR has equal its values is in test_training_golden.py."""

import math
import pickle
import random
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.checkpoint import Checkpoint
from upscale.nets import build
from upscale.spec import ModelSpec
from upscale_training import losses
from upscale_training.adversary import Adversary, AdversaryRecipe
from upscale_training.adversary.unet import UNetDiscriminator
from upscale_training.backbones import Backbone, BackboneName
from upscale_training.errors import BackboneMissingError, RecipeError
from upscale_training.losses import artifacts, bands, coarse, deep, distill
from upscale_training.terms import Seen, Term, sr_and_lr


def noise(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape or (2, 3, 24, 32), generator=torch.Generator().manual_seed(seed))


def seen(**changed: Any) -> Seen:
    values: dict[str, Any] = {"lr": noise(1, 2, 3, 8, 8), "hr": noise(2, 2, 3, 32, 32), "sr": noise(3, 2, 3, 32, 32)}
    return Seen(**(values | changed))


class SmallEye(nn.Module):
    """Two layers of random convolutions, in a backbone's place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)
        with torch.no_grad():
            for index, value in enumerate(self.parameters()):
                value.copy_(noise(index, *value.shape) - 0.5)

    def features(self, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        first = self.first(x)
        found = {"first": first, "second": self.second(F.relu(first))}
        return {name: found[name] for name in layers}


PLAIN = [losses.l1, losses.mse, losses.charbonnier, losses.frequency, losses.amplitude, losses.wavelet]


@pytest.mark.parametrize("make", PLAIN)
def test_plain_losses_fall_to_nothing_at_the_truth_and_only_there(make: Any) -> None:
    term: Term = make(0.5)
    assert term.weight == 0.5
    truth = noise(1)
    at_truth, near, far = (float(term.loss(truth + step * noise(2), truth)) for step in (0.0, 0.1, 0.2))
    assert at_truth <= 1.1e-6  # Charbonnier's round tip
    assert at_truth < near < far


@pytest.mark.parametrize("make", [*PLAIN, losses.ldl])
def test_gradients_are_finite_also_at_the_truth(make: Any) -> None:
    for truth in (noise(1), torch.full((1, 3, 16, 16), 0.5)):
        sr = truth.clone().requires_grad_()
        term: Term = make(1.0)
        term(Seen(truth, truth, sr)).backward()
        assert sr.grad is not None
        assert torch.isfinite(sr.grad).all()


def test_half_precision_is_summed_in_fp32() -> None:
    sr, hr = noise(1, 1, 3, 64, 64).bfloat16(), noise(2, 1, 3, 64, 64).bfloat16()
    for make in (losses.charbonnier, losses.frequency, losses.amplitude, losses.wavelet):
        found = make(1.0).loss(sr, hr)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, make(1.0).loss(sr.float(), hr.float()))


# Frequencies


def test_amplitude_does_not_see_where_a_pattern_lies() -> None:
    truth = noise(1)
    moved = truth.roll((5, 3), (-2, -1))
    assert float(bands.amplitude(moved, truth)) < 1e-6
    assert float(bands.focal_frequency(moved, truth)) > 0.01


def test_focal_frequency_by_hand() -> None:
    """Two waves of amplitudes 0.4 and 0.1: coefficients 4 to 1, weighted by 1 and 1/4."""
    x = torch.arange(16) / 16 * 2 * math.pi
    wave = (0.4 * torch.cos(2 * x) + 0.1 * torch.cos(5 * x)).expand(1, 1, 16, 16)
    large, small = (0.4 / 2 * 16) ** 2, (0.1 / 2 * 16) ** 2  # squared coefficients, two of each, of 256
    found = bands.focal_frequency(wave, torch.zeros_like(wave))
    assert float(found) == pytest.approx(2 * (large + small / 4) / 256, rel=1e-5)
    even = bands.focal_frequency(wave, torch.zeros_like(wave), alpha=0.0)
    assert float(even) == pytest.approx(2 * (large + small) / 256, rel=1e-5)


def test_haar_takes_a_picture_apart_and_loses_nothing() -> None:
    x = noise(1, 1, 1, 9, 7)
    for step in (1, 2):
        torch.testing.assert_close(sum(bands.haar(x, step)), x[..., :-step, :-step])


def test_wavelet_levels_are_bands() -> None:
    """A checkerboard is of the finest level alone, a shift in brightness of none."""
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    board, none = (((x + y) % 2) * 0.2).expand(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    assert float(bands.wavelet(board, none, (1.0, 0.0, 0.0))) == pytest.approx(0.1, rel=1e-5)
    assert float(bands.wavelet(board, none, (0.0, 1.0, 1.0))) == pytest.approx(0.0, abs=1e-7)
    assert float(bands.wavelet(none + 0.3, none)) == pytest.approx(0.0, abs=1e-7)
    steps = ((x // 4) % 2 * 0.2).expand(1, 3, 32, 32)
    assert float(bands.wavelet(steps, none, (0.0, 0.0, 1.0))) > float(bands.wavelet(steps, none, (1.0, 0.0, 0.0)))


# LDL


def test_local_variance_is_that_of_the_window() -> None:
    x = noise(1, 1, 1, 12, 14).double()
    window = F.pad(x, [3] * 4, mode="reflect")[0, 0, 2:9, 5:12]
    assert float(artifacts.local_variance(x, 7)[0, 0, 2, 5]) == pytest.approx(float(window.var()), rel=1e-9)


def test_ldl_leaves_alone_what_the_average_makes_worse() -> None:
    hr, sr = noise(1), noise(2)
    assert not artifacts.artifact_map(sr, hr, hr + 10).any()
    assert artifacts.artifact_map(sr, hr, hr).all()
    assert float(artifacts.ldl(sr, hr, hr + 10)) == 0
    term = losses.ldl(1.0)
    assert float(term(seen())) == float(artifacts.ldl(seen().sr, seen().hr, seen().sr))


# Consistency with the input


def test_consistency_sees_color_and_not_texture() -> None:
    lr = noise(1, 1, 3, 16, 16)
    sr = F.interpolate(lr, scale_factor=4, mode="nearest")
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    texture = ((x + y) % 2 * 2 - 1) * 0.2
    plain, textured, tinted = (float(coarse.low_frequency(each, lr)) for each in (sr, sr + texture, sr + 0.1))
    assert abs(textured - plain) < 0.01
    assert tinted == pytest.approx(0.1, abs=0.02)


def test_consistency_averages_the_inputs_noise_away() -> None:
    clean = torch.full((1, 3, 64, 64), 0.5)
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    sr = F.interpolate(clean, scale_factor=2)
    alone, averaged = (float(coarse.low_frequency(sr, noisy, blocks)) for blocks in (1, 4))
    assert averaged < alone / 3
    assert float(losses.consistency(1.0)(Seen(noisy, sr, sr))) == averaged


def test_shrinking_is_antialiased_and_none_at_equal_size() -> None:
    stripes = (torch.arange(32) % 2).float().expand(1, 1, 32, 32)
    inner = coarse.shrunk(stripes, (8, 8))[..., 2:6]
    assert float((inner - 0.5).abs().max()) < 0.02
    assert coarse.shrunk(stripes, (32, 32)) is stripes


# Deep features


def test_perceptual_weighs_layers_and_gives_the_original_no_gradient() -> None:
    eye = SmallEye()
    sr, hr = noise(1).requires_grad_(), noise(2).requires_grad_()
    found = deep.Perceptual(eye, {"first": 0.5, "second": 2.0})(sr, hr)
    ours, theirs = eye.features(sr, ["first", "second"]), eye.features(hr, ["first", "second"])
    by_hand = 0.5 * F.l1_loss(ours["first"], theirs["first"]) + 2 * F.l1_loss(ours["second"], theirs["second"])
    torch.testing.assert_close(found, by_hand)
    found.backward()
    assert sr.grad is not None
    assert sr.grad.any()
    assert hr.grad is None


def test_style_does_not_see_places() -> None:
    rows = noise(1, 1, 4, 6, 6)
    shuffled = rows.flatten(2)[..., torch.randperm(36, generator=torch.Generator().manual_seed(2))].view_as(rows)
    torch.testing.assert_close(deep.gram(rows), deep.gram(shuffled))
    assert float(deep.gram(rows)[0, 1, 2]) == pytest.approx(float((rows[0, 1] * rows[0, 2]).sum() / (4 * 36)), rel=1e-5)


def test_perceptual_under_autocast_is_a_plain_number() -> None:
    loss = deep.Perceptual(SmallEye(), {"first": 1.0, "second": 1.0}, "style")
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(noise(1), noise(2))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(noise(1), noise(2)), rtol=0.05, atol=1e-3)


def test_sharp_targets_are_made_in_full_precision_and_in_time() -> None:
    """In bf16, channels last, oneDNN never came back from their long kernels."""
    lines = [
        "import torch",
        "from upscale_training.losses.sharp import sharpened",
        "x = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)",
        "with torch.autocast('cpu', torch.bfloat16): found = sharpened(x)",
        "assert torch.equal(found, sharpened(x))",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, timeout=60)


def test_default_layers_are_real_esrgans() -> None:
    assert deep.LAYERS["vgg19"] == {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1, "conv4_4": 1, "conv5_4": 1}
    assert list(deep.LAYERS["vgg16"].values()) == list(deep.LAYERS["vgg19"].values())


# Weights that are read late


class Shelf:
    """Loads a small eye in a backbone's place, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, name: BackboneName) -> Backbone:
        self.asked.append(name)
        return cast(Backbone, SmallEye())


def test_terms_are_made_without_weights_and_share_a_backbone() -> None:
    layers = {"first": 1.0}
    terms = (losses.l1(1.0), losses.perceptual(1.0, layers=layers), losses.style(0.1, layers=layers))
    assert [losses.needs_backbone(term) for term in terms] == [False, True, True]
    shelf = Shelf()
    losses.prepare(terms, torch.device("cpu"), shelf)
    assert shelf.asked == ["vgg19"]
    torch.testing.assert_close(terms[1](seen()), deep.Perceptual(SmallEye(), layers)(seen().sr, seen().hr))
    assert all(losses.needs_backbone(make(1.0)) for make in (losses.lpips, losses.dists))


def test_missing_weights_are_an_error_when_the_run_begins() -> None:
    def load(_name: BackboneName) -> Backbone:
        raise BackboneMissingError("vgg19: not here")

    for make in (losses.perceptual, losses.style, losses.lpips, losses.dists):
        with pytest.raises(BackboneMissingError):
            losses.prepare([make(1.0)], torch.device("cpu"), load)


def test_a_loss_that_nobody_prepared_is_made_at_its_first_use() -> None:
    loss = losses.Late(lambda _load: deep.Perceptual(SmallEye(), {"first": 1.0}), None)
    assert float(loss(noise(1), noise(2)).detach()) > 0
    first = loss.built
    loss(noise(1), noise(2))
    assert loss.built is first


def test_modules_among_the_losses_are_moved() -> None:
    moved = nn.L1Loss()
    moved.register_buffer("place", torch.zeros(1))
    losses.prepare([Term("own", 1.0, moved)], torch.device("meta"))
    assert moved.get_buffer("place").device.type == "meta"


# The discriminator's layers


def test_feature_matching_compares_the_discriminators_layers() -> None:
    adversary = Adversary(AdversaryRecipe(lambda: UNetDiscriminator(4)))
    adversary.net.eval()
    both = seen(adversary=adversary, sr=seen().sr.requires_grad_())
    found = losses.feature_matching(1.0)(both)
    pairs = zip(adversary.features(both.sr), adversary.features(both.hr), strict=True)
    torch.testing.assert_close(found, torch.stack([F.l1_loss(a, b) for a, b in pairs]).mean())
    found.backward()
    assert both.sr.grad is not None
    assert both.sr.grad.any()
    assert all(parameter.grad is None for parameter in adversary.parameters)
    assert float(losses.feature_matching(1.0)(seen(adversary=adversary, sr=both.hr))) == 0


def test_feature_matching_needs_an_adversary() -> None:
    with pytest.raises(RecipeError, match="adversary"):
        losses.feature_matching(1.0)(seen())


# Distillation


def compact(features: int, scale: int, seed: int) -> nn.Module:
    network = build(ModelSpec("teacher", "compact", scale, features=features, blocks=2, activation="prelu"))
    with torch.no_grad():
        for index, value in enumerate(network.parameters()):
            value.copy_((noise(seed + index, *value.shape) - 0.5) * 0.3)
    return network


def test_distilled_outputs() -> None:
    teacher = distill.Teacher(compact(4, 4, 1))
    both = seen(clean=noise(7, 2, 3, 8, 8))
    wanted = teacher.network(both.lr).detach()
    torch.testing.assert_close(losses.distilled(1.0, teacher)(both), F.l1_loss(both.sr, wanted))
    assert float(losses.distilled(1.0, teacher)(seen(sr=wanted))) == 0
    torch.testing.assert_close(
        losses.distilled(1.0, teacher, F.mse_loss, clean=True)(both), F.mse_loss(both.sr, teacher.network(both.clean))
    )
    with pytest.raises(RecipeError, match="with_clean"):
        losses.distilled(1.0, teacher, clean=True)(seen())


def test_a_teacher_of_a_higher_scale_is_shrunk_and_of_a_lower_one_refused() -> None:
    teacher = distill.Teacher(compact(4, 4, 1))
    half = seen(sr=noise(3, 2, 3, 16, 16))
    wanted = coarse.shrunk(teacher.network(half.lr), (16, 16))
    torch.testing.assert_close(losses.distilled(1.0, teacher)(half), F.l1_loss(half.sr, wanted))
    with pytest.raises(RecipeError, match=r"32×32.*64×64"):
        losses.distilled(1.0, teacher)(seen(sr=noise(3, 2, 3, 64, 64)))


def test_a_teacher_stays_as_it_is_and_looks_once() -> None:
    network, calls = compact(4, 4, 1), []
    network.register_forward_hook(lambda *_: calls.append(1))
    teacher = distill.Teacher(network, ["body.1"])
    both = seen(sr=seen().sr.requires_grad_(), generator_features=[noise(5, 2, 6, 8, 8).requires_grad_()])
    (losses.distilled(1.0, teacher)(both) + losses.attention(1.0, teacher)(both)).backward()
    assert len(calls) == 1
    assert both.generator_features[0].grad is not None
    assert both.generator_features[0].grad.any()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher.train().training
    losses.distilled(1.0, teacher)(seen())
    assert len(calls) == 2


def test_attention_sees_where_layers_are_strong() -> None:
    teacher = distill.Teacher(compact(4, 4, 1), ["body.1"])
    lr = seen().lr
    (layer,) = teacher(lr)[1]
    term = losses.attention(1.0, teacher)
    wider = layer.repeat(1, 2, 1, 1) * 3
    assert float(term(seen(generator_features=[wider]))) == pytest.approx(0, abs=1e-9)
    assert float(term(seen(generator_features=[wider.flip(-1)]))) > 1e-4
    halved = F.avg_pool2d(distill.attention_map(layer), 2).sqrt()
    assert float(term(seen(generator_features=[halved]))) == pytest.approx(0, abs=1e-9)
    with pytest.raises(RecipeError, match="feature_layers"):
        term(seen())


def test_a_teacher_by_name_is_opened_late(monkeypatch: pytest.MonkeyPatch) -> None:
    network = compact(4, 4, 1)
    spec = cast(Any, network).spec
    arrays = {key: np.asarray(value) for key, value in network.state_dict().items()}
    term = losses.distilled(1.0, "mine")
    attending = losses.attention(1.0, "mine", ["body.1"])
    monkeypatch.setattr("upscale_training.losses.ready.open_model", lambda _name: Checkpoint(spec, arrays))
    losses.prepare([term, attending], torch.device("cpu"))
    assert not losses.needs_backbone(term)
    torch.testing.assert_close(term(seen()), losses.distilled(1.0, distill.Teacher(network))(seen()))
    both = seen(generator_features=[noise(5, 2, 6, 8, 8)])
    torch.testing.assert_close(attending(both), losses.attention(1.0, distill.Teacher(network, ["body.1"]))(both))


def test_an_unknown_layer_of_the_teacher_is_named() -> None:
    with pytest.raises(RecipeError, match="no module nowhere"):
        losses.attention(1.0, distill.Teacher(compact(4, 4, 1), ["nowhere"]))(seen())


def test_a_layer_that_cannot_be_seen_is_refused() -> None:
    """Our networks call their convolutions as functions, so that hooks on them stay silent."""
    with pytest.raises(RecipeError, match=r"body\.0"):
        losses.attention(1.0, distill.Teacher(compact(4, 4, 1), ["body.0"]))(seen())


def test_plain_terms_can_be_pickled() -> None:
    """Processes that are started anew get their recipe's terms."""
    for make in (*PLAIN, losses.ldl, losses.consistency, losses.feature_matching, losses.perceptual):
        term = pickle.loads(pickle.dumps(make(0.5)))
        assert (term.name, term.weight) == (make(0.5).name, 0.5)


def windows(size: int, **options: Any) -> set[tuple[int, int, int]]:
    """Top, left and side of what `jittered` shows, found by the numbers that the pixels are."""
    found = set[tuple[int, int, int]]()

    def loss(sr: Tensor, lr: Tensor) -> Tensor:
        assert lr.shape[-2:] == (8, 8)  # no picture of the result's size: left as it is
        first = round(float(sr[0, 0, 0, 0]))
        found.add((first // size, first % size, sr.shape[-1]))
        return sr.mean()

    numbers = torch.arange(float(size**2)).view(1, 1, size, size).expand(1, 3, size, size)
    looked_at = seen(sr=numbers, hr=numbers, chance=random.Random(3))
    term = losses.jittered(Term("mine", 0.5, loss, sr_and_lr), **options)
    assert (term.name, term.weight) == ("mine", 0.5)
    for _ in range(400):
        term(looked_at)
    return found


def test_jittered_terms_look_from_all_corners_of_a_grid_of_four() -> None:
    assert windows(32, zooms=(1.0,)) == {(top, left, 29) for top in range(4) for left in range(4)}


def test_jittered_terms_look_anywhere_through_a_smaller_window() -> None:
    assert windows(16, share=0.75, zooms=(1.0,)) == {(top, left, 12) for top in range(5) for left in range(5)}


def test_jittered_terms_see_as_many_pixels_through_each_zoom() -> None:
    found = windows(64, share=0.5, zooms=(1.0, 2.0))
    assert {side for _, _, side in found} == {32}
    assert max(top for top, _, _ in found) > 32  # only the smaller part that is enlarged begins so low
    assert {side for _, _, side in windows(64, zooms=(1.0, 2.0))} == {61, 64}


def test_jittered_terms_compare_the_same_part_of_both() -> None:
    truth = noise(4)
    assert float(losses.jittered(losses.l1(1.0))(seen(sr=truth, hr=truth))) == 0


def test_a_network_that_sees_every_fourth_place_sees_a_grid_only_when_jittered() -> None:
    grid = torch.zeros(1, 3, 32, 32)
    grid[..., 1::4, 1::4] = 1  # between the places that it looks at

    def every_fourth(sr: Tensor, hr: Tensor) -> Tensor:
        return (sr - hr)[..., ::4, ::4].abs().mean()

    term, looked_at = Term("fourth", 1.0, every_fourth), seen(sr=grid, hr=torch.zeros_like(grid), lr=grid)
    assert float(term(looked_at)) == 0
    assert max(float(losses.jittered(term)(looked_at)) for _ in range(100)) > 0.5
