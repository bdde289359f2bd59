"""Throw-away systemd hosts for rehearsals, run as root: `python3 molecule/hosts up gpu 21 --nvidia`.

Another lab beside it, on a network of its own: ANVIL_LAB_NETWORK=1.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

import base
import host as hosts
import network
from shell import Refusal, say


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="molecule/hosts", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("base", help="build or unpack the cached roots, fetch the Compose plugin, make the SSH key")
    up = verbs.add_parser("up", help="boot a host at 10.231.<lab>.N and print how to reach it")
    up.add_argument("name")
    up.add_argument("number", type=int)
    up.add_argument("--nvidia", action="store_true", help="two pretended NVIDIA cards: nvidia-smi and GPU requests")
    up.add_argument("--plain", action="store_true", help="no Docker, as on a gateway")
    up.add_argument("--show", action="append", default=[], metavar="PATH:THERE", help="a folder it sees read-only")
    verbs.add_parser("down", help="remove a host without a trace").add_argument("name")
    verbs.add_parser("down-all", help="remove every host, also those of a run that was killed")
    verbs.add_parser("where", help="print the cache folder")
    verbs.add_parser("python-root", help="print the archive of the Debian root that images start from")
    return parser.parse_args(argv)


def act(given: argparse.Namespace) -> None:
    if given.verb == "where":
        print(base.lab())
        return
    base.require_machine()
    if given.verb == "python-root":
        base.ensure_root(base.PYTHON)
        print(base.PYTHON.archive)
        return
    if given.verb == "base":
        make_base()
    elif given.verb == "up":
        start(given)
    elif given.verb == "down":
        hosts.down(hosts.Host(checked_name(given.name)))
    else:
        folder = base.hosts()
        for name in sorted(path.name for path in folder.glob("*")) or [""]:
            hosts.down(hosts.Host(name)) if name else network.disconnect("none")


def make_base() -> None:
    for root in (base.HOST, base.PYTHON):
        say(f"{root.name}: {base.ensure_root(root)}")
    say(f"compose: {base.ensure_compose()}")
    say(f"key: {base.ensure_key()}")


def start(given: argparse.Namespace) -> None:
    if not 2 <= given.number <= 254:
        raise Refusal(f"number {given.number}: choose one from 2 to 254")
    name, shown = checked_name(given.name), tuple(map(checked_folder, given.show))
    host = hosts.Host(name, given.number, gpus=given.nvidia, docker=not given.plain, shown=shown)
    began = time.monotonic()
    hosts.up(host)
    say(f"{host.name} is up at {network.address(host.number)} after {time.monotonic() - began:.1f} s")
    print(f"ssh -F {host.ssh_config} {host.name}")


def checked_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
        raise Refusal(f"{name!r}: a host's name is lower-case letters, digits and dashes, at most 31")
    return name


def checked_folder(shown: str) -> str:
    here, _, there = shown.partition(":")
    if not Path(here).is_dir() or not there.startswith("/"):
        raise Refusal(f"--show {shown}: give a folder of this machine and where it lies there, as /opt/x:/opt/x")
    return shown


if __name__ == "__main__":
    try:
        act(arguments())
    except Refusal as why:
        sys.exit(f"molecule/hosts: {why}")
    except KeyboardInterrupt:
        sys.exit(130)
