"""Foreign networks in windows: random ones of spandrel's architectures, made here and saved as a user would have them."""

import math
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from upscale.bands import Plan
from upscale.chain import Settings
from upscale.checkpoint import Checkpoint
from upscale.engines.choose import Wish, choose
from upscale.engines.windows import HALO, WindowsEngine, cuts, profile
from upscale.enlarge import Enlarger
from upscale.errors import EngineError, ModelError, OutOfMemoryError
from upscale.image import Array, Floats, Image, to_float
from upscale.model import open_model

MakePhoto = Callable[..., Array]
WHOLE = Plan(10_000, 10_000)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On a busy machine torch's threads wait for each other far longer than such small pictures take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """foreign("span"): the file of a small random network."""
    pytest.importorskip("spandrel")
    folder = tmp_path_factory.mktemp("foreign")

    def make(name: str) -> Path:
        path = folder / f"{name}.pth"
        if not path.exists():
            torch.manual_seed(1)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch deprecates what spandrel's code uses
                torch.save(_network(name).state_dict(), path)
        return path

    return make


def _network(name: str) -> torch.nn.Module:
    if name == "span":  # convolutions alone; sees 22 pixels around
        from spandrel.architectures.SPAN import SPAN

        return SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2, norm=False)
    if name == "safmn":  # sides must be multiples of 8
        from spandrel.architectures.SAFMN import SAFMN

        return SAFMN(dim=8, n_blocks=1, upscaling_factor=4)
    from spandrel.architectures.SwinIR import SwinIR  # a transformer; sides of 16 pixels at least

    return SwinIR(
        img_size=16, embed_dim=12, depths=[2], num_heads=[2], window_size=8, mlp_ratio=2, upscale=2, upsampler="pixelshuffledirect"
    )  # fmt: skip


NETWORKS = {"span": (2, 1), "safmn": (4, 8), "swinir": (2, 1)}
"""Scale, and what sides must be multiples of."""

by_network = pytest.mark.parametrize("name", NETWORKS)


def run(
    engine: WindowsEngine, picture: Array, plan: Plan, dtype: type[np.generic] = np.float32, rows: int = 7
) -> Array:
    pixels = to_float(picture)
    height, width = pixels.shape[:2]
    bands = (pixels[row : row + rows] for row in range(0, height, rows))
    return np.concatenate(list(engine.run(bands, width, height, plan, dtype)))


def engine_of(path: Path, precision: str = "fp32") -> WindowsEngine:
    return WindowsEngine(open_model(str(path)), "cpu", precision)


@by_network
def test_file_is_recognized_with_its_scale_and_multiple(name: str, foreign: Callable[[str], Path]) -> None:
    checkpoint = open_model(str(foreign(name)))
    assert checkpoint.spec.arch == "foreign"
    assert checkpoint.spec.name == name
    assert (checkpoint.spec.scale, checkpoint.spec.multiple) == NETWORKS[name]
    assert checkpoint.arrays == {}


@by_network
def test_one_window_is_what_spandrel_computes(name: str, foreign: Callable[[str], Path], make_photo: MakePhoto) -> None:
    from spandrel import ModelLoader

    picture = make_photo(40, 48)
    got = run(engine_of(foreign(name)), picture, WHOLE)
    with torch.inference_mode():
        network = ModelLoader(device="cpu").load_from_file(foreign(name)).eval()
        wanted = network(torch.from_numpy(to_float(picture)).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    assert got.std() > 0.01, "a flat result would agree with anything"
    np.testing.assert_allclose(got, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("edge", "size"), [(64, (130, 170)), (80, (97, 161)), (100, (40, 260))], ids=str)
def test_windows_of_a_convolutional_network_are_the_whole(
    edge: int, size: tuple[int, int], foreign: Callable[[str], Path], make_photo: MakePhoto
) -> None:
    """The halo is wider than what such a network sees, so that only the order of sums differs."""
    engine, picture = engine_of(foreign("span")), make_photo(*size)
    whole = run(engine, picture, WHOLE, np.uint8).astype(int)
    got = run(engine, picture, Plan(edge, edge), np.uint8).astype(int)
    assert (np.abs(got - whole) <= 1).mean() >= 0.999
    assert np.abs(got - whole).max() <= 2


@pytest.mark.parametrize("name", ["safmn", "swinir"])
def test_windows_of_other_networks_differ_little_and_are_all_there(
    name: str, foreign: Callable[[str], Path], make_photo: MakePhoto
) -> None:
    engine, picture = engine_of(foreign(name)), make_photo(96, 160)
    whole, got = run(engine, picture, WHOLE), run(engine, picture, Plan(64, 64))
    assert got.shape == whole.shape == (96 * engine.spec.scale, 160 * engine.spec.scale, 3)
    error = np.abs(got - whole)
    assert error.mean() < 0.02
    # no strip is misplaced: each is far nearer to its own place than to one pixel beside it
    assert error.mean() < 0.5 * np.abs(got[1:] - whole[:-1]).mean()


@pytest.mark.parametrize("name", ["span", "safmn"])
def test_input_may_come_in_any_bands(name: str, foreign: Callable[[str], Path], make_photo: MakePhoto) -> None:
    engine, picture = engine_of(foreign(name)), make_photo(136, 40)
    wanted = run(engine, picture, Plan(64, 64), np.uint8, 1000)
    for rows in (3, 50):
        np.testing.assert_array_equal(run(engine, picture, Plan(64, 64), np.uint8, rows), wanted)


@by_network
@pytest.mark.parametrize("size", [(1, 1), (3, 70)], ids=str)
def test_enlarger_takes_any_size_whatever_the_networks_multiple(
    name: str, size: tuple[int, int], foreign: Callable[[str], Path], make_photo: MakePhoto
) -> None:
    enlarger = Enlarger(open_model(str(foreign(name))), Wish(device="cpu"), Settings(tile=64))
    scale = enlarger.scale
    got = enlarger.enlarge(Image(make_photo(*size)), scale)
    assert (got.height, got.width) == (size[0] * scale, size[1] * scale)


@pytest.mark.parametrize("name", ["span", "swinir"])
def test_foreign_networks_see_the_picture_and_nothing_around_it(
    name: str, foreign: Callable[[str], Path], make_photo: MakePhoto
) -> None:
    """Published figures hold for that; padding of ours would change what they do at the rim."""
    picture, path = make_photo(40, 48), foreign(name)
    alone = run(engine_of(path), picture, WHOLE, np.uint8)
    enlarger = Enlarger(open_model(str(path)), Wish(device="cpu", precision="fp32"), Settings(color_fix=False))
    got = enlarger.enlarge(Image(picture), enlarger.scale).rgb
    np.testing.assert_array_equal(got, alone)


def test_progress_rises_to_one(foreign: Callable[[str], Path], make_photo: MakePhoto) -> None:
    told: list[float] = []
    pixels = to_float(make_photo(200, 16))
    list(engine_of(foreign("span")).run(iter([pixels]), 16, 200, Plan(64, 64), np.uint8, told.append))
    assert told == sorted(told)
    assert len(told) >= 3
    assert told[-1] == 1


def test_precision_that_an_architecture_does_not_bear_is_refused(foreign: Callable[[str], Path]) -> None:
    with pytest.raises(EngineError, match="safmn: this architecture does not work in fp16; use --precision fp32"):
        engine_of(foreign("safmn"), "fp16")


def test_bf16_is_close_to_fp32(foreign: Callable[[str], Path], make_photo: MakePhoto) -> None:
    picture = make_photo(40, 40)
    low, high = (run(engine_of(foreign("span"), precision), picture, WHOLE) for precision in ("bf16", "fp32"))
    error = float(np.mean((low.astype(np.float64) - high) ** 2))
    assert -10 * math.log10(max(error, 1e-30)) > 35


def test_memory_that_runs_short_leads_to_smaller_windows(
    foreign: Callable[[str], Path], make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = Image(make_photo(130, 60))
    checkpoint = open_model(str(foreign("span")))
    wanted = Enlarger(checkpoint, Wish(device="cpu"), Settings(tile=64)).enlarge(picture, 2).rgb
    enlarger = Enlarger(checkpoint, Wish(device="cpu"), Settings(tile="whole"))
    real = WindowsEngine._enlarged

    def limited(engine: WindowsEngine, window: Floats) -> torch.Tensor:
        if window.shape[0] * window.shape[1] > 110 * 68:
            raise OutOfMemoryError("cpu is out of memory")
        return real(engine, window)

    monkeypatch.setattr(WindowsEngine, "_enlarged", limited)
    np.testing.assert_array_equal(enlarger.enlarge(picture, 2).rgb, wanted)
    assert enlarger.warnings


def test_choose_takes_torch_in_fp32_and_says_why(foreign: Callable[[str], Path]) -> None:
    choice = choose(open_model(str(foreign("swinir"))), Wish(device="cpu"))
    assert (choice.engine.name, choice.engine.precision) == ("torch", "fp32")
    assert "spandrel" in choice.reason


# ---------------------------------------------------------------- files that cannot be opened


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    """A checkpoint of no known architecture."""
    path = tmp_path / "mystery.pth"
    torch.save({"layer.weight": torch.zeros(4, 4)}, path)
    return path


def test_without_spandrel_the_error_is_one_line_with_the_remedy(unknown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ModelError, match=r"mystery\.pth: .*pip install 'upscale\[all-archs\]'") as caught:
        open_model(str(unknown))
    assert "\n" not in str(caught.value)


def test_what_spandrel_does_not_know_either_is_one_line(unknown: Path) -> None:
    pytest.importorskip("spandrel")
    with pytest.raises(ModelError, match=r"mystery\.pth: .*spandrel") as caught:
        open_model(str(unknown))
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- geometry


@given(st.integers(1, 3000), st.integers(32, 300))
def test_cuts_cover_the_length_once_and_leave_no_sliver(length: int, edge: int) -> None:
    pieces = cuts(length, edge)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == length
    assert all(left[1] == right[0] for left, right in pairwise(pieces))
    assert all(stop - start < 1.5 * edge for start, stop in pieces)
    assert len(pieces) == 1 or all(stop - start >= edge // 2 for start, stop in pieces)


@settings(deadline=None)
@given(st.integers(1, 700), st.integers(64, 200), st.integers(1, 4), st.sampled_from([32, 35, 36, 40]))
def test_weights_of_neighboring_windows_add_up_to_one(length: int, edge: int, scale: int, halo: int) -> None:
    total = torch.zeros(length * scale)
    for start, stop in cuts(length, max(2 * halo, edge)):
        low, high = max(0, start - halo), min(length, stop + halo)
        weight = profile(length, start, stop, halo, scale)
        assert weight.shape == ((high - low) * scale,)
        assert float(weight.min()) >= 0
        total[low * scale : high * scale] += weight
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-5, rtol=0)


def test_a_windows_own_rim_counts_for_nothing_and_the_pictures_fully() -> None:
    """What lies within half a halo of a cut through the picture is where zero padding would show."""
    weight = profile(300, 100, 200, HALO, 1)
    assert torch.all(weight[: HALO // 2] == 0)
    assert torch.all(weight[-HALO // 2 :] == 0)
    assert torch.all(weight[HALO + HALO // 2 : -HALO - HALO // 2] == 1)
    assert torch.all(profile(300, 0, 300, HALO, 1) == 1)


def test_other_errors_of_a_network_are_not_hidden(
    foreign: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(foreign("span"))

    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(engine, "_network", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        run(engine, np.zeros((20, 20, 3), np.uint8), WHOLE)


def test_a_checkpoint_of_ours_is_never_taken_for_a_foreign_one(tmp_path: Path, random_checkpoint: object) -> None:
    from upscale.checkpoint import write_pth
    from upscale.spec import ModelSpec

    ours: Checkpoint = random_checkpoint(ModelSpec("tiny", "rrdb", 4, 8, 4, 1), 0)  # type: ignore[operator]
    write_pth(ours, tmp_path / "tiny.pth")
    assert open_model(str(tmp_path / "tiny.pth")).spec.arch == "rrdb"
