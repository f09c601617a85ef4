"""The discriminators: shapes, basicsr's names, spectral norm, cost; and what is kept of them in a file."""

import copy
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from upscale.errors import ModelError
from upscale.nets import build
from upscale.spec import ModelSpec
from upscale_training.adversary.cost import macs_per_pixel
from upscale_training.adversary.multiscale import MultiScaleDiscriminator
from upscale_training.adversary.net import Discriminator, by_scale
from upscale_training.adversary.patch import PatchDiscriminator
from upscale_training.adversary.pretrained import Pretrained
from upscale_training.adversary.projected import ProjectedDiscriminator, projected
from upscale_training.adversary.spectral import SpectralConv2d
from upscale_training.adversary.strided import StridedDiscriminator
from upscale_training.adversary.thin import thin_patch
from upscale_training.adversary.unet import UNetDiscriminator
from upscale_training.adversary.vgg import VGGDiscriminator
from upscale_training.backbones import random_backbone
from upscale_training.errors import BackboneMissingError, RecipeError

COMPACT_MACS = 619_200 / 16
"""Of SRVGGNetCompact ×4 with 16 convolutions, for each pixel of its output."""

Make = Callable[[], Discriminator]
Shapes = list[tuple[int, ...]]


def on_alexnet() -> Discriminator:
    return ProjectedDiscriminator(random_backbone("alexnet", 0), width=8)


NETS: dict[str, tuple[Make, int, Shapes]] = {
    "unet": (partial(UNetDiscriminator, 4), 32, [(2, 1, 32, 32)]),
    "unet of an odd size": (partial(UNetDiscriminator, 4), 37, [(2, 1, 37, 37)]),
    "unet without skips": (partial(UNetDiscriminator, 4, skip=False), 16, [(2, 1, 16, 16)]),
    "thin": (partial(thin_patch, 4), 64, [(2, 1, 6, 6)]),
    "vgg 128": (partial(VGGDiscriminator, 2), 128, [(2, 1)]),
    "vgg 256": (partial(VGGDiscriminator, 1, 256), 256, [(2, 1)]),
    "patch": (partial(PatchDiscriminator, 4), 64, [(2, 1, 6, 6)]),
    "patch, instance": (partial(PatchDiscriminator, 4, norm="instance"), 64, [(2, 1, 6, 6)]),
    "patch, spectral": (partial(PatchDiscriminator, 4, norm="spectral"), 64, [(2, 1, 6, 6)]),
    "patch, none": (partial(PatchDiscriminator, 4, norm="none"), 64, [(2, 1, 6, 6)]),
    "patch, small": (partial(PatchDiscriminator, 4, strided=1), 32, [(2, 1, 14, 14)]),
    "strided": (partial(StridedDiscriminator, 32, 4), 32, [(2, 1)]),
    "strided without norm": (partial(StridedDiscriminator, 64, 4, batch_norm=False), 64, [(2, 1)]),
    "multi-scale": (
        partial(MultiScaleDiscriminator, partial(PatchDiscriminator, 4, norm="instance"), 3),
        128,
        [(2, 1, 14, 14), (2, 1, 6, 6), (2, 1, 2, 2)],
    ),
    "projected": (on_alexnet, 64, [(2, 1, 7, 7), (2, 1, 3, 3), (2, 1, 1, 1)]),
}
every_net = pytest.mark.parametrize("name", NETS)


def made(make: Make, seed: int = 0) -> Discriminator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def pictures(side: int, count: int = 2, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


@every_net
def test_logits_have_the_documented_shapes(name: str) -> None:
    make, side, shapes = NETS[name]
    assert [tuple(logits.shape) for logits in by_scale(made(make)(pictures(side)))] == shapes


@every_net
def test_every_parameter_learns_and_every_pixel_counts(name: str) -> None:
    make, side, _ = NETS[name]
    net, x = made(make), pictures(side).requires_grad_()
    sum(logits.square().sum() for logits in by_scale(net(x))).backward()
    for key, parameter in net.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)) == parameter.requires_grad, key
    assert x.grad is not None
    inner = x.grad[:, :, side // 4 : -side // 4, side // 4 : -side // 4]
    assert (inner.abs().sum(dim=1) > 0).float().mean() > 0.99


@every_net
def test_features_are_the_layers_that_the_logits_come_from(name: str) -> None:
    make, side, _ = NETS[name]
    net, x = made(make).eval(), pictures(side).requires_grad_()
    features = net.features(x)
    assert len(features) >= 2
    assert all(len(feature) == 2 and torch.isfinite(feature).all() for feature in features)
    assert all(torch.autograd.grad(feature.sum(), x, retain_graph=True)[0].abs().sum() > 0 for feature in features)
    kept = [feature.detach().clone() for feature in features]
    net(x)  # in-place activations elsewhere must not change what was handed out
    assert all(torch.equal(one, other) for one, other in zip(kept, features, strict=True))


@every_net
def test_half_precision_gives_nearly_the_same_logits(name: str) -> None:
    make, side, _ = NETS[name]
    net, x = made(make).eval(), pictures(side)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        halves = by_scale(net(x))
    with torch.no_grad():
        wholes = by_scale(net(x))
    for half, whole in zip(halves, wholes, strict=True):
        assert half.dtype == torch.float32
        assert (half - whole).abs().max() < 0.05 * whole.abs().max() + 0.05


def test_the_unets_parameters_have_basicsrs_names() -> None:
    spectral = {f"conv{k}.weight_{kind}" for k in range(1, 9) for kind in ("orig", "u", "v")}
    plain = {f"conv{k}.{kind}" for k in (0, 9) for kind in ("weight", "bias")}
    net = UNetDiscriminator()
    assert set(net.state_dict()) == spectral | plain
    assert sum(parameter.numel() for parameter in net.parameters()) == 4_376_897  # as Real-ESRGAN's netD has
    assert net.state_dict()["conv3.weight_v"].shape == (256 * 16,)
    assert net.state_dict()["conv4.weight_u"].shape == (256,)


@pytest.mark.parametrize(("size", "levels"), [(128, 5), (256, 6)])
def test_the_vgg_styles_parameters_have_basicsrs_names(size: int, levels: int) -> None:
    wanted = {"conv0_0.weight", "conv0_0.bias", "conv0_1.weight"}
    wanted |= {f"linear{k}.{kind}" for k in (1, 2) for kind in ("weight", "bias")}
    wanted |= {f"conv{level}_{half}.weight" for level in range(1, levels) for half in (0, 1)}
    norms = ["bn0_1", *(f"bn{level}_{half}" for level in range(1, levels) for half in (0, 1))]
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    wanted |= {f"{norm}.{kind}" for norm in norms for kind in kinds}
    state = VGGDiscriminator(size=size).state_dict()
    assert set(state) == wanted
    assert state["linear1.weight"].shape == (100, 512 * 16)
    assert state["conv3_1.weight"].shape == (512, 512, 4, 4)


def test_spectral_norm_computes_what_pytorchs_hook_computes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        theirs = nn.utils.spectral_norm(nn.Conv2d(4, 6, 4, 2, 1, bias=False))
    ours = SpectralConv2d(4, 6, 4, stride=2)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)
    for one, other in [(ours, theirs), (ours.eval(), theirs.eval())]:
        (grad,) = torch.autograd.grad(one(x).square().sum(), one.weight_orig)
        (wanted,) = torch.autograd.grad(other(x).square().sum(), other.weight_orig)
        torch.testing.assert_close(grad, wanted, rtol=1e-4, atol=1e-5)


def test_spectral_norm_bounds_the_kernel_once_the_iteration_has_run() -> None:
    layer = made(lambda: SpectralConv2d(8, 16, 3))  # type: ignore[arg-type, return-value]
    largest = torch.linalg.matrix_norm(layer.eval().bounded().detach().flatten(1), 2)
    torch.testing.assert_close(largest, torch.tensor(1.0), rtol=0, atol=0.05)  # from the start
    layer.train().weight_orig.data.mul_(50)
    for _ in range(60):
        kernel = layer.bounded()
    largest = torch.linalg.matrix_norm(kernel.detach().flatten(1), 2)
    torch.testing.assert_close(largest, torch.tensor(1.0), rtol=0, atol=1e-3)
    before = layer.weight_u.clone()
    layer.eval()(torch.zeros(1, 8, 4, 4))
    assert torch.equal(layer.weight_u, before)


def test_two_passes_before_a_backward_and_a_copy_afterwards_are_fine() -> None:
    net, x = made(partial(UNetDiscriminator, 4)), pictures(16)
    (net(x).mean() - net(1 - x).mean()).backward()
    twin = copy.deepcopy(net)
    assert torch.equal(twin.eval()(x), net.eval()(x))


@pytest.mark.parametrize("make", [partial(VGGDiscriminator, 2), partial(StridedDiscriminator, 128, 2)])
def test_a_picture_of_the_wrong_size_is_refused_with_the_remedy(make: Make) -> None:
    for method in (made(make), made(make).features):
        with pytest.raises(RecipeError, match="takes 128×128 pictures, not 64×64; set the crop"):
            method(pictures(64))


@pytest.mark.parametrize("make", [partial(VGGDiscriminator, size=192), partial(StridedDiscriminator, 96)])
def test_an_impossible_size_is_refused(make: Make) -> None:
    with pytest.raises(RecipeError, match="set the crop, or use a U-Net"):
        make()


@pytest.mark.parametrize(("make", "field"), [(partial(PatchDiscriminator, 4, norm="none"), 70)])
def test_the_patch_is_70_pixels_wide(make: Make, field: int) -> None:
    x = pictures(128, 1).requires_grad_()
    logits = made(make)(x)
    assert isinstance(logits, Tensor)
    (gradient,) = torch.autograd.grad(logits[0, 0, 7, 7], x)
    touched = gradient[0].abs().sum(dim=0) > 0
    assert int(touched.any(dim=0).sum()) == int(touched.any(dim=1).sum()) == field


def test_the_frozen_features_are_frozen_mixed_and_left_out_of_the_file() -> None:
    net = made(on_alexnet)
    assert isinstance(net, ProjectedDiscriminator)
    state = net.state_dict()
    assert not any("backbone" in key for key in state)
    assert {key.split(".")[0] for key in state} == {"channel_mixers", "scale_mixers", "heads"}
    trained = {key.split(".")[0] for key, value in net.named_parameters() if value.requires_grad}
    assert trained == {"heads"}
    other = made(on_alexnet, seed=1).eval()
    assert not torch.equal(by_scale(other(pictures(64)))[0], by_scale(net.eval()(pictures(64)))[0])
    other.load_state_dict(state)
    assert torch.equal(by_scale(other(pictures(64)))[0], by_scale(net(pictures(64)))[0])
    nested = nn.ModuleDict({"net": other})
    nested.load_state_dict(nested.state_dict())
    with pytest.raises(RuntimeError, match=r"heads\.0\.last"):
        net.load_state_dict({key: value for key, value in state.items() if not key.startswith("heads.0.last")})


def test_coarse_features_reach_the_finest_head() -> None:
    net = made(on_alexnet)
    assert isinstance(net, ProjectedDiscriminator)
    fine = net.projections(pictures(64))
    with torch.no_grad():
        for parameter in net.channel_mixers[2].parameters():  # the coarsest layer's
            parameter.mul_(2)
    changed = net.projections(pictures(64))
    assert all(not torch.equal(one, other) for one, other in zip(fine, changed, strict=True))


def test_a_projected_discriminator_without_weights_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise BackboneMissingError(f"{name}: no weights; fetch them")

    monkeypatch.setattr("upscale_training.adversary.projected.load_backbone", missing)
    with pytest.raises(BackboneMissingError, match="vgg19"):
        projected("vgg19")


def test_what_the_discriminators_cost_beside_the_compact_network() -> None:
    compact = build(ModelSpec("compact", "compact", 4, 64, blocks=16, activation="prelu"))
    assert macs_per_pixel(compact) == 619_200
    share = {
        name: macs_per_pixel(net) / COMPACT_MACS
        for name, net in [("unet", UNetDiscriminator()), ("thin", thin_patch())]
    }
    assert share["unet"] == pytest.approx(10.22, abs=0.01)
    assert share["thin"] < 0.4


def test_parameters_from_a_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    net = made(partial(UNetDiscriminator, 4), seed=3)
    file, ours = tmp_path / "netD.pth", tmp_path / "netD.safetensors"
    torch.save({"params": net.state_dict()}, file)
    save_file(net.state_dict(), ours)
    for path in (file, ours):
        again = Pretrained(partial(UNetDiscriminator, 4), path)()
        assert all(torch.equal(value, again.state_dict()[key]) for key, value in net.state_dict().items())
    with pytest.raises(ModelError, match=r"netD\.pth: not a VGGDiscriminator"):
        Pretrained(partial(VGGDiscriminator, 4), file)()
    with pytest.raises(ModelError, match=r"none\.pth: cannot be read"):
        Pretrained(partial(UNetDiscriminator, 4), tmp_path / "none.pth")()
    for name in ("broken.pth", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"not a file of parameters")
        with pytest.raises(ModelError, match=rf"{name}: not a UNet"):
            Pretrained(partial(UNetDiscriminator, 4), tmp_path / name)()
