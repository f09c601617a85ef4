"""`upscale-models`: what networks there are, where they come from, and whether they are intact.

Results go to stdout, talk to stderr. Everything heavy is imported inside the commands, so that `--help` is instant.
"""

import contextlib
import json
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from upscale.errors import ModelError, OutputError, WeightsMissingError
from upscale.one_line_errors import one_line_errors

if TYPE_CHECKING:
    from upscale.checkpoint import Checkpoint
    from upscale.download import Progress
    from upscale.zoo import Backbone, Entry

OutFile = click.Path(dir_okay=False, path_type=Path)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace OUT where it exists.")


@click.group(cls=one_line_errors("upscale-models"), context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Lists, fetches, checks, converts and blends networks."""


@main.command("list")
@click.option("--backbones", is_flag=True, help="Show instead the networks that training judges pictures with.")
@AS_JSON
def list_models(backbones: bool, as_json: bool) -> None:
    """Show the models that are known by name."""
    from upscale import zoo
    from upscale.facts import default_for, entry_facts

    if backbones:
        _list_backbones(as_json)
        return
    if as_json:
        click.echo(json.dumps([entry_facts(model) for model in zoo.entries()], indent=2))
        return
    rows = [("name", "scale", "network", "weights", "license", "default for", "good for")]
    for model in zoo.entries():
        state = "here" if model.here else "to fetch"
        facts = (model.name, f"x{model.scale}", model.arch, state, model.license)
        rows.append((*facts, default_for(model), model.good_for))
    _echo_table(rows)


@main.command()
@click.argument("model", metavar="NAME|FILE")
@AS_JSON
def show(model: str, as_json: bool) -> None:
    """Show what a model is: its shape, cost, origin and license."""
    from upscale import zoo
    from upscale.facts import entry_facts, file_facts, lines, network_facts

    known = next((entry for entry in zoo.entries() if entry.name == model), None)
    facts = entry_facts(known) if known else {}
    if known is None or known.here:
        facts |= network_facts(zoo.load(model))
    if known is None:
        facts["files"] = file_facts(Path(model))
    click.echo(json.dumps(facts, indent=2) if as_json else "\n".join(lines(facts)))
    if known and not known.here:
        click.echo(f"not on this machine: `upscale-models fetch {known.name}` gets it", err=True)


@main.command()
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "every", is_flag=True, help="Fetch all models.")
@click.option("--official", is_flag=True, help="Also where the installed data wheel has the model, in fp16.")
def fetch(names: tuple[str, ...], every: bool, official: bool) -> None:
    """Download models, checked against their pinned sha256. An interrupted download goes on where it stopped.

    Backbones of training (alexnet, vgg16, vgg19) are fetched by name alone, not by --all.
    """
    from upscale import zoo

    if bool(names) == every:
        raise click.UsageError("give names, or --all")
    known = zoo.backbones()
    chosen = list(zoo.entries()) if every else [zoo.entry(name) for name in names if name not in known]
    for name in dict.fromkeys(name for name in names if name in known):
        _fetch_backbone(known[name], official)
    partners = [zoo.entry(model.denoise) for model in chosen if model.denoise]
    for model in {model.name: model for model in chosen + partners}.values():
        _fetch(model, official)


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
def verify(names: tuple[str, ...]) -> None:
    """Check the weights on this machine against their pinned sha256, and their conversions against fresh ones."""
    from upscale import zoo
    from upscale.verify import BAD, findings

    bad = 0
    for model in [zoo.entry(name) for name in names] or zoo.entries():
        found = list(findings(model))
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
@click.option(
    "--note", "notes", multiple=True, metavar="KEY=TEXT", help="To write into OUT; `show` tells it. Repeatable."
)
@click.option("--fp16", is_flag=True, help="Store half precision: half the size, rounded weights.")
@OVERWRITE
def convert(
    source: str, out: Path, name: str | None, license_: str | None, notes: tuple[str, ...], fp16: bool, overwrite: bool
) -> None:
    """Convert a model (a name or any checkpoint file) into OUT: .safetensors, .pth as Real-ESRGAN reads it, .onnx, or
    ncnn's .param with its .bin. The last two are run where onnxruntime or ncnn is installed, and compared."""
    from dataclasses import replace

    from upscale import zoo

    _check_output(out, overwrite)
    added = dict(map(_note, notes))
    checkpoint = zoo.load(source)
    checkpoint = checkpoint.named(name or checkpoint.spec.name, license_)
    _write(replace(checkpoint, notes={**checkpoint.notes, **added}), out, fp16)


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


def _note(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise click.BadParameter(f"{text!r} is no KEY=TEXT, such as commit=1a2b3c", param_hint="--note")
    return key.strip(), value.strip()


def _list_backbones(as_json: bool) -> None:
    from dataclasses import asdict

    from upscale import zoo

    known = zoo.backbones().values()
    if as_json:
        click.echo(json.dumps([asdict(one) | {"here": one.here is not None} for one in known], indent=2))
        return
    rows = [("name", "weights", "license", "good for")]
    rows += [(one.name, "here" if one.here else "to fetch", one.license, one.good_for) for one in known]
    _echo_table(rows)


def _echo_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _fetch_backbone(backbone: "Backbone", official: bool) -> None:
    """Into the cache, where the training finds it. A data wheel's is the same network without its classifier."""
    from upscale import zoo
    from upscale.download import fetch as download

    source = backbone.download
    here = source if source.files() or official else backbone.here
    if here and here.files():
        with contextlib.suppress(ModelError):
            zoo.check(backbone, here)
            click.echo(f"{backbone.name}: already here and intact ({here.origin})", err=True)
            return
    with _progress(backbone.name) as progress:
        download(source.url, source.sha256, source.path, progress)
    click.echo(f"{backbone.name}: fetched, {source.path}", err=True)


def _fetch(model: "Entry", official: bool) -> None:
    from upscale import zoo
    from upscale.download import fetch as download
    from upscale.verify import problem

    source = model.download
    if model.here and (source is None or not (source.files() or official)):
        zoo.check(model, model.here)
        click.echo(f"{model.name}: already here and intact ({model.here.origin})", err=True)
        return
    if source is None:
        raise zoo.missing(model)
    if source.files() and problem(model, source) is None:
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


def _check_output(out: Path, overwrite: bool) -> None:
    from upscale.convert import SUFFIXES, files_of

    if out.suffix.lower() not in SUFFIXES:
        raise click.BadParameter(f"{out} must end in .safetensors, .pth, .onnx or .param", param_hint="OUT")
    for path in files_of(out):
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists; --overwrite replaces it")


def _write(checkpoint: "Checkpoint", out: Path, half: bool = False) -> None:
    from upscale import convert

    for line in convert.write(checkpoint, out, half):
        click.echo(line, err=True)
    spec, files = checkpoint.spec, " and ".join(map(str, convert.files_of(out)))
    click.echo(f"wrote {files}: {spec.name}, {spec.arch} x{spec.scale}, license {spec.license}", err=True)


if __name__ == "__main__":
    main()
