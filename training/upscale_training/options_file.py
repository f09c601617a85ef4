"""BasicSR's and Real-ESRGAN's option files (YAML) as recipes: what they say, and in words what is not carried over.

Keys and their meaning: basicsr 1.4.2 (models/*.py, data/realesrgan_dataset.py), github.com/xinntao/Real-ESRGAN, options/*.yml.
"""

import math
import re
import shlex
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from upscale_training import options_parts as parts
from upscale_training.options_yaml import Section, read, tell_rest
from upscale_training.recipe import Decay

_PLAIN = ("SRModel", "RealESRNetModel")
_ADVERSARIAL = ("SRGANModel", "ESRGANModel", "RealESRGANModel")
_MODULES = {
    **{"replace": "dataclasses", "partial": "functools", "ModelSpec": "upscale.spec"},
    "AdversaryRecipe": "upscale_training.adversary",
    **dict.fromkeys([*parts.GAMES.values(), "relativistic_average"], "upscale_training.adversary.games"),
    **{"UNetDiscriminator": "upscale_training.adversary.unet", "VGGDiscriminator": "upscale_training.adversary.vgg"},
    **{"Degradation": "upscale_training.degrade", "PRESETS": "upscale_training.degrade.presets"},
    **dict.fromkeys(["FIRST", "SECOND", "SecondOrder"], "upscale_training.degrade.realesrgan"),
    "usm": "upscale_training.degrade.sharpen",
    **dict.fromkeys(["charbonnier", "l1", "ldl", "mse", "perceptual", "style"], "upscale_training.losses"),
    **dict.fromkeys(["sharp_real", "sr_and_sharp"], "upscale_training.losses.sharp"),
    **dict.fromkeys(["Cuts", "Recipe", "Stage"], "upscale_training.recipe"),
    "main": "upscale_training.script",
}
_MOST_HALVINGS = 20


def recipe_from_options(path: Path) -> tuple[str, list[str]]:
    """An option file → (the text of a recipe's script, what the person should know, one line each).

    Raises RecipeError for a file that cannot be read safely and for what cannot be trained here.
    """
    root = read(path)
    kind, steps = _kind(root), _steps(root)
    name = re.sub(r"[^\w.+-]+", "_", root.text("name", path.stem)) or "imported"
    spec = parts.network(root, name)
    degradation, function = parts.degradation(root, kind)
    sharp, target = _sharpening(root, kind)
    batch, crop = _batch(root), _crop(root, spec.scale)
    body = [
        f"name={name!r},",
        f"network={parts.network_text(spec)},",
        f"start={parts.start(root)!r},",
        f"degradation={degradation},",
        f"cuts=Cuts(shrink=(1.0, 1.0), detail=1, flip={_flip(root)}),",
        *(["target=usm(),"] if target else []),
        *_nested("stages=(", _nested("Stage(", _stage(root, kind, steps, batch, crop, sharp), "),"), "),"),
        *_course(root),
    ]
    command = _command(root, name)
    tell_rest(root)
    recipe = "\n".join([*_nested("recipe = Recipe(", body, ")"), "", "main(recipe)", ""])
    return _script(path, command, function, recipe, root.notes), root.notes


def _kind(root: Section) -> str:
    kind = root.text("model_type", "SRModel")
    if kind not in (*_PLAIN, *_ADVERSARIAL):
        raise root.refusal("model_type", f"{kind}: {', '.join((*_PLAIN, *_ADVERSARIAL))} can be carried over")
    return kind


def _steps(root: Section) -> int:
    train = root.at("train")
    steps = train.whole("total_iter", 0)
    if steps < 1:
        raise train.refusal(
            "total_iter", "missing: not an option file for training, as BasicSR and Real-ESRGAN have them"
        )
    return steps


def _sharpening(root: Section, kind: str) -> tuple[frozenset[str], bool]:
    """(what alone compares with sharpened originals, whether everything does)."""
    if kind == "RealESRNetModel":
        return frozenset(), root.flag("gt_usm", True)
    if kind != "RealESRGANModel":
        return frozenset(), False
    asked = {"pixel": "l1_gt_usm", "perceptual": "percep_gt_usm", "gan": "gan_gt_usm"}
    sharp = frozenset(name for name, key in asked.items() if root.flag(key, True))
    given = root.at("train").values
    everything = len(sharp) == len(asked) and not given.get("ldl_opt") and not given.get("artifacts_opt")
    return (frozenset() if everything else sharp), everything


def _batch(root: Section) -> int:
    """Ours is the whole step's, theirs is one GPU's."""
    single, gpus = root.at("datasets.train").whole("batch_size_per_gpu", 16), root.value("num_gpu", "auto")
    if not isinstance(gpus, int) or gpus < 2:
        return single
    root.notes.append(
        f"num_gpu {gpus}: batch={gpus * single}, {single} for each; on fewer GPUs it is cut into micro-batches"
    )
    return single * gpus


def _crop(root: Section, scale: int) -> int:
    data = root.at("datasets.train")
    synthetic = data.text("type") == "RealESRGANDataset"
    own = data.whole("gt_size", 256 if synthetic else 128)
    crop = root.whole("gt_size", own) if synthetic else own
    if crop < 32 or crop % scale:
        raise data.refusal("gt_size", f"{crop}: must be a multiple of the scale {scale}, and 32 or more")
    return crop


def _flip(root: Section) -> bool:
    data = root.at("datasets.train")
    mirrored, turned = data.flag("use_hflip", data.flag("use_flip", True)), data.flag("use_rot", True)
    if mirrored != turned:
        root.notes.append(
            f"use_hflip {mirrored}, use_rot {turned}: flip=True mirrors and turns, flip=False does neither"
        )
    return mirrored or turned


def _stage(root: Section, kind: str, steps: int, batch: int, crop: int, sharp: frozenset[str]) -> list[str]:
    train = root.at("train")
    terms = parts.terms(train, sharp)
    if not terms:
        raise train.refusal("pixel_opt", "and perceptual_opt are missing or unknown: no loss, so nothing to learn")
    adversary = parts.adversary(root, kind, crop) if kind in _ADVERSARIAL else ""
    warmup = train.whole("warmup_iter", -1)
    return [
        f"name={'gan' if adversary else 'pixel'!r},",
        f"steps={steps},",
        *_nested("terms=(", [f"{term}," for term in terms], "),"),
        *(f"adversary={adversary},".splitlines() if adversary else []),
        f"batch={batch},",
        f"crop={crop},",
        f"learning_rate={train.at('optim_g').number('lr', 1e-4)!r},",
        f"decay={_decay(train, steps)!r},",
        *([f"warmup={warmup},"] if warmup > 0 else []),
        *(["real=sharp_real,"] if adversary and "gan" in sharp else []),
    ]


def _decay(train: Section, steps: int) -> Decay:
    """The schedule, or the one of ours that is nearest to it, which is told."""
    given = train.at("scheduler")
    match given.text("type"):
        case "" | "MultiStepLR" | "MultiStepRestartLR":
            return _halvings(given, steps)
        case "CosineAnnealingRestartLR":
            periods, lowest = given.numbers("periods", (steps,)), given.number("eta_min", 0.0)
            given.value("restart_weights")
            train.notes.append(
                f"train.scheduler: cosine periods of {'+'.join(f'{one:.0f}' for one in periods)} steps down to {lowest:g} become"
                " one over the whole stage, down to a hundredth"
            )
            return "cosine"
        case kind:
            train.notes.append(f"train.scheduler: {kind} is not known; the learning rate stays constant")
            return "constant"


def _halvings(given: Section, steps: int) -> Decay:
    """Falls to another share than a half as so many halvings at once, 0 or more, as come nearest."""
    gamma = given.number("gamma", 0.1)
    falls = [one / steps for one in sorted(given.numbers("milestones", ())) if 0 < one < steps]
    if not falls or gamma == 1:
        return "constant"
    if gamma <= 0:
        raise given.refusal("gamma", f"{gamma}: must be above 0")
    wanted = [-math.log2(gamma) * count for count in range(1, len(falls) + 1)]
    reached = [min(max(round(one), 0), _MOST_HALVINGS) for one in wanted]
    new = [now - before for before, now in zip([0, *reached], reached, strict=False)]
    decay = tuple(fall for fall, count in zip(falls, new, strict=True) for _ in range(count)) or "constant"
    if any(abs(one - other) > 1e-6 for one, other in zip(wanted, reached, strict=True)):
        when = ", ".join(f"{one:.0%}" for one in falls)
        given.notes.append(
            f"train.scheduler: times {gamma:g} at {when} of the steps; decay={decay!r} is the nearest there is"
        )
    return decay


def _course(root: Section) -> list[str]:
    """What a recipe says of the whole run."""
    logger = root.at("logger")
    every = logger.whole("save_checkpoint_freq", 5000)
    return [
        f"ema={root.at('train').number('ema_decay', 0.0)!r},",
        f"seed={root.whole('manual_seed', 0)},",
        f"betas={parts.betas(root.at('train.optim_g'))!r},",
        f"log_every={logger.whole('print_freq', 100)},",
        f"validate_every={root.at('val').whole('val_freq', every)},",
        f"checkpoint_every={every},",
    ]


def _command(root: Section, name: str) -> str:
    """How to run the recipe with the file's own folders."""
    data = root.at("datasets.train")
    data.value("type")
    val = root.at("datasets.val").text("dataroot_gt")
    words = ["upscale-train", "run", "recipe.py", "--data", data.text("dataroot_gt") or "PHOTOS/"]
    return shlex.join([*words, *(["--val", val] if val else []), "-o", f"runs/{name}"])


def _nested(begin: str, lines: Iterable[str], end: str) -> list[str]:
    return [begin, *(f"    {line}" for line in lines), end]


def _script(path: Path, command: str, function: str, recipe: str, notes: Sequence[str]) -> str:
    """Texts of the file stand in comments and in quoted strings only, so that none can become code."""
    doc = '"""Made of an option file by `upscale-train import-options`. Change what you like."""'
    comments = [
        _comment(f"From {path.name}. With the folders that it names:"),
        f"#     {_plain(command)}",
        _comment("What it says and this recipe does not, or otherwise:"),
        *(_comment(f"- {note}") for note in notes),
    ]
    return "\n".join(
        [doc, "", *comments, "", _imports(function + recipe), "", *(["", function, ""] if function else []), recipe]
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
