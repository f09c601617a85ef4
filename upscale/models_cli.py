"""`upscale-models`: what networks there are, where they come from, and whether they are intact.

Results go to stdout, talk to stderr. Everything heavy is imported inside the commands, so that `--help` is instant.
"""

import contextlib
import json
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upscale.errors import ModelError, OutputError, UpscaleError, WeightsMissingError

if TYPE_CHECKING:
    from upscale.checkpoint import Checkpoint
    from upscale.download import Progress
    from upscale.zoo import Entry, Source

BAD = "BAD"
OutFile = click.Path(dir_okay=False, path_type=Path)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace OUT where it exists.")


class _Group(click.Group):
    """Turns our errors into one line and exit status 1; all others keep their traceback, since they are bugs."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UpscaleError as error:
            click.echo(f"upscale-models: error: {' '.join(str(error).split())}", err=True)
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Lists, fetches, checks, converts and blends networks."""


@main.command("list")
@AS_JSON
def list_models(as_json: bool) -> None:
    """Show the models that are known by name."""
    from upscale import zoo

    if as_json:
        click.echo(json.dumps([_entry_facts(model) for model in zoo.entries()], indent=2))
        return
    rows = [("name", "scale", "network", "weights", "license", "good for")]
    for model in zoo.entries():
        name = f"{model.name} (default)" if model.default else model.name
        state = "here" if model.here else "to fetch"
        rows.append((name, f"x{model.scale}", model.arch, state, model.license, model.good_for))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@main.command()
@click.argument("model", metavar="NAME|FILE")
@AS_JSON
def show(model: str, as_json: bool) -> None:
    """Show what a model is: its shape, cost, origin and license."""
    from upscale import zoo

    known = next((entry for entry in zoo.entries() if entry.name == model), None)
    facts = _entry_facts(known) if known else {}
    if known is None or known.here:
        facts |= _network_facts(zoo.load(model))
    if known is None:
        facts["files"] = _file_facts(Path(model))
    click.echo(json.dumps(facts, indent=2) if as_json else "\n".join(_lines(facts)))
    if known and not known.here:
        click.echo(f"not on this machine: `upscale-models fetch {known.name}` gets it", err=True)


@main.command()
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "every", is_flag=True, help="Fetch all models.")
@click.option("--official", is_flag=True, help="Also where the installed data wheel has the model, in fp16.")
def fetch(names: tuple[str, ...], every: bool, official: bool) -> None:
    """Download models, checked against their pinned sha256. An interrupted download goes on where it stopped."""
    from upscale import zoo

    if bool(names) == every:
        raise click.UsageError("give names, or --all")
    chosen = list(zoo.entries()) if every else [zoo.entry(name) for name in names]
    partners = [zoo.entry(model.denoise) for model in chosen if model.denoise]
    for model in {model.name: model for model in chosen + partners}.values():
        _fetch(model, official)


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
def verify(names: tuple[str, ...]) -> None:
    """Check the weights on this machine against their pinned sha256, and their conversions against fresh ones."""
    from upscale import zoo

    bad = 0
    for model in [zoo.entry(name) for name in names] or zoo.entries():
        found = [finding for source in model.sources for finding in _findings(model, source)]
        if names and not found:
            raise WeightsMissingError(f"{model.name}: nothing of it is on this machine")
        for state, text in found:
            click.echo(f"{model.name}: {state}: {text}")
            bad += state == BAD
    if bad:
        raise ModelError(f"{bad} damaged file{'s' if bad > 1 else ''}, see above")


@main.command()
@click.argument("source", metavar="IN")
@click.argument("out", type=OutFile)
@click.option("--name", help="Name to write into OUT.")
@click.option("--license", "license_", help="License to write into OUT.")
@click.option("--fp16", is_flag=True, help="Store half precision: half the size, rounded weights.")
@OVERWRITE
def convert(source: str, out: Path, name: str | None, license_: str | None, fp16: bool, overwrite: bool) -> None:
    """Convert a model (a name or any checkpoint file) into OUT: .safetensors, or .pth as Real-ESRGAN reads it."""
    from upscale import zoo

    _check_output(out, overwrite)
    checkpoint = zoo.load(source)
    checkpoint = checkpoint.named(name or checkpoint.spec.name, license_)
    _write(_halved(checkpoint) if fp16 else checkpoint, out)


@main.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.argument("out", type=OutFile)
@click.option("--share", type=click.FloatRange(0, 1), required=True, help="Share of B: 0 gives A, 1 gives B.")
@click.option("--name", help="Name to write into OUT (its file name, if not given).")
@click.option("--license", "license_", help="License to write into OUT.")
@OVERWRITE
def blend(
    first: str, second: str, out: Path, share: float, name: str | None, license_: str | None, overwrite: bool
) -> None:
    """Mix the parameters of two models of one shape into OUT (network interpolation)."""
    from dataclasses import replace

    from upscale import checkpoint, zoo

    _check_output(out, overwrite)
    a, b = zoo.load(first), zoo.load(second)
    mixed = checkpoint.blend(a, b, share, name or out.stem)
    note = f"{1 - share:g} {a.spec.name} + {share:g} {b.spec.name}"
    _write(replace(mixed.named(mixed.spec.name, license_), notes={"blend": note}), out)


def _entry_facts(model: "Entry") -> dict[str, Any]:
    here = model.here
    return {
        "name": model.name,
        "default": model.default,
        "arch": model.arch,
        "scale": model.scale,
        "here": here is not None,
        "license": model.license,
        "good_for": model.good_for,
        "denoise": model.denoise,
        "sources": [
            {"origin": source.origin, "sha256": source.sha256, "used": source == here} for source in model.sources
        ],
    }


def _network_facts(checkpoint: "Checkpoint") -> dict[str, Any]:
    """The spec, and what follows from it."""
    from dataclasses import asdict

    from upscale.stages import macs_per_pixel

    spec = checkpoint.spec
    return asdict(spec) | {
        "parameters": sum(array.size for array in checkpoint.arrays.values()),
        "macs_per_pixel": macs_per_pixel(spec),
        "receptive_radius": spec.radius,
        "notes": checkpoint.notes,
    }


def _file_facts(path: Path) -> list[dict[str, str]]:
    from upscale.files import sha256_of

    pair = [path.with_suffix(".param"), path.with_suffix(".bin")]
    files = pair if path.suffix.lower() in (".param", ".bin") else [path]
    return [{"origin": str(file), "sha256": sha256_of(file)} for file in files]


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    for key, value in facts.items():
        if key in ("sources", "files"):
            for part in value:
                yield from _lines(part)
        elif key == "notes":
            yield from _lines(value)
        elif value is not None:
            yield f"{key.replace('_', ' ')}: {_text(value)}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _fetch(model: "Entry", official: bool) -> None:
    from upscale import zoo
    from upscale.download import fetch as download

    source = model.download
    if source is None:
        raise ModelError(f"{model.name} has no download")
    if not source.files() and model.here and not official:
        zoo.check(model, model.here)
        click.echo(f"{model.name}: already here and intact ({model.here.origin})", err=True)
        return
    if source.files() and _problem(model, source) is None:
        click.echo(f"{model.name}: already here and intact ({source.path})", err=True)
        return
    with _progress(model.name) as progress:
        download(source.url, source.sha256, source.path, progress)
    zoo.load(model.name)  # converts now, so that the first picture need not wait for it
    click.echo(f"{model.name}: fetched", err=True)


@contextlib.contextmanager
def _progress(name: str) -> "Generator[Progress | None]":
    """A bar where somebody watches; nothing in logs."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=name, unit="B", unit_scale=True, unit_divisor=1024) as bar:

        def show_progress(have: int, total: int | None) -> None:
            bar.total = total
            bar.update(have - bar.n)

        yield show_progress


def _findings(model: "Entry", source: "Source") -> Iterator[tuple[str, str]]:
    """What `verify` says of each file: (state, text)."""
    from upscale import zoo

    files = source.files()
    problem = _problem(model, source)
    if problem:
        yield BAD, problem
    else:
        yield from (("ok", str(path)) for path in files)
    cached = zoo.cached_path(model, source)
    if not cached.is_file():
        return
    if problem or not files:
        yield "unchecked", f"{cached}: there is no intact source to compare it with"
    elif _same(zoo.read_cached(model, source), zoo.convert(model, source)):
        yield "ok", str(cached)
    else:
        yield BAD, f"{cached}: differs from a fresh conversion; delete it, and it is made again when needed"


def _problem(model: "Entry", source: "Source") -> str | None:
    from upscale import zoo

    try:
        zoo.check(model, source)
    except ModelError as error:
        return str(error)
    return None


def _same(cached: "Checkpoint | None", fresh: "Checkpoint") -> bool:
    """Bit by bit: the spec and every parameter."""
    import numpy as np

    if cached is None or cached.spec != fresh.spec:
        return False
    return all(np.array_equal(cached.arrays[key], value) for key, value in fresh.arrays.items())


def _check_output(out: Path, overwrite: bool) -> None:
    if out.suffix.lower() not in (".safetensors", ".pth"):
        raise click.BadParameter(f"{out} must end in .safetensors or .pth", param_hint="OUT")
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists; --overwrite replaces it")


def _write(checkpoint: "Checkpoint", out: Path) -> None:
    from upscale.checkpoint import write_pth, write_safetensors

    pickled = out.suffix.lower() == ".pth"
    try:
        (write_pth if pickled else write_safetensors)(checkpoint, out)
    except (OSError, RuntimeError) as error:  # torch.save has its own idea of a full disk
        raise OutputError(f"{out}: cannot be written ({getattr(error, 'strerror', None) or error})") from error
    spec = checkpoint.spec
    if pickled and spec.activation == "leakyrelu" and spec.arch == "compact":
        click.echo("note: a .pth does not say that its activation is leakyrelu; readers take it for relu", err=True)
    click.echo(f"wrote {out}: {spec.name}, {spec.arch} x{spec.scale}, license {spec.license}", err=True)


def _halved(checkpoint: "Checkpoint") -> "Checkpoint":
    """Parameters as float16. Raises ModelError where one is too large for it."""
    from dataclasses import replace

    import numpy as np

    with np.errstate(over="ignore"):
        arrays: dict[str, Any] = {key: value.astype(np.float16) for key, value in checkpoint.arrays.items()}
    for key, value in arrays.items():
        if not np.isfinite(value).all():
            raise ModelError(f"{checkpoint.spec.name}: {key} is too large for half precision")
    return replace(checkpoint, arrays=arrays)


if __name__ == "__main__":
    main()
