"""What a command means: each picture, and where its result goes. Looks at folders, never into files."""

import functools
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from upscale.errors import OutputError, PictureError, UpscaleError
from upscale.media.formats import BY_SUFFIX, READ_ONLY, REFUSED, VIDEO_SUFFIXES, Format, format_of, is_video
from upscale.media.listing import STREAM, expanded, identity, is_folder, kinds, pictures, unusable
from upscale.media.naming import Wish, check_template, default_template, distinct, file_name, folded
from upscale.media.video.containers import Container, container_of, result_suffix
from upscale.wishes import CodecName

_NAMED_AS_FILE = {*BY_SUFFIX, *REFUSED, *VIDEO_SUFFIXES}
"""An output so called is meant as a file; any other unknown suffix belongs to a folder's name."""


@dataclass(frozen=True, slots=True)
class Task:
    """One picture to enlarge and its place; or, with `error`, one that cannot be, and why.

    `root`: the folder whose manifest knows the result, at or above it; None for stdout. With `stdin` or `stdout`, the source
    or target is only a name for messages, `STREAM`. `sequence`: the source is a folder whose pictures make one video.
    """

    source: Path
    target: Path | None
    error: UpscaleError | None = None
    root: Path | None = None
    stdin: bool = False
    stdout: bool = False
    sequence: bool = False

    @property
    def video(self) -> bool:
        return self.sequence or (not self.stdin and is_video(self.source))


@dataclass(frozen=True, slots=True)
class Places:
    """How inputs become outputs: `in.png` → `in_x4.png`, `folder/` → `folder_x4/`, or into `out`.

    `tag`: what {scale} stands for: "4" or "2.5" for a scale; "800x600", "w1024", "h768", "fit2048" for a size. `format`: of
    all results, the inputs' own where None (.pgm for .pbm). `name`: a template of naming.FIELDS, without suffix. `resume`:
    what exists is left for the manifest to judge. `video_model`, `container`, `codec`: the same for videos.
    """

    out: Path | None = None
    tag: str = "4"
    model: str = ""
    format: Format | None = None
    video_model: str = ""
    container: Container | None = None
    codec: CodecName | None = None
    name: str | None = None
    recursive: bool = False
    overwrite: bool = False
    resume: bool = False


@dataclass(frozen=True, slots=True)
class _Item:
    """An input. Its result goes into `folder`, at or below `root`, called by `template`; or where `exact` says."""

    source: Path
    root: Path
    folder: Path
    template: str = ""
    exact: Path | None = None
    error: PictureError | None = None
    stdin: bool = False


_Identities = Set[tuple[int, int] | None]


def _none(_root: Path) -> Collection[str]:
    return ()


def tasks(inputs: Iterable[str], places: Places, results_in: Callable[[Path], Collection[str]] = _none) -> list[Task]:
    """Tasks in the order of the inputs, folders sorted. What cannot be done comes as a task with an error.

    The same inputs give the same places, whatever results are there already. An input that is given twice is done once.
    `results_in(root)`: names below `root` of what earlier runs made, as a manifest knows; where a pattern or folder means such
    a result beside its own original, it is no input.

    Raises ValueError where several inputs would go into one file, where `-` stands twice, and for templates that are none.
    """
    if places.name is not None:
        check_template(places.name, places.model)
    given = list(expanded(inputs))
    if (
        len(given) == 1
        and given[0] is not None
        and is_folder(given[0])
        and places.out is not None
        and is_video(places.out)
    ):
        return [_sequence(given[0], places.out, places)]
    alone = len(given) == 1 and (given[0] is None or not is_folder(given[0]))
    _check_out(places, alone)
    if given.count(None) > 1:
        raise ValueError("- stands for stdin and can be given only once")
    items = [item for path in given for item in _items(path, places, alone)]
    return _planned(_without_results(items, places, results_in), places)


def _sequence(folder: Path, target: Path, places: Places) -> Task:
    """A folder's pictures as one video."""
    error = _misplaced(folder, target, places, frozenset())
    return Task(folder, target, error, target.parent, sequence=True)


def exists_already(target: Path) -> OutputError:
    return OutputError(f"{target}: exists already; --overwrite replaces it, --resume goes on with what was begun")


def _check_out(places: Places, alone: bool) -> None:
    out = places.out
    if out is not None and out != STREAM and alone and not is_folder(out):
        _check_folder(out)
    if out is None or not (out == STREAM or _is_file_name(out)):
        return
    which = "stdout" if out == STREAM else str(out)
    if not alone:
        raise ValueError(f"{which} is one file, but there are several inputs; give a folder")
    if places.name is not None:
        raise ValueError(f"--name and -o {out} both name the result; use one, or give a folder to -o")
    own = BY_SUFFIX.get(out.suffix.lower())
    if places.format is not None and own not in (None, places.format):
        raise ValueError(f"{out} is not called like {places.format.name}, which --format asks for; use one of both")


def _check_folder(out: Path) -> None:
    """Names that are meant as files, but mistyped, make no folder."""
    if _is_file_name(out):
        return
    if out.exists():
        raise ValueError(f"{out} is neither a folder nor called like a picture; use another -o")
    if re.fullmatch(r"\.[A-Za-z]{2,5}", out.suffix):
        raise ValueError(f"{out}: {out.suffix} is no kind of picture that can be written; for a folder, make it first")


def _items(path: Path | None, places: Places, alone: bool) -> Iterator[_Item]:
    if path is None or not is_folder(path):
        yield _file_item(path, places, alone)
        return
    root = places.out if places.out is not None else _beside(path, places)
    found = sorted(pictures(path, root, places.recursive), key=lambda pair: pair[0])
    if not found:
        hint = "" if places.recursive else "; --recursive looks further down"
        found = [(path, PictureError(f"{path}: no pictures in this folder ({kinds()}){hint}"))]
    for source, error in found:
        below = root if source == path else root / source.relative_to(path).parent
        yield _Item(source, root, below, places.name or "{stem}", error=error or unusable(source))


def _file_item(path: Path | None, places: Places, alone: bool) -> _Item:
    stdin, source = path is None, path or STREAM
    error = None if stdin else unusable(source)
    out = STREAM if stdin and places.out is None else places.out
    if out is not None and (out == STREAM or (alone and _is_file_name(out))):
        return _Item(source, out.parent, out.parent, exact=out, error=error, stdin=stdin)
    folder = source.parent if out is None else out
    return _Item(source, folder, folder, places.name or default_template(places.tag), error=error, stdin=stdin)


def _without_results(items: list[_Item], places: Places, results_in: Callable[[Path], Collection[str]]) -> list[_Item]:
    """Without those that an earlier run made from another of these inputs: a second `upscale *.png` means the originals."""
    roots = {item.root for item in items if item.exact is None}
    known = {os.path.join(os.path.realpath(root), name) for root in roots for name in results_in(root)}  # noqa: PTH118
    if not known:
        return items
    originals = [item for item in items if _real(item.source) not in known]
    targets = {_real(task.target) for task in _planned(originals, places) if task.target is not None}
    return [item for item in items if _real(item.source) not in known & targets]


def _planned(items: Sequence[_Item], places: Places) -> list[Task]:
    inputs = {identity(item.source) for item in items if not item.stdin} - {None}
    wishes = _wishes(items, places)
    targets = distinct(list(wishes.values()), _keys, lambda path: identity(path) in inputs)
    placed = dict(zip(wishes, targets, strict=True))
    chosen = (index for index, item in enumerate(items) if item.error is not None or index in placed)
    return [_task(items[index], placed.get(index), places, inputs) for index in chosen]


def _wishes(items: Sequence[_Item], places: Places) -> dict[int, Wish]:
    """By the item's number; one wish only where one file is meant to go to one place twice."""
    wishes: dict[tuple[str, str], tuple[int, Wish]] = {}
    digits = len(str(len(items)))
    for index, item in enumerate(items):
        if item.error is None:
            wish = Wish(item.source, item.root, functools.partial(_place, item, places, f"{index + 1:0{digits}d}"))
            wishes.setdefault((_real(item.source), _real(wish.place(""))), (index, wish))
    return dict(wishes.values())


def _place(item: _Item, places: Places, number: str, extra: str) -> Path:
    if item.exact is not None:
        return item.exact
    stem = "stdin" if item.stdin else item.source.stem
    video = not item.stdin and is_video(item.source)
    suffix = (
        result_suffix(item.source.suffix, places.container, places.codec) if video else _picture_suffix(item, places)
    )
    model = places.video_model if video else places.model
    values = {"stem": stem, "scale": places.tag, "model": model, "index": number}
    return item.folder / file_name(item.template, values, suffix, extra)


def _picture_suffix(item: _Item, places: Places) -> str:
    own = READ_ONLY.get(item.source.suffix.lower(), item.source.suffix or ".png")
    return own if places.format is None else places.format.suffixes[0]


def _keys(wish: Wish, path: Path) -> tuple[str, str]:
    """Where the file really is, links followed; and the same for disks on which A.png is a.png.

    Only what is made below the root is folded: above it, folders whose names differ in case are there and do differ.
    """
    root = os.path.realpath(wish.root)
    return _real(path), os.path.join(root, folded(path.relative_to(wish.root).as_posix()))  # noqa: PTH118


def _beside(folder: Path, places: Places) -> Path:
    named = folder if folder.name not in ("", "..") else folder.resolve()
    if not named.name:
        raise OutputError(f"{folder}: there is no place beside it; use -o")
    values = {"stem": named.name, "scale": places.tag}
    return named.with_name(file_name(default_template(places.tag), values, ""))


def _is_file_name(out: Path) -> bool:
    return out.suffix.lower() in _NAMED_AS_FILE and not is_folder(out)


def _task(item: _Item, target: Path | None, places: Places, inputs: _Identities) -> Task:
    if target is None or item.error is not None:
        return Task(item.source, None, item.error, stdin=item.stdin)
    if target == STREAM:
        video = not item.stdin and is_video(item.source)
        error = OutputError("-: a video is put together at its end and cannot go to stdout; use -o with a file")
        return Task(item.source, target, error if video else None, stdin=item.stdin, stdout=True)
    return Task(item.source, target, _misplaced(item.source, target, places, inputs), item.root, item.stdin)


def _misplaced(source: Path, target: Path, places: Places, inputs: _Identities) -> OutputError | None:
    """Why the result cannot go there."""
    there = identity(target)
    if there in inputs:
        which = "the input itself" if there == identity(source) else "an input too"
        return OutputError(f"{target}: {which}, never overwritten; use another -o")
    try:
        _check_kind(source, target)
        if target.is_dir():
            return OutputError(f"{target}: a folder is so called; use -o")
        if target.exists() and not (places.overwrite or places.resume):
            return exists_already(target)
    except OutputError as error:
        return error
    except OSError as error:
        return OutputError(f"{target}: cannot be written ({error.strerror}); use -o")
    return None


def _check_kind(source: Path, target: Path) -> None:
    """Raises OutputError where the target is not called like what it shall hold."""
    if is_folder(source) and container_of(target) is not None:
        return
    if not is_video(source) or source == STREAM:
        if is_video(target):
            raise OutputError(f"{target}: one picture makes no video; use -o with .png, or a folder of pictures")
        format_of(target)
    elif container_of(target) is None:
        raise OutputError(f"{target}: no video can be so called; use .mp4, .mkv, .webm or .mov")


def _real(path: Path) -> str:
    """The path with all links followed but the last."""
    return os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118
