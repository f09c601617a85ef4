"""A discriminator that goes on from a file, such as Real-ESRGAN's RealESRGAN_x4plus_netD.pth."""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

from upscale.errors import ModelError
from upscale_training.adversary.net import Discriminator

_NESTED = ("params", "state_dict", "net")


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A recipe's `net` with parameters from `file` (.pth with tensors only, or .safetensors), all of which must fit.

    `Pretrained(UNetDiscriminator, Path("RealESRGAN_x4plus_netD.pth"))`. Raises ModelError when called.
    """

    make: Callable[[], Discriminator]
    file: Path

    def __call__(self) -> Discriminator:
        net = self.make()
        try:
            net.load_state_dict(_read(self.file))
        except OSError as error:
            raise ModelError(
                f"{self.file}: cannot be read ({error.strerror}); give the discriminator's file"
            ) from error
        except (RuntimeError, SafetensorError, pickle.UnpicklingError, EOFError, AttributeError, TypeError) as error:
            raise ModelError(
                f"{self.file}: not a {type(net).__name__}'s parameters; choose the net that it belongs to"
            ) from error
        return net


def _read(file: Path) -> Mapping[str, Any]:
    if file.suffix == ".safetensors":
        return load_file(file)
    state = torch.load(file, map_location="cpu", weights_only=True)
    return next((state[key] for key in _NESTED if key in state), state)
