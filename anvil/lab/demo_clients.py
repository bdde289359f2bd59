"""The exact lines that point real clients at the demo's router, without touching the clients' own files."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from anvil.lab.demo_house import House
from anvil.lab.demo_show import Show

# Client, its name for people, the variable that names its configuration, and whether that is the file's folder.
_BY_FILE = (
    ("codex", "Codex", "CODEX_HOME", True, "codex"),
    ("openclaw", "OpenClaw", "OPENCLAW_CONFIG_PATH", False, "openclaw agent --local --session-id demo --message Hello"),
)


def told(house: House, show: Show, console: Console, stays: bool) -> None:
    """Write one configuration per client under the house, as the router itself describes it, and print the lines."""
    console.print("\n[bold]Point a client at it[/] (its own configuration stays as it is)")
    if not stays:
        console.print("  [dim]This folder goes away now; a run without --once leaves it, and the router, standing.[/]")
    console.print(f"  . {shlex.quote(str(house.variables))}", soft_wrap=True, highlight=False)
    documents = {name: show.document(name) for name in ("claude-code", "codex", "openclaw")}
    lines = [("Claude Code", claude(documents["claude-code"]["env"]))]
    for client, title, variable, folder, command in _BY_FILE:
        path = _written(house.root / "clients" / client, documents[client])
        lines.append((title, f"{variable}={shlex.quote(str(path.parent if folder else path))} {command}"))
    for title, line in lines:
        console.print(f"  [dim]# {title}[/]")
        console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)
    window = max(model["context_window"] for model in documents["codex"]["models"])
    console.print(
        f"  [dim]These clients send long prompts of their own. This demo's window is {window} tokens; what does not fit"
        " is refused with 413. For good: `.venv/bin/anvil harness apply CLIENT`.[/]",
        soft_wrap=True,
    )


def claude(variables: Mapping[str, str]) -> str:
    """One shell line; a value of the form ${NAME} stays a reference, so that no token is printed."""
    words = [
        f'{name}="{value}"' if value.startswith("${") else f"{name}={shlex.quote(value)}"
        for name, value in variables.items()
    ]
    return " ".join([*words, "claude"])


def _written(folder: Path, document: Mapping[str, Any]) -> Path:
    """The client's one file, with the text the router gives for it."""
    (file,) = document["files"]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / Path(file["path"]).name
    path.write_text(file["text"], encoding="utf-8")
    return path
