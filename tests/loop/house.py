"""The demo's house with what the loop needs of it: anvil commands, requests, claims that stop the run."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import tomli_w
from rich.console import Console

from anvil.lab.demo_house import TOKEN, Failed, House

SECONDS = 240.0  # of a command or an answer, on a busy machine too
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Stdout as the one JSON document it must be. Raises Failed."""
        try:
            return json.loads(self.out)
        except ValueError:
            raise Failed(f"stdout is no JSON document: {self.out[:500]!r}") from None


@dataclass
class Loop:
    """One run. ``reports``: the folder whose files stay."""

    house: House
    token: str
    reports: Path
    console: Console
    claims: int = 0

    # ------------------------------------------------------------------------------------------------- telling

    def step(self, title: str) -> None:
        self.console.print(f"\n[bold]{title}[/]", soft_wrap=True)

    def tell(self, line: str) -> None:
        self.console.print(f"  {line}", soft_wrap=True, markup=False)

    def claim(self, holds: bool, what: str, found: object = None) -> None:
        """Print ``what`` as checked. Raises Failed where it does not hold."""
        if not holds:
            raise Failed(f"does not hold: {what}" + (f"\n  found: {found}" if found is not None else ""))
        self.claims += 1
        self.console.print(f"  [green]ok[/] {what}", soft_wrap=True, highlight=False)

    # ----------------------------------------------------------------------------------------------- commands

    def anvil(self, *words: object, code: int | None = 0, more: dict[str, str] | None = None) -> Ran:
        """Run ``anvil WORDS``. Raises Failed for another exit code than ``code``; None takes any."""
        argv = [str(word) for word in words]
        self.console.print(f"  [dim]$ anvil {shlex.join(argv)}[/]", soft_wrap=True, highlight=False)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANVIL_")}
        ours = {TOKEN: self.token, "ANVIL_ROUTER_URL": self.house.url, "ANVIL_TOPOLOGY": str(self.house.topology)}
        program = str(Path(sys.executable).with_name("anvil"))
        ran = subprocess.run(
            [program, *argv],
            env={**kept, **ours, **(more or {})},
            cwd=self.reports,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if code is not None and ran.returncode != code:
            raise Failed(
                f"anvil {argv[0]} exited {ran.returncode}, not {code}:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}"
            )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def pyinfra(self, *words: object) -> str:
        """Run ``pyinfra -y inventory/local.py WORDS``; its output. Raises Failed."""
        argv = [str(word) for word in words]
        self.console.print(
            f"  [dim]$ pyinfra inventory/local.py {shlex.join(argv)}[/]", soft_wrap=True, highlight=False
        )
        return self.house.pyinfra(self.token, argv, lambda _: None)

    # ----------------------------------------------------------------------------------------------- the house

    @property
    def config(self) -> Path:
        """The live release's router.toml."""
        return self.house.root / "router" / "current" / "router.toml"

    def change(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Edit the topology, as an operator would."""
        document = tomllib.loads(self.house.topology.read_text(encoding="utf-8"))
        edit(document)
        self.house.topology.write_text(tomli_w.dumps(document), encoding="utf-8")

    def ask(self, preset: str, question: str, cap: int) -> dict[str, Any]:
        """One request; the router's own record of what it decided. Raises Failed when it leaves none."""
        body = {
            "model": preset,
            "temperature": 0,
            "max_tokens": cap,
            "messages": [{"role": "user", "content": question}],
        }
        try:
            with httpx.Client(
                base_url=self.house.url, headers=self._headers, timeout=SECONDS, trust_env=False
            ) as client:
                answer = client.post("/v1/chat/completions", json=body)
                found = client.get(f"/v1/decisions/{answer.headers['x-anvil-decision']}").raise_for_status()
        except (httpx.HTTPError, KeyError) as error:
            raise Failed(f"{preset}: the router's answer broke: {type(error).__name__}: {error}") from None
        record: dict[str, Any] = found.json()
        return record

    def router_pid(self) -> int:
        """The supervised process of the router, which a reload leaves alone. Raises Failed."""
        program = str(Path(sys.executable).with_name("supervisorctl"))
        argv = [program, "-c", str(self.house.root / "supervisor" / "supervisord.conf"), "pid", "router"]
        told = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False).stdout.strip()
        if not told.isdigit() or told == "0":
            raise Failed(f"supervisord knows no running router: {told}")
        return int(told)

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.house.url}/healthz", timeout=SECONDS, trust_env=False).json()
        return found

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}
