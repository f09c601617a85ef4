"""`upscale.load`: numpy, PIL or torch in, the same out, and the very pixels that the command writes."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pil

import upscale
from upscale.checkpoint import Checkpoint, write_safetensors
from upscale.engines.choose import Wish
from upscale.enlarge import Enlarger
from upscale.errors import EngineError, ModelError, UpscaleError
from upscale.media.folder import Places, tasks
from upscale.media.isolated.decoder import Decoder
from upscale.pipeline import run
from upscale.sizes import Size
from upscale.spec import ModelSpec
from upscale.work import Work

REPOSITORY = Path(__file__).resolve().parents[1]
SPEC = ModelSpec("tiny", "compact", 4, features=8, blocks=2, activation="prelu")
MakePhoto = Callable[..., npt.NDArray[Any]]
Pixels = npt.NDArray[Any]


@pytest.fixture(scope="module")
def model(random_checkpoint: Callable[[ModelSpec, int], Checkpoint], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    write_safetensors(random_checkpoint(SPEC, 0), path)
    return path


@pytest.fixture(scope="module")
def up(model: Path) -> Iterator[upscale.Upscaler]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSCALE_CACHE", str(model.parent / "cache"))
        made = upscale.load(model, device="cpu")
    yield made
    made.close()


@pytest.fixture
def small(make_photo: MakePhoto) -> Pixels:
    return make_photo(12, 17)


def command_on(path: Path, model: Path, scale: float = 4) -> Path:
    """What the command makes of a file."""
    from upscale.model import open_model

    enlarger = Enlarger(open_model(str(model)), Wish(device="cpu"))
    found = tasks([str(path)], Places(path.parent / "out", f"{scale:g}"))
    with Decoder() as decoder:
        (outcome,) = run(found, Work(enlarger, decoder, Size(scale=scale)), lambda _: None)
    assert outcome.record.error is None
    assert outcome.record.output is not None
    return Path(outcome.record.output)


def pillow(path: Path) -> Pil.Image:
    with Pil.open(path) as picture:
        picture.load()
        return picture


def test_importing_the_package_is_cheap() -> None:
    heavy = ("torch", "numpy", "cv2", "openvino", "PIL", "click", "tqdm")
    code = f"import sys, upscale; upscale.__version__; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_attributes_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        upscale.nonsense  # noqa: B018


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.float16])
@pytest.mark.parametrize("shape", [(12, 17, 3), (12, 17, 4), (12, 17), (12, 17, 1)])
def test_numpy_keeps_dtype_and_kind_of_shape(
    up: upscale.Upscaler, make_photo: MakePhoto, dtype: Any, shape: tuple[int, ...]
) -> None:
    photo = make_photo(12, 17, dtype=np.uint16)
    photo = np.dstack((photo, photo[..., :1]))
    pixels = photo[..., 0] if len(shape) == 2 else photo[..., : shape[2]]
    pixels = (pixels / 65535).astype(dtype) if np.issubdtype(dtype, np.floating) else pixels
    pixels = (pixels >> 8).astype(np.uint8) if dtype == np.uint8 else pixels
    before = pixels.copy()
    result = up(pixels)
    assert result.dtype == dtype
    assert result.shape == (48, 68, *shape[2:])
    assert np.array_equal(pixels, before), "the input is left as it was"
    full = 1 if np.issubdtype(dtype, np.floating) else np.iinfo(dtype).max
    assert result.min() >= 0
    assert result.max() <= full
    assert len(np.unique(result)) > (1000 if dtype != np.uint8 else 30)


@pytest.mark.parametrize("scale", [0.5, 1, 1.5, 2, 4, 5.3, 16])
def test_each_side_is_rounded(up: upscale.Upscaler, small: Pixels, scale: float) -> None:
    assert up(small, scale).shape == (round(12 * scale), round(17 * scale), 3)
    assert up(small, scale=scale).dtype == np.uint8


def test_default_scale_is_the_models_own(up: upscale.Upscaler, small: Pixels) -> None:
    assert up.scale == 4
    assert np.array_equal(up(small), up(small, 4.0))


def test_description_names_engine_device_and_precision(up: upscale.Upscaler) -> None:
    assert "on cpu in" in up.description


@pytest.mark.parametrize("view", [np.asfortranarray, lambda p: p[::-1, ::-1][::-1, ::-1], lambda p: p.copy("K")])
def test_any_memory_layout_gives_the_same(
    up: upscale.Upscaler, small: Pixels, view: Callable[[Pixels], Pixels]
) -> None:
    given = view(small)
    given.flags.writeable = False
    assert np.array_equal(up(given), up(small))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_pillow_modes_come_back(up: upscale.Upscaler, small: Pixels, mode: str) -> None:
    picture = (
        Pil.fromarray(small[..., 0].astype(np.uint16) * 257) if mode == "I;16" else Pil.fromarray(small).convert(mode)
    )
    result = up(picture)
    assert (result.mode, result.size) == (mode, (68, 48))


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr", "HSV"])
def test_other_pillow_modes_come_as_rgb(up: upscale.Upscaler, small: Pixels, mode: str) -> None:
    picture = Pil.fromarray(small).convert(mode)
    assert np.array_equal(np.asarray(up(picture)), up(np.asarray(picture.convert("RGB"))))


def test_row_11_pillow_palette_keeps_its_transparency(up: upscale.Upscaler, small: Pixels) -> None:
    picture = Pil.fromarray(small).quantize(8)
    picture.info["transparency"] = 2
    result = up(picture)
    assert result.mode == "RGBA"
    assert result.getchannel("A").getextrema()[0] == 0


def test_row_17_pillow_keeps_its_profile(up: upscale.Upscaler, small: Pixels) -> None:
    picture = Pil.fromarray(small)
    picture.info["icc_profile"] = b"profile"
    assert up(picture).info["icc_profile"] == b"profile"


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pillow_modes_of_no_known_range_are_refused(up: upscale.Upscaler, small: Pixels, mode: str) -> None:
    with pytest.raises(ValueError, match=mode):
        up(Pil.fromarray(small).convert("L").convert(mode))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
@pytest.mark.parametrize("scale", [4, 2.5, 0.5])
def test_pixels_are_those_that_the_command_writes(
    up: upscale.Upscaler, model: Path, tmp_path: Path, make_photo: MakePhoto, mode: str, scale: float
) -> None:
    photo = make_photo(20, 31)
    picture = Pil.fromarray(np.dstack((photo, photo[..., 0]))).convert(mode)
    picture.save(tmp_path / "a.png")
    written = pillow(command_on(tmp_path / "a.png", model, scale))
    assert written.mode == mode
    assert np.array_equal(np.asarray(up(picture, scale)), np.asarray(written))
    if mode != "LA":
        assert np.array_equal(up(np.asarray(picture), scale), np.asarray(written))


@pytest.mark.parametrize("kind", ["color", "gray"])
def test_16_bit_pixels_are_those_that_the_command_writes(
    up: upscale.Upscaler, model: Path, tmp_path: Path, make_photo: MakePhoto, kind: str
) -> None:
    photo = make_photo(20, 31, dtype=np.uint16)
    pixels = photo if kind == "color" else photo[..., 0]
    cv2.imwrite(str(tmp_path / "a.png"), pixels[..., ::-1] if kind == "color" else pixels)
    written = cv2.imread(str(command_on(tmp_path / "a.png", model)), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(up(pixels), written[..., ::-1] if kind == "color" else written)


def test_float_results_are_not_rounded_to_levels(up: upscale.Upscaler, small: Pixels) -> None:
    exact = up((small / 255).astype(np.float32))
    assert np.abs(exact - np.rint(exact * 255) / 255).max() > 1e-3
    assert np.abs(exact * 255 - up(small)).max() < 4


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (4, 4, 5), (1, 4, 4, 3), (0, 4, 3), (4, 0, 3), (0, 0), ()])
def test_other_shapes_are_value_errors(up: upscale.Upscaler, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        up(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.int32, np.int8, np.uint32, np.bool_, np.complex64, object, ">u2"])
def test_other_dtypes_are_value_errors(up: upscale.Upscaler, dtype: Any) -> None:
    with pytest.raises(ValueError, match="uint8, uint16 or float"):
        up(np.zeros((4, 4, 3), dtype))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.01, 1.01, 255.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_outside_0_to_1_are_value_errors(up: upscale.Upscaler, value: float, dtype: Any) -> None:
    pixels = np.full((4, 4, 3), 0.5, dtype)
    pixels[2, 1, 0] = value
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        up(pixels)


@pytest.mark.parametrize("picture", ["a.png", Path("a.png"), None, [[1, 2], [3, 4]], b"png"])
def test_other_things_are_value_errors(up: upscale.Upscaler, picture: Any) -> None:
    with pytest.raises(ValueError, match="numpy array, a PIL image or a torch tensor"):
        up(picture)


@pytest.mark.parametrize("scale", [0, 0.49, 16.01, -1, float("nan"), float("inf")])
def test_scales_outside_the_limits_are_value_errors(up: upscale.Upscaler, small: Pixels, scale: float) -> None:
    with pytest.raises(ValueError, match=r"0\.5\.\.16"):
        up(small, scale)


@pytest.mark.parametrize(
    "options", [{"engine": "tensorflow"}, {"precision": "int8"}, {"wrap": "z"}, {"tile": "big"}, {"tile": 2.5}]
)
def test_options_that_do_not_exist_are_value_errors(model: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        upscale.load(model, **options)


def test_what_cannot_be_opened_is_an_upscale_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nope"):
        upscale.load("nope")
    with pytest.raises(ModelError, match="missing"):
        upscale.load(tmp_path / "missing.safetensors")
    with pytest.raises(EngineError, match="abacus"):
        upscale.load(model, device="abacus")
    with pytest.raises(EngineError, match="fp16"):
        upscale.load(model, device="cpu", precision="fp16")
    with pytest.raises(UpscaleError, match="rows"):
        upscale.load(model, tile=3)


@pytest.mark.parametrize("tile", ["auto", "whole", 16, 24])
def test_row_8_tiles_do_not_change_a_pixel(up: upscale.Upscaler, model: Path, make_photo: MakePhoto, tile: Any) -> None:
    photo = make_photo(70, 33)
    assert np.array_equal(upscale.load(model, device="cpu", tile=tile)(photo), up(photo))


def test_the_same_upscaler_gives_the_same_twice(up: upscale.Upscaler, make_photo: MakePhoto) -> None:
    first, other = make_photo(12, 17), make_photo(30, 9)
    wanted = up(first)
    up(other)
    assert np.array_equal(up(first), wanted)


class TestTorch:
    """Tensors; importing torch takes seconds, so that these come last."""

    @pytest.mark.parametrize("kind", ["uint8", "float32", "float16", "float64", "bfloat16"])
    @pytest.mark.parametrize("batch", [False, True])
    def test_tensors_keep_dtype_device_and_shape(
        self, up: upscale.Upscaler, small: Pixels, kind: str, batch: bool
    ) -> None:
        torch = pytest.importorskip("torch")
        tensor = torch.from_numpy(small.copy()).permute(2, 0, 1)
        given = tensor if kind == "uint8" else (tensor / 255).to(getattr(torch, kind))
        given = torch.stack([given, given.flip(2)]) if batch else given
        result: Any = up(given)
        assert result.dtype == given.dtype
        assert result.device == given.device
        assert tuple(result.shape) == ((2,) if batch else ()) + (3, 48, 68)
        assert result.is_contiguous()
        one = result[0] if batch else result
        wanted = up(small)
        got = one.permute(1, 2, 0).to(torch.float64).numpy() * (1 if kind == "uint8" else 255)
        if kind == "uint8":
            assert np.array_equal(got, wanted)
        else:
            assert np.abs(got - wanted).max() < 12, "the input's rounding, no more"
        if batch:
            assert torch.equal(result[1], up(given[1]))

    def test_tensors_with_gradients_are_taken(self, up: upscale.Upscaler) -> None:
        torch = pytest.importorskip("torch")
        result: Any = up(torch.full((3, 4, 5), 0.5, requires_grad=True))
        assert not result.requires_grad

    @pytest.mark.parametrize("shape", [(3, 4), (1, 4, 4), (4, 4, 4), (4, 4, 3), (2, 1, 4, 4), (0, 3, 4, 4), (3, 0, 4)])
    def test_other_tensor_shapes_are_value_errors(self, up: upscale.Upscaler, shape: tuple[int, ...]) -> None:
        torch = pytest.importorskip("torch")
        with pytest.raises(ValueError, match=r"\(3, H, W\)|\(H, W\)"):
            up(torch.zeros(shape, dtype=torch.uint8))

    @pytest.mark.parametrize("kind", ["int64", "int32", "bool", "int8"])
    def test_other_tensor_dtypes_are_value_errors(self, up: upscale.Upscaler, kind: str) -> None:
        torch = pytest.importorskip("torch")
        with pytest.raises(ValueError, match="uint8 or float"):
            up(torch.zeros((3, 4, 4), dtype=getattr(torch, kind)))

    @pytest.mark.parametrize("value", [float("nan"), -0.5, 2.0])
    def test_tensor_values_outside_0_to_1_are_value_errors(self, up: upscale.Upscaler, value: float) -> None:
        torch = pytest.importorskip("torch")
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            up(torch.full((3, 4, 4), value))
