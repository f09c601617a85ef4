"""Terms ready for a recipe: `terms=(l1(1.0), perceptual(1.0), ldl(1.0))`. Each takes its weight, or a Ramp, first.

Weights of networks are read when a run begins (see `late`), so that a recipe can be read without them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import nn

from upscale.model import open_model
from upscale_training.backbones import BackboneName
from upscale_training.losses import artifacts, bands, coarse, deep, matching, pixel
from upscale_training.losses.deep import LAYERS, Compared, Perceptual
from upscale_training.losses.distill import Attention, Outputs, Teacher, lr_and_features, sr_and_clean, taught_by
from upscale_training.losses.flat import excess_contrast
from upscale_training.losses.grid import grid_pattern
from upscale_training.losses.late import Late, Load
from upscale_training.losses.moved import steadiness
from upscale_training.metrics import Dists, Lpips
from upscale_training.terms import Loss, Term, Weight, everything, sr_and_lr, sr_hr_and_ema, through_a_window


def l1(weight: Weight) -> Term:
    return Term("l1", weight, F.l1_loss)


def mse(weight: Weight) -> Term:
    return Term("mse", weight, F.mse_loss)


def charbonnier(weight: Weight, eps: float = 1e-12) -> Term:
    return Term("charbonnier", weight, partial(pixel.charbonnier, eps=eps))


def perceptual(
    weight: Weight, backbone: Literal["vgg19", "vgg16"] = "vgg19", layers: Mapping[str, float] | None = None
) -> Term:
    """L1 between layers before activation; `layers` (name → weight) are Real-ESRGAN's unless given."""
    return Term("perceptual", weight, _seen_through(backbone, layers, "features"))


def jittered(term: Term, share: float = 1.0, zooms: Sequence[float] = (1.0, 2.0)) -> Term:
    """`term`, which looks at the pictures through another window at each step: `jittered(lpips(0.1, "alex"))`. The window lies
    anywhere, is enlarged by one of `zooms`, and has then `share` of the pictures' sides: at half of them a look costs a quarter.

    AlexNet sees every fourth place and VGG pools; always looked at in step with them, a generator learns a grid that they do not
    see (E-LPIPS, Kettunen et al. 2019, arXiv:1906.03973, moves and zooms too). Trained so with LPIPS (alex) and the term `grid`,
    the checkerboard rose to 1.10 of the truth's in 500 steps; through windows, but not larger, a fine weave remained.
    """
    return replace(term, sees=through_a_window(term.sees, share, tuple(zooms)))


def style(
    weight: Weight, backbone: Literal["vgg19", "vgg16"] = "vgg19", layers: Mapping[str, float] | None = None
) -> Term:
    """L1 between the Gram matrices of the same layers."""
    return Term("style", weight, _seen_through(backbone, layers, "style"))


def lpips(weight: Weight, net: Literal["alex", "vgg"] = "vgg") -> Term:
    """Learned perceptual distance; judge a network trained with it by another metric too."""
    name: BackboneName = "alexnet" if net == "alex" else "vgg16"
    return Term("lpips", weight, Late(partial(_lpips, net, name), name))


def dists(weight: Weight) -> Term:
    """Structure and texture distance (VGG16)."""
    return Term("dists", weight, Late(_dists, "vgg16"))


def frequency(weight: Weight, alpha: float = 1.0) -> Term:
    """Focal frequency loss."""
    return Term("frequency", weight, partial(bands.focal_frequency, alpha=alpha))


def amplitude(weight: Weight) -> Term:
    """L1 between Fourier amplitudes."""
    return Term("amplitude", weight, bands.amplitude)


def wavelet(weight: Weight, levels: Sequence[float] = (1.0, 1.0, 1.0)) -> Term:
    """L1 between Haar details, finest first."""
    return Term("wavelet", weight, partial(bands.wavelet, levels=tuple(levels)))


def ldl(weight: Weight) -> Term:
    """Locally discriminative learning, with the averaged generator."""
    return Term("ldl", weight, artifacts.ldl, sr_hr_and_ema)


def consistency(weight: Weight, blocks: int = 4) -> Term:
    """The shrunk result against the input, both averaged over `blocks` × `blocks` pixels of the input."""
    return Term("consistency", weight, partial(coarse.low_frequency, blocks=blocks), sr_and_lr)


def grid(weight: Weight, period: int = 4) -> Term:
    """Against checkerboards; `period`: the network's scale."""
    return Term("grid", weight, partial(grid_pattern, period=period))


def flat(weight: Weight) -> Term:
    """Against weaves and dotted seams where the truth is flat: contrast within 5×5 pixels beyond the truth's, as a share of it."""
    return Term("flat", weight, excess_contrast)


def steady(weight: Weight, reach: float = 1.0, sigma: float = 2.0) -> Term:
    """Against flicker: the same scene, moved by up to `reach` pixels of the input and with other noise, comes out the same."""
    return Term("steady", weight, partial(steadiness, reach=reach, sigma=sigma), everything)


def feature_matching(weight: Weight) -> Term:
    """L1 between the discriminator's layers. The stage needs an adversary."""
    return Term("feature matching", weight, matching.feature_matching_loss, matching.discriminator_layers)


def distilled(weight: Weight, teacher: str | Teacher, compare: Loss = F.l1_loss, clean: bool = False) -> Term:
    """`compare` between the result and the teacher's. `teacher`: a model's name or file, of the student's scale or more.

    `clean`: the teacher looks at the undegraded small picture (the stage needs `with_clean=True`).
    """
    loss = _taught(teacher, (), partial(Outputs, compare=compare))
    return Term("distilled", weight, loss, sr_and_clean if clean else sr_and_lr)


def attention(weight: Weight, teacher: str | Teacher, layers: Sequence[str] = ()) -> Term:
    """Distance between the attention maps of the student's layers, which the stage's `feature_layers` name, and the
    teacher's `layers`. A Teacher object has its own layers.
    """
    return Term("attention", weight, _taught(teacher, layers, Attention), lr_and_features)


def _seen_through(backbone: BackboneName, layers: Mapping[str, float] | None, compared: Compared) -> Late:
    return Late(partial(_perceptual, backbone, dict(layers or LAYERS[backbone]), compared), backbone)


def _perceptual(backbone: BackboneName, layers: Mapping[str, float], compared: deep.Compared, load: Load) -> nn.Module:
    return Perceptual(load(backbone), layers, compared)


def _lpips(net: Literal["alex", "vgg"], backbone: BackboneName, load: Load) -> nn.Module:
    return Lpips(net, load(backbone))


def _dists(load: Load) -> nn.Module:
    return Dists(load("vgg16"))


def _taught(teacher: str | Teacher, layers: Sequence[str], loss: type[nn.Module] | partial[Outputs]) -> nn.Module:
    if isinstance(teacher, Teacher):
        return loss(teacher)
    return Late(partial(_taught_by_name, teacher, tuple(layers), loss), None)


def _taught_by_name(
    teacher: str, layers: tuple[str, ...], loss: type[nn.Module] | partial[Outputs], _load: Load
) -> nn.Module:
    return loss(taught_by(open_model(teacher), layers))
