"""The second player of an adversarial recipe: discriminators, games, penalties, augmentation, and the player itself.

The networks are in `unet`, `vgg`, `patch`, `strided`, `multiscale`, `projected` and `thin`, the rules in `games`.
"""

from upscale_training.adversary.player import Adversary
from upscale_training.adversary.recipe import AdversaryRecipe

__all__ = ["Adversary", "AdversaryRecipe"]
