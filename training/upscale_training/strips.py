"""The pictures of a run on disk: what each validation made, beside the input and the truth."""

from collections.abc import Sequence
from pathlib import Path

import cv2

from upscale.files import replacing
from upscale_training.data.held_out import Pair
from upscale_training.data.samples import Bytes


def write_fixed(folder: Path, pairs: Sequence[Pair]) -> dict[str, dict[str, str]]:
    """The input and the truth of each pair; {name: {"input": file, "truth": file}} relative to the run's folder."""
    files = {
        pair.name: {kind: _file(f"{index:02d}-{kind}") for kind in ("input", "truth")}
        for index, pair in enumerate(pairs)
    }
    for pair in pairs:
        _write(folder / files[pair.name]["input"], pair.lr)
        _write(folder / files[pair.name]["truth"], pair.hr)
    return files


def write_made(folder: Path, step: int, pictures: dict[str, Bytes]) -> dict[str, str]:
    """What was made at a step; {name: file} relative to the run's folder."""
    files = {name: _file(f"{index:02d}-{step:08d}") for index, name in enumerate(pictures)}
    for name, picture in pictures.items():
        _write(folder / files[name], picture)
    return files


def _file(stem: str) -> str:
    return f"pictures/{stem}.png"


def _write(path: Path, picture: Bytes) -> None:
    encoded, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert encoded
    with replacing(path) as temporary:
        temporary.write_bytes(content.tobytes())
