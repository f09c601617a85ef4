"""The parts of an option file as text of a recipe: its networks, the terms of its losses, its degradation.

Keys and their meaning: basicsr 1.4.2 (models/*.py, data/realesrgan_dataset.py), github.com/xinntao/Real-ESRGAN, options/*.yml.
"""

import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from upscale import zoo
from upscale.errors import ModelError
from upscale.spec import ModelSpec
from upscale_training.degrade.blur import KINDS
from upscale_training.degrade.realesrgan import FIRST, SECOND, Order
from upscale_training.errors import RecipeError
from upscale_training.losses.deep import LAYERS
from upscale_training.options_yaml import Section

if TYPE_CHECKING:
    from upscale.spec import Activation

_DISCRIMINATORS = {"UNetDiscriminatorSN": "UNetDiscriminator", "VGGStyleDiscriminator": "VGGDiscriminator"}
GAMES = {
    **{"vanilla": "non_saturating", "wgan_softplus": "non_saturating", "hinge": "hinge"},
    **{"lsgan": "least_squares", "wgan": "wasserstein"},
}
"""basicsr's gan_type → ours."""


def network(root: Section, name: str) -> ModelSpec:
    """Raises RecipeError for what cannot be trained here."""
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


def network_text(spec: ModelSpec) -> str:
    sizes = f"features={spec.features}, blocks={spec.blocks}"
    if spec.arch == "compact":
        return f"ModelSpec({spec.name!r}, 'compact', {spec.scale}, {sizes}, activation={spec.activation!r})"
    return f"ModelSpec({spec.name!r}, 'rrdb', {spec.scale}, {sizes}, growth={spec.growth}, unshuffle={spec.unshuffle})"


def start(root: Section) -> str | None:
    """A model of the zoo by its published file's name, a file that is there, or None and a note."""
    given = root.at("path").text("pretrain_network_g") or root.at("path").text("pretrain_model_g")
    if not given:
        return None
    file = re.split(r"[\\/]", given)[-1]
    known = next((one.name for one in zoo.entries() if one.download and one.download.filename == file), None)
    if known or Path(given).is_file():
        return known or given
    root.notes.append(
        f"path.pretrain_network_g: {given} is not here, so the network begins from scratch; set `start` to the file"
    )
    return None


def degradation(root: Section, kind: str) -> tuple[str, str]:
    """(expression, function that it names or ""). `kind`: the file's model_type."""
    if not (kind.startswith("RealESR") and root.flag("high_order_degradation", True)):
        _tell_pairs(root)
        return "PRESETS['bicubic']", ""
    first, second = _order(root, "", FIRST), _order(root, "2", SECOND)
    ringing = root.at("datasets.train").number("final_sinc_prob", 0.8)
    sharp = root.flag("gt_usm", True) if kind == "RealESRNetModel" else True
    extra = [f"ringing={ringing!r}"] * (ringing != 0.8) + ["sharpened=False"] * (not sharp)
    if not first and not second and not extra:
        return "PRESETS['realesrgan']", ""
    rounds = [_replaced("FIRST", first), _replaced("SECOND", second)]
    lines = "".join(f"        {one},\n" for one in ("scale", *rounds, *extra))
    doc = '    """Real-ESRGAN\'s second order with the option file\'s numbers."""'
    return "degradation", f"def degradation(scale: int) -> Degradation:\n{doc}\n    return SecondOrder(\n{lines}    )\n"


def _tell_pairs(root: Section) -> None:
    data = root.at("datasets.train")
    small, known = data.text("dataroot_lq"), data.text("type", "PairedImageDataset")
    if small or "Paired" in known:
        root.notes.append(
            f"datasets.train.dataroot_lq: {small or 'pairs'} is not read, small pictures are made by MATLAB's bicubic; where"
            " those were made otherwise, `upscale-train imitate` writes a degradation like theirs"
        )


def _replaced(name: str, changes: Mapping[str, Any]) -> str:
    return f"replace({name}, {', '.join(f'{key}={value!r}' for key, value in changes.items())})" if changes else name


def _order(root: Section, end: str, published: Order) -> dict[str, Any]:
    """What a round of the degradation has otherwise than the published one. `end`: of the keys' names."""
    data = root.at("datasets.train")
    low, high = root.range(f"resize_range{end}", published.factors)
    if not low <= 1 <= high:
        root.notes.append(f"resize_range{end}: [{low}, {high}] is read as the nearest range around 1")
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


def _kernels(data: Section, end: str, published: tuple[float, ...]) -> tuple[float, ...]:
    """Probabilities in the order of KINDS."""
    names: Any = data.value(f"kernel_list{end}", list(KINDS))
    shares = data.numbers(f"kernel_prob{end}", published)
    if not isinstance(names, list) or len(cast("list[Any]", names)) != len(shares):
        raise data.refusal(f"kernel_list{end}", f"and kernel_prob{end}: must be lists of one length")
    pairs = list(zip(cast("list[Any]", names), shares, strict=True))
    if unknown := [name for name, _ in pairs if name not in KINDS]:
        raise data.refusal(f"kernel_list{end}", f"{reprlib.repr(unknown[0])}: {', '.join(KINDS)} are known")
    return tuple(float(sum(share for name, share in pairs if name == kind)) for kind in KINDS)


def terms(train: Section, sharp: frozenset[str]) -> list[str]:
    """`sharp`: which of "pixel" and "perceptual" compare with the sharpened original."""
    found = list[str]()
    if pixel := _pixel(train):
        found.append(_against_sharp(pixel, "pixel" in sharp))
    for key in ("ldl_opt", "artifacts_opt"):  # the second is what its authors call it
        given = train.at(key)
        if given.values and given.text("type", "L1Loss") == "L1Loss":
            found.append(f"ldl({given.number('loss_weight', 1.0)!r})")
    return found + [_against_sharp(term, "perceptual" in sharp) for term in _perceptual(train)]


def _against_sharp(term: str, sharp: bool) -> str:
    return f"replace({term}, sees=sr_and_sharp)" if sharp else term


def _pixel(train: Section) -> str:
    given = train.at("pixel_opt")
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
            train.notes.append(f"train.pixel_opt: {kind} is left out; L1Loss, MSELoss and CharbonnierLoss are known")
            return ""


def _perceptual(train: Section) -> list[str]:
    given = train.at("perceptual_opt")
    if not given.values:
        return []
    given.text("type")
    backbone, layers = given.text("vgg_type", "vgg19"), given.at("layer_weights")
    weights = {name: layers.number(name, 1.0) for name in layers.values}
    if backbone not in LAYERS or not all(re.fullmatch(r"(conv|relu)[1-5]_[1-4]|pool[1-4]", name) for name in weights):
        train.notes.append(f"train.perceptual_opt: left out, only {' and '.join(LAYERS)} with their layers are known")
        return []
    arguments = repr(backbone) + ("" if weights in ({}, LAYERS[backbone]) else f", {weights!r}")
    parts = {
        "perceptual": given.number("perceptual_weight", 1.0),
        "style": given.number("style_weight", 0.0),
    }
    return [f"{name}({weight!r}, {arguments})" for name, weight in parts.items() if weight > 0]


def adversary(root: Section, kind: str, crop: int) -> str:
    """`kind`: the file's model_type. Raises RecipeError for players that are not here."""
    train = root.at("train")
    gan, optimizer = train.at("gan_opt"), train.at("optim_d")
    gan.text("type")
    game = gan.text("gan_type", "vanilla")
    if game not in GAMES or (kind == "ESRGANModel" and game != "vanilla"):
        known = "vanilla" if kind == "ESRGANModel" else ", ".join(GAMES)
        raise gan.refusal("gan_type", f"{game}: with {kind}, {known} can be carried over")
    arguments = [
        _discriminator(root.at("network_d"), crop),
        f"game={'relativistic_average' if kind == 'ESRGANModel' else GAMES[game]}",
        f"weight={gan.number('loss_weight', 1.0)!r}",
        f"learning_rate={optimizer.number('lr', 1e-4)!r}",
        f"betas={betas(optimizer)!r}",
    ]
    every, begins = train.whole("net_d_iters", 1), train.whole("net_d_init_iters", 0)
    arguments += [f"generator_every={every}"] * (every != 1) + [f"generator_from={begins}"] * (begins > 0)
    return "\n    ".join(["AdversaryRecipe(", *(f"{one}," for one in arguments)]) + "\n)"


def betas(optimizer: Section) -> tuple[float, ...]:
    """Adam's two."""
    return optimizer.numbers("betas", (0.9, 0.999), 2)


def _discriminator(net: Section, crop: int) -> str:
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
