"""The ``anvil`` command: thin; every subcommand lives in its own module and is imported only when it is called."""

from __future__ import annotations

import difflib
import importlib
import sys
from typing import Any

from anvil.cli.exit_codes import INTERRUPTED, USAGE

NEEDED = (3, 11)


def main() -> None:
    """Entry point. Exit codes: 0 ok, 1 operation failed, 2 usage, 3 target not reachable, 130 interrupted."""
    if sys.version_info < NEEDED:
        found = ".".join(map(str, sys.version_info[:3]))
        print(f"anvil needs Python {NEEDED[0]}.{NEEDED[1]} or newer, this is {found}", file=sys.stderr)
        raise SystemExit(1)
    if sys.argv[1:2] == ["probe"]:
        # The image's health check runs often: nothing but the standard library may be imported.
        from anvil.cli.probe import run

        raise SystemExit(run(sys.argv[2:]))
    if sys.argv[1:2] == ["socket"]:
        # It runs for as long as the router and does nothing: it should weigh nothing.
        from anvil.cli.socket import run as hold

        raise SystemExit(hold(sys.argv[2:]))
    _click_main()


def _click_main() -> None:
    import click

    from anvil import __version__
    from anvil.cli.ending import failed
    from anvil.cli.listing import Group
    from anvil.cli.usage_error import one_line

    class Commands(Group):
        """Subcommands by module path, imported on use; an unknown one names the nearest."""

        def make_context(self, *args: Any, **extra: Any) -> click.Context:
            try:
                return super().make_context(*args, **extra)
            except click.UsageError as error:
                raise one_line(error) from None

        def invoke(self, ctx: click.Context) -> Any:
            try:
                return super().invoke(ctx)
            except click.UsageError as error:
                raise one_line(error) from None
            except KeyboardInterrupt:  # click itself would make it exit code 1
                raise SystemExit(INTERRUPTED) from None
            except OSError as error:
                raise failed(error, ctx.invoked_subcommand) from None

        def list_commands(self, ctx: click.Context) -> list[str]:
            return sorted(COMMANDS)

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            target = COMMANDS.get(cmd_name)
            if target is None:
                near = difflib.get_close_matches(cmd_name, COMMANDS, n=1)
                hint = f", did you mean {near[0]}?" if near else ""
                print(f"anvil: no command {cmd_name!r}{hint}", file=sys.stderr)
                raise SystemExit(USAGE)
            module, attribute = target
            command = getattr(importlib.import_module(module), attribute)
            assert isinstance(command, click.Command)  # a wrong table entry is our defect
            return command

    group = Commands(
        name="anvil",
        help="Deploy model serves and route coding harnesses to them, local where proven.",
        no_args_is_help=False,
        invoke_without_command=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @click.pass_context
    def show_help(ctx: click.Context) -> None:
        if ctx.invoked_subcommand is None:
            click.echo(ctx.get_help())

    group.callback = show_help
    group = click.version_option(__version__, prog_name="anvil")(group)
    group.main(prog_name="anvil", standalone_mode=True)


COMMANDS = {
    "serve": ("anvil.cli.serve", "serve"),
    "check": ("anvil.cli.serve", "check"),
    "probe": ("anvil.cli.serve", "probe"),
    "socket": ("anvil.cli.serve", "socket"),
    "decisions": ("anvil.cli.decisions", "decisions"),
    "explain": ("anvil.cli.decisions", "explain"),
    "metrics": ("anvil.cli.metrics", "metrics"),
    "replay": ("anvil.cli.replay", "replay"),
    "harness": ("anvil.cli.harness", "harness"),
    "init": ("anvil.cli.init", "init"),
    "onboard": ("anvil.cli.init", "init"),
    "doctor": ("anvil.cli.doctor", "doctor"),
    "logs": ("anvil.cli.logs", "logs"),
    "modes": ("anvil.cli.modes", "modes"),
    "render": ("anvil.cli.render", "render"),
    "preflight": ("anvil.cli.preflight", "command"),
    "bench": ("anvil.cli.bench", "command"),
    "usage": ("anvil.cli.usage", "command"),
    "multiplexer": ("anvil.cli.multiplexer", "multiplexer"),
    "token": ("anvil.cli.token", "token"),
    "recipes": ("anvil.cli.recipes", "recipes"),
    "models": ("anvil.cli.models", "models"),
    "prune": ("anvil.cli.prune", "prune"),
    "priors": ("anvil.cli.priors", "priors"),
    "score": ("anvil.cli.score", "score"),
    "bootstrap": ("anvil.cli.calibrate", "bootstrap"),
    "profile": ("anvil.cli.profile", "profile"),
    "calibrate": ("anvil.cli.calibrate", "calibrate"),
    "eval": ("anvil.cli.evaluate", "evaluate"),
}
