"""What `upscale-models` and `upscale-train` have in common: errors that a user can cure are one line, never a traceback."""

from typing import Any

import click

from upscale.errors import UpscaleError


def one_line_errors(program: str) -> type[click.Group]:
    """The class of a group of commands that turns our errors into one line, which begins with the program's name, and exit
    status 1; all others keep their traceback, since they are bugs."""

    class Group(click.Group):
        def invoke(self, ctx: click.Context) -> Any:
            try:
                return super().invoke(ctx)
            except UpscaleError as error:
                click.echo(f"{program}: error: {' '.join(str(error).split())}", err=True)
                ctx.exit(1)

    return Group
