"""Feature matching: the discriminator's own layers as a perceptual loss (Salimans et al. 2016, arXiv:1606.03498; layer by layer
as in pix2pixHD, Wang et al. 2018, arXiv:1711.11585). Needs no pretrained network, and steadies the game.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from upscale_training.errors import RecipeError
from upscale_training.losses.pixel import full
from upscale_training.terms import Seen


def discriminator_layers(seen: Seen) -> tuple[Tensor, ...]:
    """The discriminator's layers for the generator's pictures, then those for the originals, without gradient.

    Raises RecipeError in a stage that has no adversary.
    """
    if seen.adversary is None:
        raise RecipeError(
            "feature matching looks at the discriminator; give the stage an adversary or leave the term out"
        )
    with torch.no_grad():
        wanted = seen.adversary.features(seen.hr)
    return (*seen.adversary.features(seen.sr), *wanted)


def feature_matching_loss(*layers: Tensor) -> Tensor:
    """Mean over the layers of the L1 between the first half of the tensors and the second."""
    count = len(layers) // 2
    pairs = zip(layers[:count], layers[count:], strict=True)
    return torch.stack([F.l1_loss(full(found), full(wanted)) for found, wanted in pairs]).mean()
