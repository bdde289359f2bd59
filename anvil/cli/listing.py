"""A group whose help lists its commands with their whole first sentence."""

from __future__ import annotations

import click

_WHOLE = 1000  # click cuts a sentence at the width of the line, in the middle of what it says


class Group(click.Group):
    """Commands in alphabetical order, sentences wrapped instead of cut."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, each.get_short_help_str(_WHOLE)) for name, each in found if each is not None and not each.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
