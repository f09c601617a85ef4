"""Option files of BasicSR and Real-ESRGAN become recipes: files of their structure, written here, with other numbers too."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from upscale.spec import ModelSpec
from upscale_training.adversary import AdversaryRecipe
from upscale_training.adversary.games import least_squares, non_saturating, relativistic_average
from upscale_training.adversary.unet import UNetDiscriminator
from upscale_training.adversary.vgg import VGGDiscriminator
from upscale_training.degrade.presets import PRESETS
from upscale_training.degrade.realesrgan import FIRST, SECOND, SecondOrder
from upscale_training.degrade.sharpen import sharpen_target
from upscale_training.errors import RecipeError
from upscale_training.losses import Late
from upscale_training.losses.sharp import sharp_real, sharpened, sr_and_sharp
from upscale_training.options_file import recipe_from_options
from upscale_training.recipe import Decay, Recipe, rate_at
from upscale_training.script import load_recipe
from upscale_training.terms import sr_and_hr

yaml = pytest.importorskip("yaml")

Options = dict[str, Any]

SECOND_ORDER: Options = {
    "resize_prob": [0.2, 0.7, 0.1],
    "resize_range": [0.15, 1.5],
    "gaussian_noise_prob": 0.5,
    "noise_range": [1, 30],
    "poisson_scale_range": [0.05, 3],
    "gray_noise_prob": 0.4,
    "jpeg_range": [30, 95],
    "second_blur_prob": 0.8,
    "resize_prob2": [0.3, 0.4, 0.3],
    "resize_range2": [0.3, 1.2],
    "gaussian_noise_prob2": 0.5,
    "noise_range2": [1, 25],
    "poisson_scale_range2": [0.05, 2.5],
    "gray_noise_prob2": 0.4,
    "jpeg_range2": [30, 95],
    "gt_size": 256,
    "queue_size": 180,
}
KINDS = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
BLUR: Options = {
    "blur_kernel_size": 21,
    "kernel_list": KINDS,
    "kernel_prob": [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
    "sinc_prob": 0.1,
    "blur_sigma": [0.2, 3],
    "betag_range": [0.5, 4],
    "betap_range": [1, 2],
}
SYNTHETIC: Options = {
    "name": "pictures",
    "type": "RealESRGANDataset",
    "dataroot_gt": "datasets/my photos",
    "meta_info": "datasets/list.txt",
    "io_backend": {"type": "disk"},
    **BLUR,
    **{f"{key}2": value for key, value in BLUR.items()},
    "blur_sigma2": [0.2, 1.5],
    "final_sinc_prob": 0.8,
    "gt_size": 256,
    "use_hflip": True,
    "use_rot": True,
    "use_shuffle": True,
    "num_worker_per_gpu": 5,
    "batch_size_per_gpu": 12,
    "prefetch_mode": None,
}
PAIRED: Options = {
    "type": "PairedImageDataset",
    "dataroot_gt": "datasets/HR",
    "dataroot_lq": "datasets/LR",
    "io_backend": {"type": "disk"},
    "gt_size": 128,
    "use_hflip": True,
    "use_rot": True,
    "batch_size_per_gpu": 16,
}
ADAM: Options = {"type": "Adam", "lr": 1e-4, "weight_decay": 0, "betas": [0.9, 0.99]}
PIXEL: Options = {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
PERCEPTUAL: Options = {
    "type": "PerceptualLoss",
    "layer_weights": {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1, "conv4_4": 1, "conv5_4": 1},
    "vgg_type": "vgg19",
    "use_input_norm": True,
    "perceptual_weight": 1.0,
    "style_weight": 0,
    "range_norm": False,
    "criterion": "l1",
}
GAN: Options = {
    "type": "GANLoss",
    "gan_type": "vanilla",
    "real_label_val": 1.0,
    "fake_label_val": 0.0,
    "loss_weight": 0.1,
}
RRDB: Options = {
    "type": "RRDBNet",
    "num_in_ch": 3,
    "num_out_ch": 3,
    "num_feat": 64,
    "num_block": 23,
    "num_grow_ch": 32,
}
TRAIN: Options = {
    "ema_decay": 0.999,
    "optim_g": ADAM,
    "optim_d": ADAM,
    "scheduler": {"type": "MultiStepLR", "milestones": [400000], "gamma": 0.5},
    "total_iter": 400000,
    "warmup_iter": -1,
    "pixel_opt": PIXEL,
    "perceptual_opt": PERCEPTUAL,
    "gan_opt": GAN,
    "net_d_iters": 1,
    "net_d_init_iters": 0,
}
LOGGER: Options = {"print_freq": 100, "save_checkpoint_freq": 5000.0, "wandb": {"project": None}}


def realesrgan() -> Options:
    """As train_realesrgan_x4plus.yml, on one GPU."""
    return {
        "name": "mine",
        "model_type": "RealESRGANModel",
        "scale": 4,
        "num_gpu": "auto",
        "manual_seed": 3,
        **{"l1_gt_usm": True, "percep_gt_usm": True, "gan_gt_usm": False},
        **SECOND_ORDER,
        "datasets": {"train": dict(SYNTHETIC)},
        "network_g": dict(RRDB),
        "network_d": {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 64, "skip_connection": True},
        "path": {"pretrain_network_g": None, "param_key_g": "params_ema", "strict_load_g": True, "resume_state": None},
        "train": dict(TRAIN),
        "logger": LOGGER,
        "dist_params": {"backend": "nccl", "port": 29500},
    }


def realesrnet() -> Options:
    """As train_realesrnet_x2plus.yml: no second player."""
    changed = realesrgan() | {"model_type": "RealESRNetModel", "scale": 2, "gt_usm": True}
    for key in ("l1_gt_usm", "percep_gt_usm", "gan_gt_usm", "network_d"):
        del changed[key]
    train = {key: TRAIN[key] for key in ("ema_decay", "optim_g", "scheduler", "total_iter", "pixel_opt")}
    return changed | {"network_g": {**RRDB, "scale": 2}, "train": train}


def esrgan() -> Options:
    """As train_ESRGAN_x4.yml: pairs, a VGG-style discriminator, falling rates."""
    pixel, gan = {**PIXEL, "loss_weight": 0.01}, {**GAN, "loss_weight": 0.005}
    perceptual = {**PERCEPTUAL, "layer_weights": {"conv5_4": 1}}
    scheduler = {"type": "MultiStepLR", "milestones": [200000, 300000, 350000, 375000], "gamma": 0.5}
    losses = {"pixel_opt": pixel, "perceptual_opt": perceptual, "gan_opt": gan, "scheduler": scheduler}
    return {
        "name": "esrgan",
        "model_type": "ESRGANModel",
        "scale": 4,
        "num_gpu": 1,
        "manual_seed": 0,
        "datasets": {"train": PAIRED, "val": {"type": "PairedImageDataset", "dataroot_gt": "datasets/Set14/HR"}},
        "network_g": {key: RRDB[key] for key in ("type", "num_in_ch", "num_out_ch", "num_feat", "num_block")},
        "network_d": {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 64},
        "train": TRAIN | losses,
        "val": {"val_freq": 2500.0, "save_img": True, "metrics": {"psnr": {"type": "calculate_psnr"}}},
        "logger": LOGGER,
    }


def compact() -> Options:
    """An SRVGGNetCompact with least squares and a smaller U-Net."""
    net = {"type": "SRVGGNetCompact", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 48, "num_conv": 16, "upscale": 4}
    changed = realesrgan() | {"network_g": {**net, "act_type": "relu"}}
    changed["network_d"] = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 32, "skip_connection": False}
    gan = {**GAN, "gan_type": "lsgan"}
    changed["train"] |= {"gan_opt": gan, "ldl_opt": PIXEL, "net_d_iters": 2, "net_d_init_iters": 50, "warmup_iter": 40}
    return changed


Imported = tuple[Recipe, list[str], str]


@pytest.fixture
def imported(tmp_path: Path) -> Callable[[Options], Imported]:
    """Options → (the recipe as loaded from its script, the notes, the script)."""

    def through(options: Options) -> Imported:
        file, script = tmp_path / "options.yml", tmp_path / "recipe.py"
        file.write_text(yaml.safe_dump(options), encoding="utf-8")
        text, notes = recipe_from_options(file)
        script.write_text(text, encoding="utf-8")
        return load_recipe(script), notes, text

    return through


Through = Callable[[Options], Imported]


def adversary_of(recipe: Recipe) -> AdversaryRecipe:
    found = recipe.stages[0].adversary
    assert found is not None
    return found


def test_real_esrgans_own_file(imported: Through) -> None:
    recipe, notes, text = imported(realesrgan())
    assert recipe.network == ModelSpec("mine", "rrdb", 4)
    assert recipe.degradation is PRESETS["realesrgan"]
    assert (recipe.target, recipe.start, recipe.ema, recipe.seed) == (None, None, 0.999, 3)
    assert (recipe.cuts.shrink, recipe.cuts.detail, recipe.cuts.flip) == ((1.0, 1.0), 1, True)
    assert (recipe.log_every, recipe.validate_every, recipe.checkpoint_every) == (100, 5000, 5000)
    stage, adversary = recipe.stages[0], adversary_of(recipe)
    assert (stage.steps, stage.batch, stage.crop, stage.learning_rate) == (400000, 12, 256, 1e-4)
    assert (stage.decay, stage.warmup, stage.real) == ("constant", 0, None)
    assert [(term.name, term.weight, term.sees) for term in stage.terms] == [
        ("l1", 1.0, sr_and_sharp),
        ("perceptual", 1.0, sr_and_sharp),
    ]
    loss = stage.terms[1].loss
    assert isinstance(loss, Late)
    assert loss.backbone == "vgg19"
    assert (adversary.net, adversary.game, adversary.weight) == (UNetDiscriminator, non_saturating, 0.1)
    assert (adversary.learning_rate, adversary.betas, adversary.generator_every) == (1e-4, (0.9, 0.99), 1)
    assert "--data 'datasets/my photos' -o runs/mine" in text
    assert [note for note in notes if "needed for nothing" not in note] == [
        "datasets.train.meta_info: datasets/list.txt is not read; --data takes all pictures of a folder"
    ]


def test_realesrnet_aims_at_sharpened_pictures_for_both_sides(imported: Through) -> None:
    recipe, _, _ = imported(realesrnet())
    assert recipe.network == ModelSpec("mine", "rrdb", 2, unshuffle=2)
    assert recipe.target is not None
    picture = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
    assert np.array_equal(recipe.target(picture, np.random.default_rng(0)), sharpen_target(picture))
    assert recipe.degradation(2) == SecondOrder(2)
    assert recipe.stages[0].adversary is None
    plain, _, _ = imported(realesrnet() | {"gt_usm": False})
    assert plain.target is None
    assert plain.degradation(2) == SecondOrder(2, sharpened=False)


def test_esrgans_own_file(imported: Through) -> None:
    recipe, notes, text = imported(esrgan())
    adversary, stage = adversary_of(recipe), recipe.stages[0]
    assert adversary.game is relativistic_average
    assert adversary.net is VGGDiscriminator
    assert [(term.name, term.weight, term.sees) for term in stage.terms] == [
        ("l1", 0.01, sr_and_hr),
        ("perceptual", 1.0, sr_and_hr),
    ]
    loss = stage.terms[1].loss
    assert isinstance(loss, Late)
    assert cast("partial[object]", loss.make).args[1] == {"conv5_4": 1.0}
    assert recipe.degradation is PRESETS["bicubic"]
    assert (stage.crop, stage.decay, recipe.validate_every) == (128, (0.5, 0.75, 0.875, 0.9375), 2500)
    assert any("datasets/LR is not read" in note and "imitate" in note for note in notes)
    assert "--data datasets/HR --val datasets/Set14/HR" in text


def test_a_compact_network_and_everything_unusual(imported: Through) -> None:
    recipe, _, _ = imported(compact())
    assert recipe.network == ModelSpec("mine", "compact", 4, 48, blocks=16, activation="relu")
    adversary, stage = adversary_of(recipe), recipe.stages[0]
    assert [term.name for term in stage.terms] == ["l1", "ldl", "perceptual"]
    assert isinstance(adversary.net, partial)
    net = adversary.net()
    assert isinstance(net, UNetDiscriminator)
    assert not net.skip
    assert net.conv0.out_channels == 32
    assert adversary.game is least_squares
    assert (adversary.generator_every, adversary.generator_from, stage.warmup) == (2, 50, 40)


def test_ranges_of_the_degradation_are_carried_over_where_they_differ(imported: Through) -> None:
    options = realesrgan() | {"noise_range2": [1, 10], "resize_prob": [0.1, 0.8, 0.1], "second_blur_prob": 0.3}
    data: Options = options["datasets"]["train"]
    data |= {"blur_sigma": [0.1, 1.0], "final_sinc_prob": 0.25, "sinc_prob2": 0.05}
    data |= {"kernel_list": ["aniso", "iso"], "kernel_prob": [0.3, 0.7]}
    recipe, _, _ = imported(options)
    first = replace(FIRST, resize=(0.1, 0.8, 0.1), sigma=(0.1, 1.0), kernels=(0.7, 0.3, 0.0, 0.0, 0.0, 0.0))
    second = replace(SECOND, noise=(1.0, 10.0), blur=0.3, sinc=0.05)
    assert recipe.degradation(4) == SecondOrder(4, first, second, ringing=0.25)
    small = recipe.degradation(4)(np.full((64, 64, 3), 0.5, np.float32), np.random.default_rng(0))
    assert small.shape == (16, 16, 3)


def test_a_resize_that_only_shrinks_can_be_drawn(imported: Through) -> None:
    recipe, notes, _ = imported(realesrgan() | {"resize_range": [0.3, 0.8], "resize_prob": [0.0, 1.0, 0.0]})
    assert any("resize_range: [0.3, 0.8]" in note for note in notes)
    degradation = recipe.degradation(4)
    picture = np.full((64, 64, 3), 0.5, np.float32)
    assert degradation(picture, np.random.default_rng(1)).shape == (16, 16, 3)


@pytest.mark.parametrize(("flags", "sees"), [((True, True, True), None), ((False, False, False), None)])
def test_one_sharpness_for_all_needs_no_special_terms(
    imported: Through, flags: tuple[bool, bool, bool], sees: None
) -> None:
    names = ("l1_gt_usm", "percep_gt_usm", "gan_gt_usm")
    recipe, _, _ = imported(realesrgan() | dict(zip(names, flags, strict=True)))
    assert (recipe.target is not None) == flags[0]
    assert all(term.sees is sr_and_hr for term in recipe.stages[0].terms)


def test_a_sharp_discriminator_beside_plain_terms(imported: Through) -> None:
    recipe, _, _ = imported(realesrgan() | {"l1_gt_usm": False, "percep_gt_usm": False, "gan_gt_usm": True})
    assert recipe.target is None
    assert recipe.stages[0].real is sharp_real


def test_sharpening_on_the_device_is_the_one_of_the_data() -> None:
    hr = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    expected = np.stack([sharpen_target(one.permute(1, 2, 0).numpy()) for one in hr])
    torch.testing.assert_close(sharpened(hr).permute(0, 2, 3, 1), torch.from_numpy(expected), rtol=0, atol=2e-6)


def test_several_gpus_make_one_batch(imported: Through) -> None:
    recipe, notes, _ = imported(realesrgan() | {"num_gpu": 4})
    assert recipe.stages[0].batch == 48
    assert any("num_gpu 4: batch=48" in note for note in notes)


def multi_step(gamma: float, *milestones: float) -> Options:
    return {"type": "MultiStepLR", "milestones": list(milestones), "gamma": gamma}


@pytest.mark.parametrize(
    ("scheduler", "decay", "said"),
    [
        (multi_step(0.5, 50000, 100000, 200000, 300000), (0.125, 0.25, 0.5, 0.75), ""),
        (multi_step(0.5, 398000, 400000, 500000), (0.995,), ""),
        (multi_step(0.25, 300000, 100000), (0.25, 0.25, 0.75, 0.75), ""),
        (
            multi_step(0.1, 200000, 300000),
            (0.5,) * 3 + (0.75,) * 4,
            "times 0.1 at 50%, 75% of the steps; decay=(0.5, 0.5,",
        ),
        (multi_step(1e-30, 200000), (0.5,) * 20, "nearest"),
        (multi_step(2, 200000), "constant", "times 2 at 50% of the steps; decay='constant' is the nearest"),
        ({"type": "CosineAnnealingRestartLR", "periods": [200000, 200000], "eta_min": 1e-7}, "cosine", "200000+200000"),
        ({"type": "Curious"}, "constant", "Curious is not known"),
    ],
)
def test_schedules(imported: Through, scheduler: Options, decay: Decay, said: str) -> None:
    options = realesrgan()
    options["train"] |= {"scheduler": scheduler}
    recipe, notes, _ = imported(options)
    assert recipe.stages[0].decay == decay
    about = [note for note in notes if note.startswith("train.scheduler")]
    assert (said in about[0]) if said else not about


@pytest.mark.parametrize("gamma", [0.5, 0.25])
def test_rates_fall_where_the_file_lets_them_fall(imported: Through, gamma: float) -> None:
    options, milestones = realesrgan(), (100_001, 299_999)
    options["train"] |= {"scheduler": multi_step(gamma, *milestones)}
    stage = imported(options)[0].stages[0]
    for step in (0, 100_000, 100_001, 299_998, 299_999, 399_999):
        assert rate_at(stage, step) == 1e-4 * gamma ** sum(step >= one for one in milestones)


def test_what_is_not_carried_over_is_said(imported: Through) -> None:
    options = realesrgan()
    options["path"] |= {"pretrain_network_g": "gone/net_g_5000.pth", "pretrain_network_d": "gone/net_d.pth"}
    options["train"] |= {
        "optim_g": {**ADAM, "weight_decay": 0.1},
        "perceptual_opt": {**PERCEPTUAL, "criterion": "fro"},
        "fft_opt": {"type": "FFTLoss", "loss_weight": 0.3},
    }
    options["use_grad_clip"] = True
    recipe, notes, text = imported(options)
    assert recipe.start is None
    for said in ("gone/net_g_5000.pth", "gone/net_d.pth", "weight_decay: 0.1", "criterion: 'fro'", "FFTLoss"):
        assert any(said in note for note in notes), said
    assert any(note.startswith("use_grad_clip: True is not carried over") for note in notes)
    assert all(note.split()[0] in text for note in notes)


def test_every_setting_is_either_used_or_told(imported: Through) -> None:
    """A key that nobody knows, in every section."""
    options: Options = esrgan()
    for section in ("network_g", "network_d", "val"):
        options[section] = {**options[section], "novelty": 7}
    train: Options = options["train"]
    options["train"] = {
        key: {**value, "novelty": 7} if isinstance(value, dict) else value for key, value in train.items()
    }
    _, notes, _ = imported(options)
    told = " ".join(notes)
    places = [
        "network_g",
        "network_d",
        "val",
        *(f"train.{key}" for key, value in train.items() if isinstance(value, dict)),
    ]
    assert [place for place in places if f"{place}.novelty" not in told] == []


def test_published_models_and_files_that_are_there_are_begun_with(imported: Through, tmp_path: Path) -> None:
    options = realesrgan()
    options["path"] = {"pretrain_network_g": "experiments/pretrained_models/RealESRGAN_x4plus.pth"}
    assert imported(options)[0].start == "x4plus"
    own = tmp_path / "own.pth"
    own.write_bytes(b"")
    options["path"] = {"pretrain_network_g": str(own)}
    assert imported(options)[0].start == str(own)


def _other(way: str, value: Any) -> Callable[[Options], None]:
    def change(options: Options) -> None:
        *sections, key = way.split(".")
        for section in sections:
            options[section] = dict(options[section])
            options = options[section]
        options[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other("network_g.type", "MSRResNet"), "network_g.type MSRResNet: only RRDBNet and SRVGGNetCompact"),
        (_other("model_type", "VideoBaseModel"), "model_type VideoBaseModel"),
        (_other("network_g.num_in_ch", 1), "network_g.num_in_ch 1: networks have three colors"),
        (_other("network_g.scale", 2), "network_g.scale 2: the file's scale is 4"),
        (_other("network_g.num_block", 2.5), "network_g.num_block 2.5: must be a whole number"),
        (_other("network_d.type", "PatchGAN"), "network_d.type PatchGAN: UNetDiscriminatorSN, VGGStyleDiscriminator"),
        (_other("network_d", {"type": "VGGStyleDiscriminator"}), "network_d.input_size 128: must be gt_size, 256"),
        (_other("train.gan_opt.gan_type", "new"), "train.gan_opt.gan_type new"),
        (_other("train.optim_g.lr", "fast"), "train.optim_g.lr 'fast': must be a number"),
        (_other("train.optim_g.lr", float("inf")), "train.optim_g.lr inf: must be a number"),
        (_other("train.total_iter", None), "train.total_iter missing"),
        (_other("train.pixel_opt", None), None),
        (_other("noise_range", [30, 1]), r"noise_range \[30.0, 1.0\]: the lower end comes first"),
        (_other("noise_range", 5), "noise_range 5: must be a list of 2 numbers"),
        (_other("datasets.train.kernel_list", ["iso"]), "datasets.train.kernel_list and kernel_prob"),
        (_other("gt_size", 30), "gt_size 30: must be a multiple"),
    ],
)
def test_what_cannot_be_trained_is_refused(imported: Through, change: Callable[[Options], None], message: str) -> None:
    options = realesrgan()
    change(options)
    if message is None:
        assert [term.name for term in imported(options)[0].stages[0].terms] == ["perceptual"]
        return
    with pytest.raises(RecipeError, match=message) as caught:
        imported(options)
    assert "options.yml: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "name: !!python/object/apply:os.system ['true']",
        "name: !!python/name:os.system",
        "a: [1",
        "just words",
        "7: seven",
        "\x00",
    ],
)
def test_files_that_are_not_plain_values_are_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "options.yml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"options.yml: (refused|not an option file)") as caught:
        recipe_from_options(file)
    assert "\n" not in str(caught.value)


def test_missing_files_and_a_missing_yaml_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        recipe_from_options(tmp_path / "gone.yml")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(RecipeError, match="pip install pyyaml"):
        recipe_from_options(tmp_path / "gone.yml")


def test_no_text_of_the_file_becomes_code(imported: Through, tmp_path: Path) -> None:
    """Quotes, line ends and a backslash of Windows in every text that reaches the script."""
    trap = 'a"""\nimport pathlib; pathlib.Path("trap").touch()\r\u2028#\\U "'
    options = realesrgan() | {"name": trap, trap: trap}
    options["path"] = {"pretrain_network_g": f"C:\\Users\\{trap}"}
    options["datasets"]["train"] |= {"dataroot_gt": trap, "meta_info": trap, "novelty": trap}
    before = Path("trap").exists()
    recipe, _, text = imported(options)
    assert recipe.network.name.isidentifier() or "import" in recipe.network.name
    assert Path("trap").exists() == before
    assert not [line for line in text.splitlines() if line.strip().startswith("import pathlib")]


def test_scripts_are_tidy(imported: Through) -> None:
    for options in (realesrgan(), compact(), esrgan(), realesrnet()):
        _, _, text = imported(options)
        code = [line for line in text.splitlines() if not line.startswith("#")]
        assert max(map(len, code)) <= 160
        assert not [line for line in text.splitlines() if line != line.rstrip()]
