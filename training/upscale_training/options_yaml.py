"""Option files (YAML), read safely: their sections, what was asked for, and in words what was not."""

import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from upscale_training.errors import RecipeError

_LARGEST = 1 << 20
_NEEDLESS = (
    *("name", "num_gpu", "manual_seed", "dist_params", "logger", "val", "path.strict_load", "path.param_key"),
    *("queue_size", "high_order_degradation", "datasets.val", "datasets.train.name", "datasets.train.use_shuffle"),
    *("datasets.train.num_worker_per_gpu", "datasets.train.dataset_enlarge_ratio", "datasets.train.prefetch_mode"),
    *("datasets.train.io_backend.type", "datasets.train.pin_memory", "datasets.train.filename_tmpl", "gt_size"),
    "datasets.train.blur_kernel_size",
)
"""What needs no counterpart: how to find and load data, what to print, and blur_kernel_size, which basicsr reads and never uses
(it draws sizes from 7 to 21, as we do)."""
_NEUTRAL = (
    ("reduction", "mean"),
    *(("use_input_norm", True), ("range_norm", False), ("criterion", "l1"), ("type", "Adam")),
    *(("real_label_val", 1), ("fake_label_val", 0), ("weight_decay", 0)),
)
"""Settings of losses and optimizers that we have in this one way."""


class Section:
    """A mapping of the file. Remembers what was asked for, so that the rest can be told. `notes`: what the person should know,
    one line each, shared by all sections of a file."""

    def __init__(self, file: str, place: str, values: Mapping[str, Any], notes: list[str] | None = None) -> None:
        """`file`: its name; `place`: the section's dotted name, "" or ending in a dot. Both for messages."""
        self.file, self.place, self.values = file, place, values
        self.notes = list[str]() if notes is None else notes
        self._seen: set[str] = set()
        self._inner: dict[str, Section] = {}

    def at(self, way: str) -> "Section":
        """The section of that dotted name; an empty one where it is missing."""
        key, _, rest = way.partition(".")
        if key not in self._inner:
            given = self.values.get(key)
            inner: Mapping[str, Any] = cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}
            self._inner[key] = self._below(key, inner)
            if given is None or isinstance(given, Mapping):
                self._seen.add(key)
        return self._inner[key].at(rest) if rest else self._inner[key]

    def value(self, key: str, default: Any = None) -> Any:
        """Null counts as missing."""
        self._seen.add(key)
        given = self.values.get(key)
        return default if given is None else given

    def text(self, key: str, default: str = "") -> str:
        return str(self.value(key, default))

    def flag(self, key: str, default: bool) -> bool:
        return bool(self.value(key, default))

    def number(self, key: str, default: float) -> float:
        """This and the following raise RecipeError for what is no number, or not as many."""
        return self._number(key, self.value(key, default))

    def whole(self, key: str, default: int) -> int:
        number = self.number(key, default)
        if number != int(number):
            raise self.refusal(key, f"{number}: must be a whole number")
        return int(number)

    def numbers(self, key: str, default: Sequence[float], count: int | None = None) -> tuple[float, ...]:
        given: Any = self.value(key, default)
        wrong = self.refusal(key, f"{reprlib.repr(given)}: must be a list of {count or 'some'} numbers")
        items = cast("list[Any]", given) if isinstance(given, list | tuple) else None
        if items is None or len(items) != (count or len(items)):
            raise wrong
        return tuple(self._number(key, one) for one in items)

    def range(self, key: str, default: Sequence[float]) -> tuple[float, float]:
        low, high = self.numbers(key, default, 2)
        if low > high:
            raise self.refusal(key, f"[{low}, {high}]: the lower end comes first")
        return low, high

    def refusal(self, key: str, why: str) -> RecipeError:
        return RecipeError(f"{self.file}: {self.place}{key} {why}")

    def left(self, depth: int = 6) -> Iterator[tuple[str, Any]]:
        """(dotted name, value) of all that nobody asked for."""
        for key, value in self.values.items():
            if key in self._inner and isinstance(value, Mapping):
                yield from self._inner[key].left(depth)
            elif key not in self._seen and isinstance(value, Mapping) and value and depth:
                yield from self._below(key, cast("Mapping[str, Any]", value)).left(depth - 1)
            elif key not in self._seen and value is not None:
                yield f"{self.place}{key}", value

    def _below(self, key: str, values: Mapping[str, Any]) -> "Section":
        return Section(self.file, f"{self.place}{key}.", values, self.notes)

    def _number(self, key: str, given: Any) -> float:
        """YAML takes 1e-4 for a text; float() does not."""
        try:
            number = float(given)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number) or isinstance(given, bool):
            raise self.refusal(key, f"{reprlib.repr(given)}: must be a number")
        return number


def read(path: Path) -> Section:
    """The whole file, by YAML's safe loader alone: plain values, and no tag that would make an object. Raises RecipeError."""
    try:
        import yaml
    except ImportError as error:
        raise RecipeError("option files need PyYAML; install it with `pip install pyyaml` or upscale[train]") from error
    try:
        content = path.read_bytes()[: _LARGEST + 1]
        if len(content) > _LARGEST:
            raise RecipeError(f"{path}: larger than a megabyte, so no option file; give the .yml of a training")
        values: Any = yaml.safe_load(content)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror or error}); give an option file (.yml)") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())[:200]
        raise RecipeError(f"{path}: refused, not a file of plain values ({why}); take out what is not") from error
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in cast("Mapping[Any, Any]", values)):
        raise RecipeError(f"{path}: not an option file, which has names and values; give the .yml of a training")
    return Section(path.name, "", cast("Mapping[str, Any]", values))


def tell_rest(root: Section) -> None:
    """Notes what nobody has asked for, but for settings that say what is done anyway."""
    needless = list[str]()
    for name, value in root.left():
        if (name.rpartition(".")[2], value) in _NEUTRAL:
            continue
        if name.startswith(_NEEDLESS) and value != "lmdb":
            needless.append(name)
        elif name == "datasets.train.meta_info":
            root.notes.append(f"{name}: {value} is not read; --data takes all pictures of a folder")
        elif name.startswith("path.pretrain_network_d"):
            root.notes.append(f"{name}: {value} is not read; the discriminator begins anew")
        else:
            root.notes.append(f"{name}: {reprlib.repr(value)} is not carried over")
    if needless:
        root.notes.append(f"needed for nothing here: {', '.join(needless)}")
