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
        """{"losses": {"l1": …}, "skipped": …}; "skipped" and other counts named in the log are sums. Begins anew."""
        means: dict[str, Any] = {"skipped_share": _mean(self._values.get("skipped", []))}
        for name, values in self._values.items():
            numbers = _numbers(values)
            total = math.fsum(numbers)
            place, dot, leaf = name.partition(".")
            if not dot:
                means[name] = total if name == "skipped" else total / len(numbers)
            else:
                means.setdefault(place, {})[leaf] = total / len(numbers)
        self._values.clear()
        return means


def _mean(values: list[float | Tensor]) -> float:
    return math.fsum(map(float, values)) / max(1, len(values))


def _numbers(values: list[float | Tensor]) -> list[float]:
    """All as floats, with one transfer from the device. Sums of numbers that are none are NaN."""
    tensors = [value.detach().float() for value in values if isinstance(value, Tensor)]
    fetched = iter(torch.stack(tensors).cpu().numpy() if tensors else ())
    numbers = [float(next(fetched)) if isinstance(value, Tensor) else float(value) for value in values]
    return numbers if all(map(math.isfinite, numbers)) else [math.nan] * len(numbers)
