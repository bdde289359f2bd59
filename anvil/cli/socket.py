"""``anvil socket``: hold the published socket while routers come and go. Standard library only."""

from __future__ import annotations

from typing import NoReturn

from anvil.cli.arguments import Parser
from anvil.router import holder

IN_IMAGE = "/var/lib/anvil/router.sock"
PORTS = range(1, 65536)


def run(argv: list[str]) -> NoReturn:
    """Hold until told to stop: exit 0; 1 when the Unix socket cannot be made, 2 on usage errors."""
    parser = Parser(prog="anvil socket", description="Hold the router's published socket.", allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument("--at", default=IN_IMAGE, help="Unix socket that routers take it from; default: %(default)s")
    options = parser.parse_args(argv)
    if options.port not in PORTS:
        parser.error(f"--port {options.port}: expected a number from 1 to 65535")
    holder.run(options.host, options.port, options.at)
