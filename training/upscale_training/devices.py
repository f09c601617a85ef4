"""Where to compute: what `--device` names."""

import torch

from upscale.engines.machine import accelerator
from upscale_training.errors import RecipeError


def chosen_device(name: str) -> torch.device:
    """auto: a GPU where there is one. Raises RecipeError for one that is not there."""
    if name == "auto":
        return torch.device(accelerator() or "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(
            f"--device {name}: not here ({str(error).splitlines()[0]}); auto takes what there is"
        ) from error
    return device
