"""Means of what the steps tell, taken without waiting for the device until somebody asks."""

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from upscale_training.step import Facts


class Meter:
    """Collects the facts of some steps; `take` gives their means as the log's nested values."""

    def __init__(self) -> None:
        self._values: defaultdict[str, list[float | Tensor]] = defaultdict(list)

    def add(self, facts: Facts) -> None:
        for name, value in facts.items():
            self._values[name].append(value)

    def take(self) -> dict[str, Any]:
        """{"losses": {"l1": …}, "skipped": …}. Begins anew."""
        means: dict[str, Any] = {}
        for name, values in self._values.items():
            numbers = _numbers(values)
            place, dot, leaf = name.partition(".")
            (means.setdefault(place, {}) if dot else means)[leaf or place] = math.fsum(numbers) / len(numbers)
        self._values.clear()
        return means


def _numbers(values: list[float | Tensor]) -> list[float]:
    """All as floats, with one transfer from the device. Sums of numbers that are none are NaN."""
    tensors = [value.detach().float() for value in values if isinstance(value, Tensor)]
    fetched = iter(torch.stack(tensors).cpu().numpy() if tensors else ())
    numbers = [float(next(fetched)) if isinstance(value, Tensor) else float(value) for value in values]
    return numbers if all(map(math.isfinite, numbers)) else [math.nan] * len(numbers)
