"""What 8-bit integers would cost a network in accuracy, emulated in fp32: the upper bound of what an int8 engine can reach.

    python benchmarks/int8.py FOLDER [--model x4plus] [--limit 4]       # e.g. the ×4 inputs of Set14

Convolutions of the trunk take weights of 8 bits with a scale for each output channel and inputs of 8 bits with a scale for each
input channel, the largest value that any of the pictures has there (calibration on the very pictures that are judged: no
engine can do better). Head, tail and every sum stay fp32. An int8 multiplication is at most twice as fast as a bf16 one, so to
be 1.5 times as fast two thirds of the arithmetic must be in int8: see the rows where only some blocks are.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from common import picture, save, table
from torch import Tensor, nn

from upscale import zoo
from upscale.checkpoint import Checkpoint
from upscale.nets import build, compact, rrdb
from upscale.nets.rows import convolve

SIDE = 96
"""Pixels of a picture's upper left corner that are enlarged."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="x4plus")
    parser.add_argument("--limit", type=int, default=4)
    options = parser.parse_args()
    checkpoint = zoo.load(options.model)
    paths = sorted(options.folder.glob("*.png"))[: options.limit]
    pictures = [torch.tensor(picture(path)[:SIDE, :SIDE]).permute(2, 0, 1)[None] for path in paths]
    rows = _measured(_network(checkpoint), pictures)
    print(f"{options.model}, {len(pictures)} pictures of {options.folder}")
    print(table(rows))
    save(f"int8-{options.model}", rows, pictures=[path.name for path in paths])


@torch.inference_mode()
def _measured(network: nn.Module, pictures: list[Tensor]) -> list[dict[str, Any]]:
    layers = {
        name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d) and "body." in name
    }
    largest: dict[str, Tensor] = {}
    with _hooked(layers, lambda name, x: _note(largest, name, x)):
        exact = [network(x) for x in pictures]
    scales = {name: (value / 127).clamp_min(1e-12)[None, :, None, None] for name, value in largest.items()}
    names = list(layers)
    parts = {
        "all of the trunk": names,
        "two thirds of it, the first": names[: 2 * len(names) // 3],
        "two thirds of it, the last": names[len(names) // 3 :],
        "one third of it, the first": names[: len(names) // 3],
    }
    rows: list[dict[str, Any]] = []
    for what, weights, inputs in (
        ("weights and inputs", True, True),
        ("weights", True, False),
        ("inputs", False, True),
    ):
        for where, some in parts.items() if weights and inputs else [("all of the trunk", names)]:
            found = _decibels(network, {name: layers[name] for name in some}, scales, weights, inputs, pictures, exact)
            rows.append({
                "8 bits": what, "where": where, "mean PSNR, dB": round(sum(found) / len(found), 1),
                "worst, dB": round(min(found), 1),
            })  # fmt: skip
    return rows


def _decibels(
    network: nn.Module, layers: dict[str, nn.Conv2d], scales: dict[str, Tensor], weights: bool, inputs: bool,
    pictures: list[Tensor], exact: list[Tensor],
) -> list[float]:  # fmt: skip
    kept = {name: layer.weight.data for name, layer in layers.items()}
    if weights:
        for name, layer in layers.items():  # the inputs' scales are in the weights, as an engine would have them
            scaled = layer.weight.data * scales[name]
            step = scaled.abs().amax((1, 2, 3), keepdim=True) / 127
            layer.weight.data = (scaled / step).round() * step / scales[name]
    with _hooked(layers if inputs else {}, lambda name, x: (x / scales[name]).round().clamp(-127, 127) * scales[name]):
        results = [network(x) for x in pictures]
    for name, layer in layers.items():
        layer.weight.data = kept[name]
    errors = [((a.clamp(0, 1) - b.clamp(0, 1)) ** 2).mean() for a, b in zip(results, exact, strict=True)]
    return [float(-10 * torch.log10(error)) for error in errors]


def _note(largest: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    seen = x.abs().amax((0, 2, 3))
    largest[name] = torch.maximum(largest.get(name, seen), seen)
    return x


@contextmanager
def _hooked(layers: dict[str, nn.Conv2d], turned: Callable[[str, Tensor], Tensor]) -> Iterator[None]:
    """Passes each layer's input through `turned`. The networks call no layer, but convolve with its weights."""
    names = {id(layer): name for name, layer in layers.items()}

    def wrapped(layer: nn.Conv2d, x: Tensor, top: bool, bottom: bool) -> Tensor:
        return convolve(layer, turned(names[id(layer)], x) if id(layer) in names else x, top, bottom)

    with mock.patch.object(rrdb, "convolve", wrapped), mock.patch.object(compact, "convolve", wrapped):
        yield


def _network(checkpoint: Checkpoint) -> nn.Module:
    network: Any = build(checkpoint.spec).eval()
    network.load_state_dict({key: torch.tensor(value) for key, value in checkpoint.arrays.items()})
    return network


if __name__ == "__main__":
    main()
