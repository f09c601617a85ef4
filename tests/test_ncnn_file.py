"""ncnn's files are read byte for byte, or refused in one line."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upscale.checkpoint import Checkpoint, read_checkpoint
from upscale.errors import ModelError
from upscale.image import Floats
from upscale.ncnn_file import read_ncnn
from upscale.spec import ModelSpec

FP16, FP32, FP32_TAGGED = 0x01306B47, 0, 0x0002C056


@dataclass
class Model:
    """A model as the two files hold it, built up layer by layer."""

    lines: list[str]
    data: bytes = b""

    def convolution(self, weight: Floats, bias: Floats | None, flag: int = FP32) -> None:
        out, _, height, width = weight.shape
        text = f"0={out} 1={width} 4=1 5={int(bias is not None)} 6={weight.size}"
        self.layer("Convolution", text + (f" 11={height}" if height != width else ""))
        stored = weight.astype("<f2").tobytes() if flag == FP16 else weight.astype("<f4").tobytes()
        self.data += struct.pack("<I", flag) + stored + b"\0" * (-len(stored) % 4)
        self.data += b"" if bias is None else bias.astype("<f4").tobytes()

    def prelu(self, slopes: Floats) -> None:
        self.layer("PReLU", f"0={slopes.size}")
        self.data += slopes.astype("<f4").tobytes()

    def layer(self, kind: str, text: str = "") -> None:
        number = len(self.lines)
        self.lines.append(f"{kind:16} {kind}_{number} 1 1 {number} {number + 1} {text}")

    def write(self, folder: Path, line_end: str = "\n", name: str = "net") -> Path:
        param = folder / f"{name}.param"
        text = line_end.join(["7767517", f"{len(self.lines)} {len(self.lines) + 1}", *self.lines, ""])
        param.write_bytes(text.encode())
        param.with_suffix(".bin").write_bytes(self.data)
        return param


def numbers(*shape: int) -> Floats:
    """Values that fp16 holds exactly."""
    return np.random.default_rng(shape).integers(-64, 64, shape).astype(np.float32) / 32


def small() -> Model:
    model = Model([])
    model.layer("Input")
    model.convolution(numbers(3, 2, 3, 3), numbers(3))
    model.prelu(numbers(3) / 8)
    return model


def read(param: Path) -> list[tuple[Floats, ...]]:
    return [layer.arrays for layer in read_ncnn(param, param.with_suffix(".bin"))]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("flag", [FP16, FP32, FP32_TAGGED], ids=["fp16", "fp32", "fp32 tagged"])
def test_all_ways_of_storing_weights_are_read(tmp_path: Path, flag: int, line_end: str) -> None:
    model = Model([])
    model.layer("Input")
    model.convolution(numbers(5, 3, 3, 3), numbers(5), flag)
    model.prelu(numbers(5) / 8)
    model.convolution(numbers(4, 5, 1, 1), numbers(4), flag)
    layers = read_ncnn(param := model.write(tmp_path, line_end), param.with_suffix(".bin"))
    assert [layer.kind for layer in layers] == ["Input", "Convolution", "PReLU", "Convolution"]
    assert layers[1].parameters == {0: 5, 1: 3, 4: 1, 5: 1, 6: 135}
    expected = [(), (numbers(5, 3, 3, 3), numbers(5)), (numbers(5) / 8,), (numbers(4, 5, 1, 1), numbers(4))]
    for layer, arrays in zip(layers, expected, strict=True):
        assert len(layer.arrays) == len(arrays)
        for found, wanted in zip(layer.arrays, arrays, strict=True):
            assert found.dtype == np.float32
            assert np.array_equal(found, wanted)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 3, 3), (3, 1, 3, 3), (5, 5, 1, 1), (2, 1, 1, 1)])
def test_fp16_weights_of_odd_number_are_padded_to_four_bytes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    model = Model([])
    model.convolution(numbers(*shape), numbers(shape[0]), FP16)
    model.convolution(numbers(*shape) / 2, None, FP16)
    model.prelu(numbers(7))
    first, second, slopes = read(model.write(tmp_path))
    assert np.array_equal(first[0], numbers(*shape))
    assert np.array_equal(first[1], numbers(shape[0]))
    assert np.array_equal(second[0], numbers(*shape) / 2)
    assert np.array_equal(slopes[0], numbers(7))


def test_a_convolution_without_bias_has_zeros(tmp_path: Path) -> None:
    model = Model([])
    model.convolution(numbers(3, 2, 3, 3), None)
    model.convolution(numbers(3, 3, 3, 3), numbers(3))
    (_, bias), (weight, _) = read(model.write(tmp_path))
    assert bias.tolist() == [0, 0, 0]
    assert np.array_equal(weight, numbers(3, 3, 3, 3))


def test_kernels_need_not_be_square(tmp_path: Path) -> None:
    model = Model([])
    model.convolution(numbers(4, 2, 1, 3), numbers(4))
    assert np.array_equal(read(model.write(tmp_path))[0][0], numbers(4, 2, 1, 3))


def test_array_parameters_are_passed_over(tmp_path: Path) -> None:
    model = small()
    model.lines[1] += " 9=2 -23310=1,2.000000e-01"
    layers = read_ncnn(param := model.write(tmp_path), param.with_suffix(".bin"))
    assert layers[1].parameters[9] == 2


@pytest.mark.parametrize("missing", [1, 2, 4, 12, 13, 100])
def test_a_weight_file_that_ends_early_is_refused(tmp_path: Path, missing: int) -> None:
    model = small()
    model.data = model.data[:-missing]
    with pytest.raises(ModelError, match=r"net\.bin: ends early"):
        read(model.write(tmp_path))


@pytest.mark.parametrize("extra", [1, 4, 1000])
def test_a_weight_file_that_is_too_long_is_refused(tmp_path: Path, extra: int) -> None:
    model = small()
    model.data += b"\0" * extra
    with pytest.raises(ModelError, match=rf"net\.bin: {extra} bytes too many"):
        read(model.write(tmp_path))


@pytest.mark.parametrize("flag", [0x000D4B38, 1, 0xFFFFFFFF], ids=["int8", "table", "nonsense"])
def test_weights_stored_in_another_way_are_refused(tmp_path: Path, flag: int) -> None:
    model = Model([])
    model.convolution(numbers(3, 2, 3, 3), numbers(3), flag)
    with pytest.raises(ModelError, match="unknown way"):
        read(model.write(tmp_path))


def test_a_parameter_file_cut_off_at_a_line_is_refused(tmp_path: Path) -> None:
    model = small()
    model.layer("BinaryOp")
    param = model.write(tmp_path)
    lines = param.read_text().splitlines()
    param.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(ModelError, match=r"net\.param: not as many layers"):
        read(param)


@pytest.mark.parametrize("text", ["", "\n", "7767517", "7767517\n", "767517\n1 1\n", "<html>404</html>", "PK\x03\x04"])
def test_what_is_no_parameter_file_is_refused(tmp_path: Path, text: str) -> None:
    param = small().write(tmp_path)
    param.write_text(text)
    with pytest.raises(ModelError, match=r"net\.param") as caught:
        read(param)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "Convolution",
        "Convolution c 1",
        "Convolution c x 1 0 1 0=3",
        "Convolution c 1 1 0 1 0=x",
        "Convolution c 1 1 0 1 0",
        "Convolution c 1 1 0 1 =",
        "Convolution c 1 1 0 1 0=nan 1=3 6=54",
        "Convolution c 1 1 0 1 0=inf 1=3 6=54",
        "Convolution c 1 1 0 1 0=0 1=3 6=54",
        "Convolution c 1 1 0 1 0=3 1=0 6=54",
        "Convolution c 1 1 0 1 0=3 1=3 6=55",
        "Convolution c 1 1 0 1 0=3 1=3 6=0",
        "Convolution c 1 1 0 1 0=3 1=3 6=-54",
        "Convolution c 1 1 0 1 0=3 1=3 6=5400000000000",
        "PReLU p 1 1 0 1 0=-3",
        "PReLU p 1 1 0 1 0=1e30",
    ],
)
def test_impossible_layers_are_refused_in_one_line(tmp_path: Path, line: str) -> None:
    model = small()
    model.lines[1] = line
    with pytest.raises(ModelError) as caught:
        read(model.write(tmp_path))
    assert str(tmp_path / "net.") in str(caught.value)
    assert "\n" not in str(caught.value)


@given(place=st.integers(0, 400), value=st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_one_wrong_byte_never_crashes(tmp_path_factory: pytest.TempPathFactory, place: int, value: int) -> None:
    param = small().write(tmp_path_factory.mktemp("model", numbered=True))
    content = bytearray(param.read_bytes())
    content[place % len(content)] = value
    param.write_bytes(bytes(content))
    try:
        arrays = read(param)
    except ModelError:
        pass  # refused, as it should be unless the byte happens not to matter
    else:
        assert sum(array.size for layer in arrays for array in layer) > 0


# ---------------------------------------------------------------- whole networks


def test_a_network_in_ncnns_form_is_read_back(
    tmp_path: Path, random_checkpoint: Callable[[ModelSpec, int], Checkpoint]
) -> None:
    spec = ModelSpec("x2_misleading", "compact", 4, 8, blocks=3, activation="prelu")
    arrays = random_checkpoint(spec, 1).arrays
    model = Model([])
    for k in range(spec.blocks + 2):
        model.convolution(arrays[f"body.{2 * k}.weight"], arrays[f"body.{2 * k}.bias"])
        if k <= spec.blocks:
            model.prelu(arrays[f"body.{2 * k + 1}.weight"])
    model.layer("PixelShuffle", "0=4")
    param = model.write(tmp_path, "\r\n", "x2_misleading")
    for path in (param, param.with_suffix(".bin")):
        found = read_checkpoint(path)
        assert found.spec == spec
        assert all(np.array_equal(found.arrays[key], value) for key, value in arrays.items())


@pytest.mark.parametrize(("name", "blocks"), [("RealESRGAN_General_x4_v3", 32), ("4xLSDIRCompactC3", 16)])
@pytest.mark.parametrize("suffix", [".param", ".bin"])
def test_published_files_are_read(shared: Path, name: str, blocks: int, suffix: str) -> None:
    path = shared / "weights" / f"{name}{suffix}"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    checkpoint = read_checkpoint(path)
    assert checkpoint.spec == ModelSpec(name, "compact", 4, 64, blocks=blocks, activation="prelu")
    weights = [value for key, value in checkpoint.arrays.items() if value.ndim == 4]
    assert all(0.001 < value.std() < 10 for value in weights), "trained weights, not bytes of something else"


def test_published_weights_compute_what_ncnn_computes(shared: Path, photo: np.ndarray) -> None:
    """The whole way from the file to the picture, against ncnn's own runtime."""
    ncnn = pytest.importorskip("ncnn")
    pytest.importorskip("openvino")
    from upscale.bands import Plan
    from upscale.engines.openvino import OpenVinoEngine
    from upscale.image import to_float

    path = shared / "weights" / "4xLSDIRCompactC3.param"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    picture = to_float(photo[:40, :48])
    net = ncnn.Net()
    net.load_param(str(path))
    net.load_model(str(path.with_suffix(".bin")))
    extractor = net.create_extractor()
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1))
    extractor.input("data", ncnn.Mat(planes).clone())  # the Mat alone would borrow the array's memory
    _, output = extractor.extract("output")
    expected = np.clip(np.array(output).transpose(1, 2, 0), 0, 1)
    engine = OpenVinoEngine(read_checkpoint(path), "fp32")
    result = np.concatenate(list(engine.run(iter([picture]), 48, 40, Plan(16, 8), np.float32)))
    assert result.shape == expected.shape == (160, 192, 3)
    # ncnn computes parts in fp16 or bf16 where its build allows it
    assert np.abs(result - expected).mean() < 2e-3
