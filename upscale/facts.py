"""What is told of a network by `upscale-models list` and `show`: facts as values, and as lines."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from upscale.checkpoint import Checkpoint
from upscale.files import sha256_of
from upscale.stages import macs_per_pixel
from upscale.zoo import Entry, defaults


def entry_facts(model: Entry) -> dict[str, Any]:
    here = model.here
    return {
        "name": model.name,
        "default": model.default,
        "default_for_videos": model.default_for_videos,
        "arch": model.arch,
        "scale": model.scale,
        "here": here is not None,
        "license": model.license,
        "good_for": model.good_for,
        "denoise": model.denoise,
        "variant_of": model.variant_of,
        "sources": [
            {"origin": source.origin, "sha256": source.sha256, "used": source == here} for source in model.sources
        ],
    }


def default_for(model: Entry) -> str:
    """What the model is taken for where none is named, such as "pictures up to x2"; empty for most."""
    kinds = {"pictures": defaults(), "videos": defaults(videos=True)}
    return ", ".join(f"{kind}{_range(model, models)}" for kind, models in kinds.items() if model in models)


def network_facts(checkpoint: Checkpoint) -> dict[str, Any]:
    """The spec, and what follows from it."""
    spec = checkpoint.spec
    return asdict(spec) | {
        "parameters": sum(array.size for array in checkpoint.arrays.values()),
        "macs_per_pixel": macs_per_pixel(spec),
        "receptive_radius": spec.radius,
        "notes": checkpoint.notes,
    }


def file_facts(path: Path) -> list[dict[str, str]]:
    pair = [path.with_suffix(".param"), path.with_suffix(".bin")]
    files = pair if path.suffix.lower() in (".param", ".bin") else [path]
    return [{"origin": str(file), "sha256": sha256_of(file)} for file in files]


def lines(facts: dict[str, Any]) -> Iterator[str]:
    for key, value in facts.items():
        if key in ("sources", "files"):
            for part in value:
                yield from lines(part)
        elif key == "notes":
            yield from lines(value)
        elif value is not None:
            yield f"{key.replace('_', ' ')}: {_text(value)}"


def _range(model: Entry, models: Sequence[Entry]) -> str:
    """The factors for which `zoo.sufficient` takes this one of them."""
    scales = sorted(one.scale for one in models)
    place = scales.index(model.scale)
    above = f" above x{scales[place - 1]}" if place else ""
    return above + (f" up to x{model.scale}" if model.scale < scales[-1] else "")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
