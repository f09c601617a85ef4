"""What results are called: templates, names that are not too long, and names that never meet. Touches no files."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from upscale.files import NAME_BYTES, cut_to_bytes, size_in_bytes
from upscale.media.formats import BY_SUFFIX, REFUSED, VIDEO_SUFFIXES

FIELDS = ("stem", "scale", "model", "index")
"""What stands in braces in a template: the input's name without suffix, the scale or size asked for, the model's name, and
the input's number from 1, with zeros in front where there are ten or more."""

_FIELD = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")


@dataclass(frozen=True, slots=True)
class Wish:
    """One result that needs a name below `root`: at `place("")`; should that be taken, at `place("_jpg")` or the like."""

    source: Path
    root: Path
    place: Callable[[str], Path]


def check_template(template: str, model: str) -> None:
    """Raises ValueError, which lists the fields, for templates that do not give a plain file name."""
    known = " ".join(f"{{{field}}}" for field in FIELDS)
    rest = _FIELD.sub("", template)
    if "{" in rest or "}" in rest:
        raise ValueError(f"{template!r} has braces that are no field; the fields are {known}")
    if any(sign in rest for sign in "/\\\0"):
        raise ValueError(f"{template!r} must be a name without folders, made of text and {known}; -o gives the folder")
    if Path(template).suffix.lower() in {*BY_SUFFIX, *REFUSED, *VIDEO_SUFFIXES}:
        raise ValueError(f"{template!r} must be without suffix, made of text and {known}; --format chooses the suffix")
    if not _expanded(template, {"stem": "a", "scale": "4", "model": model, "index": "1"}).strip():
        raise ValueError(f"{template!r} gives an empty name; use text and {known}")


def default_template(tag: str) -> str:
    """Of results that lie beside their inputs: `_x4` for a scale, `_800x600` or `_w1024` for a size."""
    return "{stem}_x{scale}" if re.fullmatch(r"[0-9.]+", tag) else "{stem}_{scale}"


def file_name(template: str, values: Mapping[str, str], suffix: str, extra: str = "") -> str:
    """The template with its fields filled in, `extra` behind the stem (behind everything where there is none), and suffix.

    A name over 255 bytes gets a shorter stem, marked with a few digits of its sha256, so that it is the same in each run and
    two long names stay two.
    """
    if "{stem}" not in template:
        return _fitting(_expanded(template, values), lambda stem: f"{stem}{extra}{suffix}")

    def named(stem: str) -> str:
        return _expanded(template, {**values, "stem": stem + extra}) + suffix

    if size_in_bytes(named(_mark(""))) > NAME_BYTES:  # not the stem is what makes it too long
        return _fitting(_expanded(template, values), lambda stem: f"{stem}{extra}{suffix}")
    return _fitting(values["stem"], named)


def distinct(
    wishes: Sequence[Wish], keys: Callable[[Wish, Path], Sequence[Hashable]], forbidden: Callable[[Path], bool]
) -> list[Path]:
    """A place for each wish, no two of them with one of their `keys` in common; the same for the same wishes in each run.

    Of several wishes for one place, the input whose suffix is the result's gets it, else the first; the others get their own
    suffix behind the stem, and a number where that is taken too. Those other places are none that is `forbidden`.
    """
    first = [wish.place("") for wish in wishes]
    first_keys = [tuple(keys(wish, path)) for wish, path in zip(wishes, first, strict=True)]
    alike = [path.suffix.lower() == wish.source.suffix.lower() for wish, path in zip(wishes, first, strict=True)]
    taken: set[Hashable] = set()
    found: dict[int, Path] = {}
    for index in sorted(range(len(wishes)), key=lambda index: not alike[index]):
        if taken.isdisjoint(first_keys[index]):
            taken.update(first_keys[index])
            found[index] = first[index]
    numbers: dict[Hashable, Iterator[int]] = {}  # so that a thousand inputs for one place do not try all numbers each
    for index, wish in enumerate(wishes):
        if index not in found:
            used = numbers.setdefault((first_keys[index], wish.source.suffix.lower()), count(1))
            others = (path for path in _others(wish, used) if taken.isdisjoint(keys(wish, path)))
            found[index] = next(path for path in others if not forbidden(path))
            taken.update(keys(wish, found[index]))
    return [found[index] for index in range(len(wishes))]


def folded(name: str) -> str:
    """Equal for names that a file system may hold for one: those that differ in case or in the form of their accents."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _others(wish: Wish, numbers: Iterator[int]) -> Iterator[Path]:
    own = wish.source.suffix.lower().replace(".", "_") or "_other"
    yield from (wish.place(own if number == 1 else f"{own}_{number}") for number in numbers)


def _expanded(template: str, values: Mapping[str, str]) -> str:
    """In one pass, so that braces in a file's name mean nothing; and what a model is called makes no folders."""
    plain = {field: re.sub(r"[/\\\0]", "_", value) for field, value in values.items() if field != "stem"}
    return _FIELD.sub(lambda match: {**values, **plain}[match[1]], template)


def _fitting(stem: str, named: Callable[[str], str]) -> str:
    whole = named(stem)
    if size_in_bytes(whole) <= NAME_BYTES:
        return whole
    mark, most = _mark(stem), NAME_BYTES
    while size_in_bytes(named(cut_to_bytes(stem, most) + mark)) > NAME_BYTES:
        most -= 1
    return named(cut_to_bytes(stem, most) + mark)


def _mark(stem: str) -> str:
    return "~" + hashlib.sha256(stem.encode("utf-8", "surrogatepass")).hexdigest()[:8]
