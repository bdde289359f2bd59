"""What a gateway's own `openclaw` says. It runs as the login user through the login shell, never by sudo."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase

from anvil.hosts.docker import documents
from anvil.hosts.files import FILE_BYTES
from anvil.hosts.shell import NOT_FOUND, TIMED_OUT, Answer, Reading, captured, reading

COMMAND_SECONDS = 120  # Loading its schema takes a small machine half a minute.
# macOS has no `timeout`: there the connection's own limit ends a command that hangs.
CONNECTION_SECONDS = COMMAND_SECONDS + 10

# A non-login shell over SSH lacks ~/.local/bin, brew and nvm: the command goes through the login shell as one word.
# What is said on the side comes after the answer, never in the middle of it.
RUN = f"""run() {{
  aside=$(mktemp) || return 1
  if [ "$login" = true ]; then limited {COMMAND_SECONDS} "${{SHELL:-sh}}" -lc "$1" </dev/null 2>"$aside"
  else limited {COMMAND_SECONDS} sh -c "$1" </dev/null 2>"$aside"; fi
  code=$?
  echo
  cat "$aside"
  rm -f "$aside"
  return "$code"
}}
"""
NO_REASON = "it is not valid, and no reason is given"
_ABSENT = re.compile(r"openclaw: (?:command )?not found|command not found: openclaw", re.IGNORECASE)
_VERSION = re.compile(r"(?<![\d.])\d{4}\.\d+\.\d+(?:[-+][\w.-]+)?")


class CliAnswer(Answer, frozen=True, kw_only=True):
    """`version` as it was printed, "" when none was."""

    version: str = ""


class SchemaAnswer(Answer, frozen=True, kw_only=True):
    schema: dict[str, Any] = msgspec.field(default_factory=dict)


class ValidationAnswer(Answer, frozen=True, kw_only=True):
    """`issues` and `warnings` as "path: message"; a document that is not valid has at least one issue."""

    valid: bool = False
    issues: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class ModelsAnswer(Answer, frozen=True, kw_only=True):
    """`windows` maps `anvil/<preset>` to its window in tokens."""

    windows: dict[str, int] = msgspec.field(default_factory=dict)


class PluginAnswer(Answer, frozen=True, kw_only=True):
    """`state` is "loaded" when its code runs; `hooks` are the typed ones; `access`: it may read conversations."""

    state: str = ""
    hooks: tuple[str, ...] = ()
    access: bool = False


class ServiceAnswer(Answer, frozen=True, kw_only=True):
    """`answers`: a gateway listens (it may still want another token); `managed`: a service manager keeps it;
    `of_user`: that of its user, which may end with the last login."""

    answers: bool = False
    managed: bool = False
    of_user: bool = False
    why: str = ""


class LingerAnswer(Answer, frozen=True, kw_only=True):
    lingers: bool = False


def _status(got: Reading) -> Answer:
    if got.code == NOT_FOUND or (got.code and _ABSENT.search(got.text)):
        return Answer(status="tool_missing", error="openclaw is not on the login shell's PATH")
    if got.code == TIMED_OUT:
        return Answer(status="error", error=f"openclaw did not answer within {COMMAND_SECONDS} s")
    return Answer(status="error" if got.code else "ok", error=got.text.strip()[-500:] if got.code else "")


def _ran(command: str, login: bool, *more: str) -> StringCommand:
    return captured(f"login=$1\n{RUN}{command}", str(login).lower(), *more, limit=FILE_BYTES)


def _told(got: Reading, *keys: str) -> dict[str, Any]:
    """The first printed object that has one of `keys`: shell, release and plugins may print before it, even JSON."""
    found = (value for value in documents(got.text) if isinstance(value, dict))
    return next((value for value in found if any(key in value for key in keys)), {})


class OpenClawCli(FactBase[CliAnswer]):
    """Whether it can be run, and its version."""

    def command(self, login: bool) -> StringCommand:
        return _ran('run "openclaw --version"', login)

    def process(self, output: list[str]) -> CliAnswer:
        got = reading(output)
        told = _status(got)
        found = _VERSION.search(got.text) if told.ok else None
        return CliAnswer(status=told.status, error=told.error, version=found[0] if found else "")


class OpenClawSchema(FactBase[SchemaAnswer]):
    """The JSON Schema of its configuration, from which its features are read."""

    def command(self, login: bool) -> StringCommand:
        return _ran('run "openclaw config schema"', login)

    def process(self, output: list[str]) -> SchemaAnswer:
        got = reading(output)
        told = _status(got)
        schema = _told(got, "properties", "$ref", "allOf", "anyOf") if told.ok else {}
        if told.ok and not schema:
            return SchemaAnswer(status="error", error="openclaw config schema printed no JSON Schema")
        return SchemaAnswer(status=told.status, error=told.error, schema=schema)


class OpenClawValidation(FactBase[ValidationAnswer]):
    """The gateway's own judgement of a configuration file."""

    def command(self, login: bool, path: str) -> StringCommand:
        chosen = "OPENCLAW_CONFIG_PATH=$2; export OPENCLAW_CONFIG_PATH\n"
        return _ran(f'{chosen}run "openclaw config validate --json"', login, path)

    def process(self, output: list[str]) -> ValidationAnswer:
        got = reading(output)
        told = _told(got, "valid")
        if not told:
            said = _status(got)
            return ValidationAnswer(status=said.status if not said.ok else "error", error=said.error or "no verdict")
        valid = told["valid"] is True
        issues, warnings = (_sentences(told.get(key)) for key in ("issues", "warnings"))
        if not valid and not issues:
            issues = (NO_REASON,)
        return ValidationAnswer(status="ok", valid=valid, issues=issues, warnings=warnings)


def _sentences(rows: Any) -> tuple[str, ...]:
    return tuple(f"{row.get('path', '')}: {row.get('message', '')}" for row in rows or () if isinstance(row, dict))


class OpenClawModels(FactBase[ModelsAnswer]):
    """The models of our provider as the gateway lists them."""

    def command(self, login: bool) -> StringCommand:
        return _ran('run "openclaw models list --provider anvil --json"', login)

    def process(self, output: list[str]) -> ModelsAnswer:
        got = reading(output)
        told = _status(got)
        rows = _told(got, "models").get("models") or [row for row in documents(got.text) if isinstance(row, dict)]
        windows = {str(row["key"]): int(row.get("contextWindow") or 0) for row in rows if "key" in row}
        return ModelsAnswer(status=told.status, error=told.error, windows=windows)


class OpenClawPlugin(FactBase[PluginAnswer]):
    """One plugin as the release itself loads it from the live document."""

    def command(self, login: bool, identity: str) -> StringCommand:
        chosen = "PLUGIN=$2; export PLUGIN\n"
        return _ran(f"{chosen}run 'openclaw plugins inspect \"$PLUGIN\" --runtime --json'", login, identity)

    def process(self, output: list[str]) -> PluginAnswer:
        got = reading(output)
        told = _told(got, "plugin")
        if not told:
            said = _status(got)
            return PluginAnswer(status=said.status if not said.ok else "error", error=said.error or "no answer")
        return PluginAnswer(
            status="ok",
            state=str(told["plugin"].get("status") or ""),
            hooks=tuple(str(row.get("name")) for row in told.get("typedHooks") or ()),
            access=(told.get("policy") or {}).get("allowConversationAccess") is True,
        )


class OpenClawService(FactBase[ServiceAnswer]):
    """Whether a gateway answers on this machine. Its exit status says nothing: it is 0 with no gateway at all."""

    def command(self, login: bool) -> StringCommand:
        return _ran('run "openclaw gateway status --json"', login)

    def process(self, output: list[str]) -> ServiceAnswer:
        got = reading(output)
        told = _told(got, "rpc", "service")
        if not told:
            said = _status(got)
            return ServiceAnswer(status=said.status if not said.ok else "error", error=said.error or "no answer")
        rpc, service = told.get("rpc") or {}, told.get("service") or {}
        down = rpc.get("ok") is False and str(rpc.get("kind") or "connect") == "connect"
        return ServiceAnswer(
            status="ok",
            answers=not down,
            managed=service.get("loaded") is True,
            of_user=service.get("label") == "systemd user",
            why=str(rpc.get("error") or ""),
        )


class Lingering(FactBase[LingerAnswer]):
    """Whether the login user's services outlive their logins; "absent" where no logind knows."""

    def command(self) -> StringCommand:
        return captured('limited 20 loginctl show-user "$(id -un)" -p Linger --value')

    def process(self, output: list[str]) -> LingerAnswer:
        got = reading(output)
        word = got.text.strip()
        if got.code or word not in ("yes", "no"):
            return LingerAnswer(status="absent", error=word)
        return LingerAnswer(status="ok", lingers=word == "yes")
