"""BasicSR's and Real-ESRGAN's option files (YAML) as recipes: what they say, and in words what is not carried over.

Keys and their meaning: basicsr 1.4.2 (models/*.py, data/realesrgan_dataset.py), github.com/xinntao/Real-ESRGAN, options/*.yml.
"""

import math
import re
import reprlib
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from upscale import zoo
from upscale.errors import ModelError
from upscale.spec import ModelSpec
from upscale_training.degrade.blur import KINDS
from upscale_training.degrade.realesrgan import FIRST, SECOND, Order
from upscale_training.errors import RecipeError
from upscale_training.losses import l1
from upscale_training.losses.deep import LAYERS
from upscale_training.recipe import Decay, Stage, rate_at
from upscale_training.terms import Seen

if TYPE_CHECKING:
    from upscale.spec import Activation

_LARGEST = 1 << 20
_PLAIN = ("SRModel", "RealESRNetModel")
_ADVERSARIAL = ("SRGANModel", "ESRGANModel", "RealESRGANModel")
_DISCRIMINATORS = {"UNetDiscriminatorSN": "UNetDiscriminator", "VGGStyleDiscriminator": "VGGDiscriminator"}
_GAMES = {
    **{"vanilla": "non_saturating", "wgan_softplus": "non_saturating", "hinge": "hinge"},
    **{"lsgan": "least_squares", "wgan": "wasserstein"},
}
_MODULES = {
    **{"replace": "dataclasses", "partial": "functools", "ModelSpec": "upscale.spec"},
    "AdversaryRecipe": "upscale_training.adversary",
    **dict.fromkeys([*_GAMES.values(), "relativistic_average"], "upscale_training.adversary.games"),
    **{"UNetDiscriminator": "upscale_training.adversary.unet", "VGGDiscriminator": "upscale_training.adversary.vgg"},
    **{"Degradation": "upscale_training.degrade", "PRESETS": "upscale_training.degrade.presets"},
    **dict.fromkeys(["FIRST", "SECOND", "SecondOrder"], "upscale_training.degrade.realesrgan"),
    "usm": "upscale_training.degrade.sharpen",
    **dict.fromkeys(["charbonnier", "l1", "ldl", "mse", "perceptual", "style"], "upscale_training.losses"),
    **dict.fromkeys(["sharp_real", "sr_and_sharp"], "upscale_training.options_file"),
    **dict.fromkeys(["Cuts", "Recipe", "Stage"], "upscale_training.recipe"),
    "main": "upscale_training.script",
}
_NEEDLESS = (
    *("name", "num_gpu", "manual_seed", "dist_params", "logger", "val", "path.strict_load", "path.param_key"),
    *("queue_size", "high_order_degradation", "datasets.val", "datasets.train.name", "datasets.train.use_shuffle"),
    *("datasets.train.num_worker_per_gpu", "datasets.train.dataset_enlarge_ratio", "datasets.train.prefetch_mode"),
    *("datasets.train.io_backend.type", "datasets.train.pin_memory", "datasets.train.filename_tmpl", "gt_size"),
    "datasets.train.blur_kernel_size",
)
"""What needs no counterpart: how to find and load data, what to print, and blur_kernel_size, which basicsr reads and never uses
(it draws sizes from 7 to 21, as we do)."""
_NEUTRAL = (
    ("reduction", "mean"),
    *(("use_input_norm", True), ("range_norm", False), ("criterion", "l1"), ("type", "Adam")),
    *(("real_label_val", 1), ("fake_label_val", 0), ("weight_decay", 0)),
)
"""Settings of losses and optimizers that we have in this one way."""


def recipe_from_options(path: Path) -> tuple[str, list[str]]:
    """An option file → (the text of a recipe's script, what the person should know, one line each).

    Raises RecipeError for a file that cannot be read safely and for what cannot be trained here.
    """
    root, notes = _Section(path.name, "", _read(path)), list[str]()
    kind, data, train = root.text("model_type", "SRModel"), root.at("datasets.train"), root.at("train")
    if kind not in (*_PLAIN, *_ADVERSARIAL):
        raise root.refusal("model_type", f"{kind}: {', '.join((*_PLAIN, *_ADVERSARIAL))} can be carried over")
    name = re.sub(r"[^\w.+-]+", "_", root.text("name", path.stem)) or "imported"
    steps = root.at("train").whole("total_iter", 0)
    if steps < 1:
        raise train.refusal(
            "total_iter", "missing: not an option file for training, as BasicSR and Real-ESRGAN have them"
        )
    spec, function, body = _network(root, name), "", list[str]()
    degradation, function = _degradation(root, data, kind, notes)
    sharp, target = _sharpening(root, kind, train)
    batch, crop = _batch(root, data, notes), _crop(root, data, spec.scale)
    every = root.at("logger").whole("save_checkpoint_freq", 5000)
    body = [
        f"name={name!r},",
        f"network={_spec_text(spec)},",
        f"start={_start(root, notes)!r},",
        f"degradation={degradation},",
        f"cuts=Cuts(shrink=(1.0, 1.0), detail=1, flip={_flip(data, notes)}),",
        *(["target=usm(),"] if target else []),
        "stages=(",
        "    Stage(",
        *(f"        {line}" for line in _stage(kind, steps, batch, crop, train, sharp, root, notes)),
        "    ),",
        "),",
        f"ema={train.number('ema_decay', 0.0)!r},",
        f"seed={root.whole('manual_seed', 0)},",
        f"betas={_betas(train.at('optim_g'))!r},",
        f"log_every={root.at('logger').whole('print_freq', 100)},",
        f"validate_every={root.at('val').whole('val_freq', every)},",
        f"checkpoint_every={every},",
    ]
    command = _command(root, data, name)
    _told(root, notes)
    recipe = "\n".join(["recipe = Recipe(", *(f"    {line}" for line in body), ")", "", "main(recipe)", ""])
    return _script(path, command, function, recipe, notes), notes


def sr_and_sharp(seen: Seen) -> tuple[Tensor, ...]:
    """What a term looks at that compares with the sharpened original, while others see it as it is: l1_gt_usm without
    gan_gt_usm, which is Real-ESRGAN's own setting."""
    return seen.sr, sharpened(seen.hr)


def sharp_real(lr: Tensor, hr: Tensor, clean: Tensor | None, chance: torch.Generator) -> Tensor:
    """gan_gt_usm, where terms are not all sharp: a stage's `real`."""
    return sharpened(hr)


@torch.no_grad()
def sharpened(hr: Tensor, weight: float = 0.5, size: int = 51, threshold: float = 10.0) -> Tensor:
    """degrade.sharpen.sharpen_target for a batch on its device: (N, 3, H, W) → the same. Sides of 26 pixels or more."""
    residual = hr - _blurred(hr, size)
    mask = _blurred((residual.abs() * 255 > threshold).to(hr.dtype), size)
    return mask * (hr + weight * residual).clamp(0, 1) + (1 - mask) * hr


def _blurred(x: Tensor, size: int) -> Tensor:
    line = torch.tensor(cv2.getGaussianKernel(size, 0), dtype=x.dtype, device=x.device).view(1, 1, size, 1)
    channels, padded = x.shape[1], F.pad(x, [size // 2] * 4, mode="reflect")
    kernel = line.expand(channels, 1, size, 1)
    return F.conv2d(F.conv2d(padded, kernel, groups=channels), kernel.transpose(2, 3), groups=channels)


class _Section:
    """A mapping of the file. Remembers what was asked for, so that the rest can be told."""

    def __init__(self, file: str, place: str, values: Mapping[str, Any]) -> None:
        self.file, self.place, self.values = file, place, values
        self._seen: set[str] = set()
        self._inner: dict[str, _Section] = {}

    def at(self, way: str) -> "_Section":
        """The section of that dotted name; an empty one where it is missing."""
        key, _, rest = way.partition(".")
        if key not in self._inner:
            given = self.values.get(key)
            inner: Mapping[str, Any] = cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}
            self._inner[key] = _Section(self.file, f"{self.place}{key}.", inner)
            if given is None or isinstance(given, Mapping):
                self._seen.add(key)
        return self._inner[key].at(rest) if rest else self._inner[key]

    def value(self, key: str, default: Any = None) -> Any:
        """Null counts as missing."""
        self._seen.add(key)
        given = self.values.get(key)
        return default if given is None else given

    def text(self, key: str, default: str = "") -> str:
        return str(self.value(key, default))

    def flag(self, key: str, default: bool) -> bool:
        return bool(self.value(key, default))

    def number(self, key: str, default: float) -> float:
        return self._number(key, self.value(key, default))

    def whole(self, key: str, default: int) -> int:
        number = self.number(key, default)
        if number != int(number):
            raise self.refusal(key, f"{number}: must be a whole number")
        return int(number)

    def numbers(self, key: str, default: Sequence[float], count: int | None = None) -> tuple[float, ...]:
        given: Any = self.value(key, default)
        items: list[Any] = list(cast("list[Any]", given)) if isinstance(given, list | tuple) else []
        if len(items) != (count or len(items)) or not isinstance(given, list | tuple):
            raise self.refusal(key, f"{reprlib.repr(given)}: must be a list of {count or 'some'} numbers")  # pyright: ignore[reportUnknownArgumentType]
        return tuple(self._number(key, one) for one in items)

    def range(self, key: str, default: Sequence[float]) -> tuple[float, float]:
        low, high = self.numbers(key, default, 2)
        if low > high:
            raise self.refusal(key, f"[{low}, {high}]: the lower end comes first")
        return low, high

    def refusal(self, key: str, why: str) -> RecipeError:
        return RecipeError(f"{self.file}: {self.place}{key} {why}")

    def left(self, depth: int = 6) -> Iterator[tuple[str, Any]]:
        """(dotted name, value) of all that nobody asked for."""
        for key, value in self.values.items():
            if key in self._inner and isinstance(value, Mapping):
                yield from self._inner[key].left(depth)
            elif key not in self._seen and isinstance(value, Mapping) and value and depth:
                yield from _Section(self.file, f"{self.place}{key}.", cast("Mapping[str, Any]", value)).left(depth - 1)
            elif key not in self._seen and value is not None:
                yield f"{self.place}{key}", value

    def _number(self, key: str, given: Any) -> float:
        """YAML takes 1e-4 for a text; float() does not."""
        try:
            number = float(given)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number) or isinstance(given, bool):
            raise self.refusal(key, f"{reprlib.repr(given)}: must be a number")
        return number


def _read(path: Path) -> Mapping[str, Any]:
    """YAML by its safe loader alone: plain values, and no tag that would make an object."""
    try:
        import yaml
    except ImportError as error:
        raise RecipeError("option files need PyYAML; install it with `pip install pyyaml` or upscale[train]") from error
    try:
        content = path.read_bytes()[: _LARGEST + 1]
        if len(content) > _LARGEST:
            raise RecipeError(f"{path}: larger than a megabyte, so no option file; give the .yml of a training")
        values: Any = yaml.safe_load(content)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror or error}); give an option file (.yml)") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())[:200]
        raise RecipeError(f"{path}: refused, not a file of plain values ({why}); take out what is not") from error
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in cast("Mapping[Any, Any]", values)):
        raise RecipeError(f"{path}: not an option file, which has names and values; give the .yml of a training")
    return cast("Mapping[str, Any]", values)


def _network(root: _Section, name: str) -> ModelSpec:
    net, scale = root.at("network_g"), root.whole("scale", 4)
    kind = net.text("type")
    if kind not in ("RRDBNet", "SRVGGNetCompact"):
        raise net.refusal("type", f"{kind or 'is missing'}: only RRDBNet and SRVGGNetCompact can be trained here")
    own = net.whole("scale" if kind == "RRDBNet" else "upscale", scale)
    if own != scale:
        raise net.refusal("scale", f"{own}: the file's scale is {scale}; make them the same")
    for key in ("num_in_ch", "num_out_ch"):
        if net.whole(key, 3) != 3:
            raise net.refusal(key, f"{net.whole(key, 3)}: networks have three colors here, also for gray pictures")
    try:
        if kind == "RRDBNet":
            sizes = net.whole("num_feat", 64), net.whole("num_grow_ch", 32), net.whole("num_block", 23)
            return ModelSpec(name, "rrdb", scale, *sizes, unshuffle={1: 4, 2: 2}.get(scale, 1))
        activation = cast("Activation", net.text("act_type", "prelu"))  # others are refused by ModelSpec
        blocks = net.whole("num_conv", 16)
        return ModelSpec(name, "compact", scale, net.whole("num_feat", 64), blocks=blocks, activation=activation)
    except ModelError as error:
        raise RecipeError(f"{root.file}: network_g: {error}") from error


def _spec_text(spec: ModelSpec) -> str:
    sizes = f"features={spec.features}, blocks={spec.blocks}"
    if spec.arch == "compact":
        return f"ModelSpec({spec.name!r}, 'compact', {spec.scale}, {sizes}, activation={spec.activation!r})"
    return f"ModelSpec({spec.name!r}, 'rrdb', {spec.scale}, {sizes}, growth={spec.growth}, unshuffle={spec.unshuffle})"


def _start(root: _Section, notes: list[str]) -> str | None:
    """A model of the zoo by its published file's name, a file that is there, or None and a note."""
    given = root.at("path").text("pretrain_network_g") or root.at("path").text("pretrain_model_g")
    if not given:
        return None
    file = re.split(r"[\\/]", given)[-1]
    known = next((one.name for one in zoo.entries() if one.download and one.download.filename == file), None)
    if known or Path(given).is_file():
        return known or given
    notes.append(
        f"path.pretrain_network_g: {given} is not here, so the network begins from scratch; set `start` to the file"
    )
    return None


def _batch(root: _Section, data: _Section, notes: list[str]) -> int:
    """Ours is the whole step's, theirs is one GPU's."""
    single, gpus = data.whole("batch_size_per_gpu", 16), root.value("num_gpu", "auto")
    if not isinstance(gpus, int) or gpus < 2:
        return single
    notes.append(
        f"num_gpu {gpus}: batch={gpus * single}, {single} for each; on fewer GPUs it is cut into micro-batches"
    )
    return single * gpus


def _crop(root: _Section, data: _Section, scale: int) -> int:
    synthetic = data.text("type") == "RealESRGANDataset"
    own = data.whole("gt_size", 256 if synthetic else 128)
    crop = root.whole("gt_size", own) if synthetic else own
    if crop < 32 or crop % scale:
        raise data.refusal("gt_size", f"{crop}: must be a multiple of the scale {scale}, and 32 or more")
    return crop


def _flip(data: _Section, notes: list[str]) -> bool:
    mirrored = data.flag("use_hflip", data.flag("use_flip", True))
    turned = data.flag("use_rot", True)
    if mirrored != turned:
        notes.append(f"use_hflip {mirrored}, use_rot {turned}: flip=True mirrors and turns, flip=False does neither")
    return mirrored or turned


def _betas(optimizer: _Section) -> tuple[float, ...]:
    return optimizer.numbers("betas", (0.9, 0.999), 2)


def _degradation(root: _Section, data: _Section, kind: str, notes: list[str]) -> tuple[str, str]:
    """(expression, function that it names or "")."""
    if not (kind.startswith("RealESR") and root.flag("high_order_degradation", True)):
        lq, known = data.text("dataroot_lq"), data.text("type", "PairedImageDataset")
        if lq or "Paired" in known:
            notes.append(
                f"datasets.train.dataroot_lq: {lq or 'pairs'} is not read, small pictures are made by MATLAB's bicubic; where"
                " those were made otherwise, `upscale-train imitate` writes a degradation like theirs"
            )
        return "PRESETS['bicubic']", ""
    first, second = _order(root, data, "", FIRST, notes), _order(root, data, "2", SECOND, notes)
    ringing = data.number("final_sinc_prob", 0.8)
    sharp = root.flag("gt_usm", True) if kind == "RealESRNetModel" else True
    extra = [f"ringing={ringing!r}"] * (ringing != 0.8) + ["sharpened=False"] * (not sharp)
    if not first and not second and not extra:
        return "PRESETS['realesrgan']", ""
    rounds = [_replaced("FIRST", first), _replaced("SECOND", second)]
    lines = "".join(f"        {one},\n" for one in ("scale", *rounds, *extra))
    doc = '    """Real-ESRGAN\'s second order with the option file\'s numbers."""'
    return (
        "degradation",
        f"def degradation(scale: int) -> Degradation:\n{doc}\n    return SecondOrder(\n{lines}    )\n\n\n",
    )


def _replaced(name: str, changes: Mapping[str, Any]) -> str:
    return f"replace({name}, {', '.join(f'{key}={value!r}' for key, value in changes.items())})" if changes else name


def _order(root: _Section, data: _Section, end: str, published: Order, notes: list[str]) -> dict[str, Any]:
    """What a round of the degradation has otherwise than the published one."""
    low, high = root.range(f"resize_range{end}", published.factors)
    if not low <= 1 <= high:
        notes.append(f"resize_range{end}: [{low}, {high}] is read as the nearest range around 1")
    given: dict[str, Any] = {
        "blur": root.number("second_blur_prob", published.blur) if end else 1.0,
        "sinc": data.number(f"sinc_prob{end}", published.sinc),
        "sigma": data.range(f"blur_sigma{end}", published.sigma),
        "kernels": _kernels(data, end, published.kernels),
        "generalized": data.range(f"betag_range{end}", published.generalized),
        "plateau": data.range(f"betap_range{end}", published.plateau),
        "resize": root.numbers(f"resize_prob{end}", published.resize, 3),
        "factors": (min(low, 1.0), max(high, 1.0)),
        "gaussian": root.number(f"gaussian_noise_prob{end}", published.gaussian),
        "noise": root.range(f"noise_range{end}", published.noise),
        "poisson": root.range(f"poisson_scale_range{end}", published.poisson),
        "gray": root.number(f"gray_noise_prob{end}", published.gray),
        "quality": root.range(f"jpeg_range{end}", published.quality),
    }
    return {key: value for key, value in given.items() if value != getattr(published, key)}


def _kernels(data: _Section, end: str, published: tuple[float, ...]) -> tuple[float, ...]:
    """Probabilities in the order of KINDS."""
    names: Any = data.value(f"kernel_list{end}", list(KINDS))
    shares = data.numbers(f"kernel_prob{end}", published)
    if not isinstance(names, list) or len(cast("list[Any]", names)) != len(shares):
        raise data.refusal(f"kernel_list{end}", f"and kernel_prob{end}: must be lists of one length")
    pairs = list(zip(cast("list[Any]", names), shares, strict=True))
    if unknown := [name for name, _ in pairs if name not in KINDS]:
        raise data.refusal(f"kernel_list{end}", f"{reprlib.repr(unknown[0])}: {', '.join(KINDS)} are known")
    return tuple(float(sum(share for name, share in pairs if name == kind)) for kind in KINDS)


def _sharpening(root: _Section, kind: str, train: _Section) -> tuple[frozenset[str], bool]:
    """(what alone compares with sharpened originals, whether everything does)."""
    if kind == "RealESRNetModel":
        return frozenset(), root.flag("gt_usm", True)
    if kind != "RealESRGANModel":
        return frozenset(), False
    asked = {"pixel": "l1_gt_usm", "perceptual": "percep_gt_usm", "gan": "gan_gt_usm"}
    sharp = frozenset(name for name, key in asked.items() if root.flag(key, True))
    everything = len(sharp) == len(asked) and not train.values.get("ldl_opt") and not train.values.get("artifacts_opt")
    return (frozenset() if everything else sharp), everything


def _stage(
    kind: str,
    steps: int,
    batch: int,
    crop: int,
    train: _Section,
    sharp: frozenset[str],
    root: _Section,
    notes: list[str],
) -> list[str]:
    terms = _terms(train, sharp, notes)
    if not terms:
        raise train.refusal("pixel_opt", "and perceptual_opt are missing or unknown: no loss, so nothing to learn")
    adversary = _adversary(kind, crop, train, root) if kind in _ADVERSARIAL else ""
    warmup = train.whole("warmup_iter", -1)
    lines = [
        f"name={'gan' if adversary else 'pixel'!r},",
        f"steps={steps},",
        "terms=(",
        *(f"    {term}," for term in terms),
        "),",
        *([f"adversary={adversary},"] if adversary else []),
        f"batch={batch},",
        f"crop={crop},",
        f"learning_rate={train.at('optim_g').number('lr', 1e-4)!r},",
        f"decay={_decay(train, steps, notes)!r},",
        *([f"warmup={warmup},"] if warmup > 0 else []),
        *(["real=sharp_real,"] if adversary and "gan" in sharp else []),
    ]
    return "\n".join(lines).splitlines()


def _terms(train: _Section, sharp: frozenset[str], notes: list[str]) -> list[str]:
    terms = list[str]()
    if pixel := _pixel(train.at("pixel_opt"), notes):
        terms.append(_against_sharp(pixel, "pixel" in sharp))
    for key in ("ldl_opt", "artifacts_opt"):  # the second is what its authors call it
        given = train.at(key)
        if given.values and given.text("type", "L1Loss") == "L1Loss":
            terms.append(f"ldl({given.number('loss_weight', 1.0)!r})")
    terms += [_against_sharp(term, "perceptual" in sharp) for term in _perceptual(train.at("perceptual_opt"), notes)]
    return terms


def _against_sharp(term: str, sharp: bool) -> str:
    return f"replace({term}, sees=sr_and_sharp)" if sharp else term


def _pixel(given: _Section, notes: list[str]) -> str:
    kind, weight = given.text("type"), given.number("loss_weight", 1.0)
    match kind:
        case "":
            return ""
        case "L1Loss":
            return f"l1({weight!r})"
        case "MSELoss":
            return f"mse({weight!r})"
        case "CharbonnierLoss":
            return f"charbonnier({weight!r}, eps={given.number('eps', 1e-12)!r})"
        case _:
            notes.append(f"train.pixel_opt: {kind} is left out; L1Loss, MSELoss and CharbonnierLoss are known")
            return ""


def _perceptual(given: _Section, notes: list[str]) -> list[str]:
    if not given.values:
        return []
    given.text("type")
    backbone, layers = given.text("vgg_type", "vgg19"), given.at("layer_weights")
    weights = {name: layers.number(name, 1.0) for name in layers.values}
    if backbone not in LAYERS or not all(re.fullmatch(r"(conv|relu)[1-5]_[1-4]|pool[1-4]", name) for name in weights):
        notes.append(f"train.perceptual_opt: left out, only {' and '.join(LAYERS)} with their layers are known")
        return []
    arguments = repr(backbone) + ("" if weights in ({}, LAYERS[backbone]) else f", {weights!r}")
    parts = {
        "perceptual": given.number("perceptual_weight", 1.0),
        "style": given.number("style_weight", 0.0),
    }
    return [f"{name}({weight!r}, {arguments})" for name, weight in parts.items() if weight > 0]


def _adversary(kind: str, crop: int, train: _Section, root: _Section) -> str:
    gan, optimizer, net = train.at("gan_opt"), train.at("optim_d"), root.at("network_d")
    gan.text("type")
    game = gan.text("gan_type", "vanilla")
    if game not in _GAMES or (kind == "ESRGANModel" and game != "vanilla"):
        known = "vanilla" if kind == "ESRGANModel" else ", ".join(_GAMES)
        raise gan.refusal("gan_type", f"{game}: with {kind}, {known} can be carried over")
    arguments = [
        _discriminator(net, crop),
        f"game={'relativistic_average' if kind == 'ESRGANModel' else _GAMES[game]}",
        f"weight={gan.number('loss_weight', 1.0)!r}",
        f"learning_rate={optimizer.number('lr', 1e-4)!r}",
        f"betas={_betas(optimizer)!r}",
    ]
    every, begins = train.whole("net_d_iters", 1), train.whole("net_d_init_iters", 0)
    arguments += [f"generator_every={every}"] * (every != 1) + [f"generator_from={begins}"] * (begins > 0)
    return "\n    ".join(["AdversaryRecipe(", *(f"{one}," for one in arguments)]) + "\n)"


def _discriminator(net: _Section, crop: int) -> str:
    kind, features = net.text("type"), net.whole("num_feat", 64)
    if kind not in _DISCRIMINATORS or net.whole("num_in_ch", 3) != 3:
        raise net.refusal("type", f"{kind or 'is missing'}: {', '.join(_DISCRIMINATORS)} in three colors are known")
    changes = [f"features={features}"] * (features != 64)
    if kind == "VGGStyleDiscriminator":
        size = net.whole("input_size", 128)
        if crop != size:
            raise net.refusal("input_size", f"{size}: must be gt_size, {crop}; change one of them")
        changes += [f"size={size}"] * (size != 128)
    elif not net.flag("skip_connection", True):
        changes.append("skip=False")
    ours = _DISCRIMINATORS[kind]
    return f"partial({ours}, {', '.join(changes)})" if changes else ours


def _decay(train: _Section, steps: int, notes: list[str]) -> Decay:
    """The schedule, or the one of ours that is nearest to it, which is told."""
    given = train.at("scheduler")
    kind = given.text("type")
    if kind == "CosineAnnealingRestartLR":
        periods, lowest = given.numbers("periods", (steps,)), given.number("eta_min", 0.0)
        given.value("restart_weights")
        notes.append(
            f"train.scheduler: cosine periods of {'+'.join(f'{one:.0f}' for one in periods)} steps down to {lowest:g} become one"
            " over the whole stage, down to a hundredth"
        )
        return "cosine"
    if kind not in ("", "MultiStepLR", "MultiStepRestartLR"):
        notes.append(f"train.scheduler: {kind} is not known; the learning rate stays constant")
        return "constant"
    gamma = given.number("gamma", 0.1)
    falls = tuple(one / steps for one in given.numbers("milestones", ()) if one < steps)
    if not falls or gamma == 1:
        return "constant"
    if gamma <= 0:
        raise given.refusal("gamma", f"{gamma}: must be above 0")
    best = min(get_args(Decay), key=lambda ours: _apart(ours, falls, gamma))
    if _apart(best, falls, gamma) > 0.01:
        when = ", ".join(f"{one:.0%}" for one in falls)
        notes.append(f"train.scheduler: times {gamma:g} at {when} of the steps; decay={best!r} is the nearest there is")
    return best


def _apart(ours: Decay, falls: Sequence[float], gamma: float) -> float:
    """Mean distance of the two rates' logarithms to base 2."""
    stage = Stage("", 400, (l1(1.0),), learning_rate=1.0, decay=ours)
    theirs = [gamma ** sum(step / stage.steps >= fall for fall in falls) for step in range(stage.steps)]
    return sum(abs(math.log2(rate_at(stage, step) / rate)) for step, rate in enumerate(theirs)) / stage.steps


def _command(root: _Section, data: _Section, name: str) -> str:
    """How to run the recipe with the file's own folders."""
    root.at("datasets.train").value("type")
    val = root.at("datasets.val").text("dataroot_gt")
    words = ["upscale-train", "run", "recipe.py", "--data", data.text("dataroot_gt") or "PHOTOS/"]
    return shlex.join([*words, *(["--val", val] if val else []), "-o", f"runs/{name}"])


def _told(root: _Section, notes: list[str]) -> None:
    """Adds what nobody has asked for, and clears the settings that say what is done anyway."""
    needless = list[str]()
    for name, value in root.left():
        if (name.rpartition(".")[2], value) in _NEUTRAL:
            continue
        if name.startswith(_NEEDLESS) and value != "lmdb":
            needless.append(name)
        elif name == "datasets.train.meta_info":
            notes.append(f"{name}: {value} is not read; --data takes all pictures of a folder")
        elif name.startswith("path.pretrain_network_d"):
            notes.append(f"{name}: {value} is not read; the discriminator begins anew")
        else:
            notes.append(f"{name}: {reprlib.repr(value)} is not carried over")
    if needless:
        notes.append(f"needed for nothing here: {', '.join(needless)}")


def _script(path: Path, command: str, function: str, recipe: str, notes: Sequence[str]) -> str:
    """Texts of the file stand in comments and in quoted strings only, so that none can become code."""
    imports = _imports(function + recipe)
    comments = [_comment(f"From {path.name}. With the folders that it names:"), f"#     {_plain(command)}"]
    comments += [
        _comment("What it says and this recipe does not, or otherwise:"),
        *(_comment(f"- {note}") for note in notes),
    ]
    doc = '"""Made of an option file by `upscale-train import-options`. Change what you like."""'
    return "\n".join(
        [doc, "", *comments, "", imports, "", *(["", function.rstrip(), "", ""] if function else []), recipe]
    )


def _imports(code: str) -> str:
    """All names of ours that the code has, as isort orders them."""
    modules: dict[str, list[str]] = {}
    for name in sorted(_MODULES):
        if re.search(rf"\b{name}\b", code):
            modules.setdefault(_MODULES[name], []).append(name)
    lines = {module: f"from {module} import {', '.join(names)}" for module, names in sorted(modules.items())}
    ours = [line for module, line in lines.items() if module.startswith("upscale")]
    standard = [line for line in lines.values() if line not in ours]
    return "\n".join([*standard, *([""] if standard else []), *ours])


def _comment(text: str) -> str:
    """Wrapped, without anything that could end a line of code."""
    return textwrap.fill(_plain(text), 118, initial_indent="# ", subsequent_indent="#   ", break_long_words=False)


def _plain(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text)
