"""A host whose user runs a released OpenClaw: the gateway is a systemd service, installed by OpenClaw's own command."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from typing import Any

import pytest

from tests.clients import cache
from tests.rehearsal.lab import Lab

NATIVE = "native/big"
PORT = 18789
# Only a login shell knows `openclaw`, as with npm's own prefix; the wrapper is what `npm i -g` would have made.
_LAUNCHER = '#!/bin/sh\nexec /opt/node/bin/node /opt/openclaw/node_modules/openclaw/openclaw.mjs "$@"\n'
_SET_UP = f"""mkdir -p ~/.local/bin ~/.openclaw && printf '%s' {shlex.quote(_LAUNCHER)} > ~/.local/bin/openclaw
chmod 755 ~/.local/bin/openclaw && umask 077 && cat > ~/.openclaw/openclaw.json && sudo loginctl enable-linger anvil
"""
# What its operator wrote: a native provider to fall back on, few tools, and no primary model.
OPERATORS = """// written by hand: keep me
{{
  gateway: {{mode: 'local', bind: 'loopback', port: {port}, auth: {{mode: 'token', token: 'gateway-token'}}}},
  update: {{checkOnStart: false}},
  tools: {{profile: 'minimal', alsoAllow: ['exec']}}, // small prompts
  models: {{providers: {{native: {{
    baseUrl: '{native}', apiKey: 'native-key', api: 'openai-completions',
    models: [{{id: 'big', name: 'Big', input: ['text'], contextWindow: 131072, maxTokens: 8192}}],
  }}}}}},
  agents: {{defaults: {{
    skipBootstrap: true, skills: [],
    model: {{fallbacks: ['{fallback}']}},
    models: {{'{fallback}': {{alias: 'big'}}}},
  }}}},
}}
"""


def install_releases() -> None:
    """What the hosts are shown, fetched from npm when it is not in the clients' cache."""
    try:
        for pin in ("node", "openclaw", "openclaw-2026.6"):
            cache.install(pin)
    except cache.CannotInstall as reason:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no OpenClaw for the gateway hosts: {reason}")


@dataclass(frozen=True)
class Claw:
    """One gateway host. ``pin`` names its release in the clients' cache."""

    lab: Lab
    name: str
    number: int
    pin: str

    def up(self, native: str) -> None:
        """Boot it and let its user install the gateway. ``native`` is the base URL of the provider to fall back on."""
        shown = {cache.folder("node") / "node_modules/node": "/opt/node"}
        shown[cache.folder(self.pin) / "node_modules"] = "/opt/openclaw/node_modules"
        options = [word for here, there in shown.items() for word in ("--show", f"{here}:{there}")]
        self.lab.up(self.name, self.number, "--plain", *options)
        document = OPERATORS.format(port=PORT, native=native, fallback=NATIVE)
        self.lab.ssh(self.name, _SET_UP, given=document)
        self.run("openclaw gateway install")

    def down(self) -> None:
        self.lab.take_down(self.name)

    def run(self, command: str) -> str:
        """What a command of the login shell prints."""
        return self.lab.ssh(self.name, f"$SHELL -lc {shlex.quote(command)}", seconds=300)

    def told(self, command: str) -> Any:
        """The JSON that an `openclaw` command prints."""
        printed = self.run(f"openclaw {command} --json")
        return json.loads(printed[printed.index("{") :])

    def say(self, words: str, *more: str, session: str = "") -> str:
        """One turn through the running gateway: what the agent answers."""
        chosen = " ".join(("--session-id", session or f"s-{abs(hash((words, more)))}", *more))
        answer = self.told(f"agent {chosen} --message {shlex.quote(words)}")
        assert answer["status"] == "ok", answer
        return "\n".join(each["text"] for each in answer["result"]["payloads"])

    def file(self, path: str) -> str:
        return self.lab.ssh(self.name, f"cat {path}")

    def decided(self) -> list[tuple[str, str | None, str]]:
        """What the plugin wrote of each call of its hook: where to, which preset, why."""
        lines = map(json.loads, self.file("~/.openclaw/logs/anvil-decisions.jsonl").splitlines())
        return [(line["destination"], line["modelOverride"], line["reason"]) for line in lines]

    def owned(self) -> str:
        """Everything that a deploy could have changed here, the running process included."""
        look = (
            "cd; sha256sum .openclaw/openclaw.json .openclaw/openclaw.json.anvil-* .openclaw/.env .anvil/plugins/*/* 2>&1; "
            "systemctl --user show -P MainPID openclaw-gateway"
        )
        return self.lab.ssh(self.name, look)

    def pid(self) -> str:
        """Of the service's process; another one after a restart."""
        return self.lab.ssh(self.name, "systemctl --user show -P MainPID openclaw-gateway").strip()
