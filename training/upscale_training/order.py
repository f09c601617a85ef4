"""What a person asked for, and the pictures that it came to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from upscale_training.backbones import BackboneName
from upscale_training.changes import Changes
from upscale_training.data.pictures import Listing


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asked for. `recipe`: the script. `val`: folders of held-out pictures; none sets some of `data` aside."""

    recipe: Path
    data: tuple[Path, ...]
    out: Path
    val: tuple[Path, ...] = ()
    changes: Changes = field(default_factory=Changes)
    device: str = "auto"
    workers: int | None = None
    resume: bool = False
    overwrite: bool = False
    guard: bool = True
    backbones: Mapping[BackboneName, Path] = field(default_factory=dict["BackboneName", Path])


@dataclass(frozen=True, slots=True)
class Found:
    """The pictures of a run."""

    train: Listing
    held_out: Listing
