"""The games' rules: logits → losses. A large logit means "real"; both players minimize; all means over all logits.

`minimax` and `non_saturating`: Goodfellow et al. 2014. `least_squares`: Mao et al. 2017. `hinge`: Lim & Ye 2017, Miyato et
al. 2018, BigGAN (Brock et al. 2019). `wasserstein`: Arjovsky et al. 2017; give it the penalty of Gulrajani et al. 2017.
`relativistic_average`: Jolicoeur-Martineau 2019, as in ESRGAN (Wang et al. 2018). `relativistic_pairing`: the same author's
RpGAN, as in R3GAN (Huang et al. 2024), with the penalties r1 and r2.

basicsr's names: vanilla and wgan_softplus are `non_saturating`, lsgan `least_squares`, hinge `hinge`, wgan `wasserstein`;
vanilla within its ESRGANModel is `relativistic_average`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Absolute:
    """A game in which each logit is judged for itself: the discriminator's loss is on_real(real) + on_fake(fake).

    `threshold`: the logit above which a picture counts as rated real; None where logits have no zero.
    """

    name: str
    on_real: Callable[[Tensor], Tensor]
    on_fake: Callable[[Tensor], Tensor]
    on_generator: Callable[[Tensor], Tensor]
    threshold: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Relative:
    """A game in which real logits are judged against fake ones: functions of (real, fake).

    `paired`: the k-th real against the k-th fake, which in super-resolution are the same scene; else against the mean of
    the batch at hand (with accumulation: of the micro-batch).
    """

    name: str
    on_discriminator: Callable[[Tensor, Tensor], Tensor]
    on_generator: Callable[[Tensor, Tensor], Tensor]
    paired: bool


Game = Absolute | Relative


def rated(game: Game, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The shares of real logits rated real and of fake ones rated fake, two scalars in [0, 1].

    By the game's threshold, or pair by pair; else real is what lies above the mean fake, fake what lies below the mean
    real.
    """
    if isinstance(game, Relative) and game.paired and real.shape == fake.shape:
        right = (real > fake).float().mean()
        return right, right
    if isinstance(game, Absolute) and game.threshold is not None:
        return (real > game.threshold).float().mean(), (fake < game.threshold).float().mean()
    return (real > fake.mean()).float().mean(), (fake < real.mean()).float().mean()


def surely_real(logits: Tensor) -> Tensor:
    """-log σ(x): the cross-entropy with the label 1."""
    return F.softplus(-logits).mean()


def surely_fake(logits: Tensor) -> Tensor:
    """-log(1 - σ(x)): the cross-entropy with the label 0."""
    return F.softplus(logits).mean()


def _not_fake(logits: Tensor) -> Tensor:
    return -surely_fake(logits)


def near_one(logits: Tensor) -> Tensor:
    return (logits - 1).square().mean()


def near_zero(logits: Tensor) -> Tensor:
    return logits.square().mean()


def above_one(logits: Tensor) -> Tensor:
    return F.relu(1 - logits).mean()


def below_minus_one(logits: Tensor) -> Tensor:
    return F.relu(1 + logits).mean()


def high(logits: Tensor) -> Tensor:
    return -logits.mean()


def low(logits: Tensor) -> Tensor:
    return logits.mean()


def _average_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """basicsr's: the means that logits are compared with carry no gradient, and the two halves are averaged."""
    return (surely_real(real - fake.detach().mean()) + surely_fake(fake - real.detach().mean())) / 2


def _average_generator(real: Tensor, fake: Tensor) -> Tensor:
    """basicsr's: real logits carry no gradient, the mean fake one does."""
    real = real.detach()
    return (surely_fake(real - fake.mean()) + surely_real(fake - real.mean())) / 2


def _pairing_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return surely_real(real - fake)


def _pairing_generator(real: Tensor, fake: Tensor) -> Tensor:
    return surely_real(fake - real.detach())


minimax = Absolute("minimax", surely_real, surely_fake, _not_fake)
non_saturating = Absolute("non-saturating", surely_real, surely_fake, surely_real)
least_squares = Absolute("least squares", near_one, near_zero, near_one, threshold=0.5)
hinge = Absolute("hinge", above_one, below_minus_one, high)
wasserstein = Absolute("wasserstein", high, low, high, threshold=None)
relativistic_average = Relative("relativistic average", _average_discriminator, _average_generator, paired=False)
relativistic_pairing = Relative("relativistic pairing", _pairing_discriminator, _pairing_generator, paired=True)

GAMES: tuple[Game, ...] = (
    minimax,
    non_saturating,
    least_squares,
    hinge,
    wasserstein,
    relativistic_average,
    relativistic_pairing,
)
