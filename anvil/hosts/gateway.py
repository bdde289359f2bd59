"""An OpenClaw gateway: what its command says, and its restart. Everything runs as the login user, never by sudo."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gevent  # type: ignore[import-untyped]  # pyinfra runs on it; its sleep lets the other hosts work
import msgspec
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from anvil.hosts.announce import announce
from anvil.hosts.docker import documents
from anvil.hosts.files import FILE_BYTES
from anvil.hosts.services import failing
from anvil.hosts.shell import NOT_FOUND, TIMED_OUT, Answer, Commands, HiddenLines, Reading, captured, reading, script

COMMAND_SECONDS = 120  # Loading its schema takes a small machine half a minute.
READ_BACK_SECONDS = 60
LIVE_EDIT_SECONDS = 15  # Releases that apply model edits by themselves need about three.
PROBE_SECONDS = 120
PAUSE_SECONDS = 3

# A non-login shell over SSH lacks ~/.local/bin, brew and nvm: the command goes through the login shell as one word.
_RUN = f"""run() {{
  if [ "$login" = true ]; then limited {COMMAND_SECONDS} "${{SHELL:-sh}}" -lc "$1" </dev/null
  else limited {COMMAND_SECONDS} sh -c "$1" </dev/null; fi
}}
"""
_RESTART = f"""login=$1
limited() {{ shift; "$@"; }}
{_RUN}run "openclaw gateway restart"
"""
_FETCH = """command -v curl >/dev/null 2>&1 || exit 127
curl -sS --noproxy '*' -m "$2" -K - -w '\\n%{http_code}\\n' "$1"
"""
_CHAT = """command -v curl >/dev/null 2>&1 || exit 127
curl -sS --noproxy '*' -m "$2" -K - -w '\\n%{http_code}\\n' -H 'content-type: application/json' --data-binary "$3" "$1"
"""


class CliAnswer(Answer, frozen=True, kw_only=True):
    version: str = ""


class SchemaAnswer(Answer, frozen=True, kw_only=True):
    schema: dict[str, Any] = msgspec.field(default_factory=dict)


class ValidationAnswer(Answer, frozen=True, kw_only=True):
    """`issues` and `warnings` as "path: message"; a valid document has no issues that count."""

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


class ReplyAnswer(Answer, frozen=True, kw_only=True):
    code: int = 0
    body: str = ""


def _status(got: Reading) -> Answer:
    if got.code == NOT_FOUND or ("not found" in got.text.lower() and got.code):
        return Answer(status="tool_missing", error="openclaw is not on the login shell's PATH")
    if got.code == TIMED_OUT:
        return Answer(status="error", error=f"openclaw did not answer within {COMMAND_SECONDS} s")
    return Answer(status="error" if got.code else "ok", error=got.text.strip()[-500:] if got.code else "")


def _ran(command: str, login: bool, *more: str) -> StringCommand:
    return captured(f"login=$1\n{_RUN}{command}", str(login).lower(), *more, limit=FILE_BYTES)


def _object(text: str) -> dict[str, Any]:
    """What was printed before the first `{` is the shell's and the release's chatter."""
    return next((value for value in documents(text) if isinstance(value, dict)), {})


def _told(got: Reading, key: str) -> dict[str, Any]:
    """The first printed object that has `key`: a warning may be printed as JSON too."""
    return next((value for value in documents(got.text) if isinstance(value, dict) and key in value), {})


class OpenClawCli(FactBase[CliAnswer]):
    def command(self, login: bool) -> StringCommand:
        return _ran('run "openclaw --version"', login)

    def process(self, output: list[str]) -> CliAnswer:
        got = reading(output)
        told = _status(got)
        words = [word for word in got.text.split() if word[:1].isdigit()]
        return CliAnswer(status=told.status, error=told.error, version=words[0] if words and told.ok else "")


class OpenClawSchema(FactBase[SchemaAnswer]):
    """The JSON Schema of its configuration, from which its features are read."""

    def command(self, login: bool) -> StringCommand:
        return _ran('run "openclaw config schema"', login)

    def process(self, output: list[str]) -> SchemaAnswer:
        got = reading(output)
        told = _status(got)
        return SchemaAnswer(status=told.status, error=told.error, schema=_object(got.text) if told.ok else {})


class OpenClawValidation(FactBase[ValidationAnswer]):
    """The gateway's own judgement of a configuration file."""

    def command(self, login: bool, path: str) -> StringCommand:
        chosen = "OPENCLAW_CONFIG_PATH=$2; export OPENCLAW_CONFIG_PATH\n"
        return _ran(f'{chosen}run "openclaw config validate --json"', login, path)

    def process(self, output: list[str]) -> ValidationAnswer:
        got = reading(output)
        told = _object(got.text)
        if "valid" not in told:
            said = _status(got)
            return ValidationAnswer(status=said.status if not said.ok else "error", error=said.error or "no verdict")
        issues, warnings = (_sentences(told.get(key)) for key in ("issues", "warnings"))
        return ValidationAnswer(status="ok", valid=told["valid"] is True, issues=issues, warnings=warnings)


def _sentences(rows: Any) -> tuple[str, ...]:
    return tuple(f"{row.get('path', '')}: {row.get('message', '')}" for row in rows or () if isinstance(row, dict))


class OpenClawModels(FactBase[ModelsAnswer]):
    """The models of our provider as the gateway lists them."""

    def command(self, login: bool) -> StringCommand:
        return _ran('run "openclaw models list --provider anvil --json"', login)

    def process(self, output: list[str]) -> ModelsAnswer:
        got = reading(output)
        told = _status(got)
        rows = _object(got.text).get("models") or [row for row in documents(got.text) if isinstance(row, dict)]
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
        if "plugin" not in told:
            said = _status(got)
            return PluginAnswer(status=said.status if not said.ok else "error", error=said.error or "no answer")
        return PluginAnswer(
            status="ok",
            state=str(told["plugin"].get("status") or ""),
            hooks=tuple(str(row.get("name")) for row in told.get("typedHooks") or ()),
            access=(told.get("policy") or {}).get("allowConversationAccess") is True,
        )


class Reply(FactBase[ReplyAnswer]):
    """GET from the gateway; what curl reads on standard input (the authorisation header) is never on a command line."""

    def command(self, url: str, seconds: int) -> StringCommand:
        return captured(_FETCH, url, seconds)

    def process(self, output: list[str]) -> ReplyAnswer:
        return _reply(reading(output))


class ChatReply(FactBase[ReplyAnswer]):
    """POST of one chat completion from the gateway."""

    def command(self, url: str, seconds: int, body: str) -> StringCommand:
        return captured(_CHAT, url, seconds, body)

    def process(self, output: list[str]) -> ReplyAnswer:
        return _reply(reading(output))


def _reply(got: Reading) -> ReplyAnswer:
    if got.code == NOT_FOUND:
        return ReplyAnswer(status="tool_missing", error="curl is not installed")
    body, _, code = got.text.strip().rpartition("\n")
    number = int(code) if code.strip().isdigit() else 0
    return ReplyAnswer(
        status="ok" if number else "absent", code=number, body=body, error="" if number else got.text.strip()
    )


def authorisation(token: str) -> HiddenLines:
    """curl's configuration on standard input."""
    return HiddenLines([f'header = "Authorization: Bearer {token}"\n'])


@operation()
def router_reachable(base_url: str, presets: tuple[str, ...], release: str, token: str) -> Commands:
    """
    See the router from the gateway: the expected release, and presets offered for this token. Changes nothing.

    + base_url: with /v1
    + presets: the topology's; those that the live profile leaves no tier for are named, and fail only all together
    + release: the release that must answer, "" = any
    """
    if not state.is_executing:
        host.noop("known when the router is live")
        return
    health = host.get_fact(Reply, f"{base_url.removesuffix('/v1')}/healthz", 10, _stdin="\n")
    if problem := reachable(health, release):
        yield failing(f"{base_url} from here: {problem}")
        return
    models = host.get_fact(Reply, f"{base_url}/models", 10, _stdin=authorisation(token))
    ids = offered(models)
    missing = [preset for preset in presets if preset not in ids]
    if models.code != 200 or len(missing) == len(presets):
        lacks = "offers none of the presets" if models.code == 200 else f"answers {models.code}"
        yield failing(f"{base_url}/models from here: {lacks}")
    elif missing:
        lacks = ", ".join(missing)
        host.log_styled(f"WARN the live profile leaves no tier for {lacks}: left out of the document", fg="yellow")


def offered(models: ReplyAnswer) -> frozenset[str]:
    """The ids in an answer of /v1/models."""
    return frozenset(str(row.get("id")) for row in _object(models.body).get("data") or ())


def reachable(health: ReplyAnswer, release: str) -> str:
    """Why the answer of /healthz is not the router that was expected, or ""."""
    if health.code != 200:
        return health.error or f"/healthz answers {health.code}"
    answered = str(_object(health.body).get("release") or "")
    return "" if release in ("", answered) else f"release {answered or 'none'} answers, {release} was expected"


@operation()
def gateway_restarted(
    login: bool, wanted: Callable[[], dict[str, int]], applies_itself: Callable[[], bool], why: str
) -> Commands:
    """
    Restart the gateway, unless it has applied the change by itself.

    + wanted: `anvil/<preset>` -> window that the running gateway must list
    + applies_itself: whether this release and this change need no restart
    """
    if state.is_executing and applies_itself() and _listed(host, login, wanted(), LIVE_EDIT_SECONDS) == "":
        host.noop("the gateway applied it by itself")
        return
    announce(f"gateway: restarted ({why})")
    yield script(_RESTART, str(login).lower(), _timeout=COMMAND_SECONDS)


@operation()
def gateway_in_step(login: bool, wanted: Callable[[], dict[str, int]]) -> Commands:
    """
    Wait until the running gateway lists every preset with its window. Changes nothing.
    """
    if not state.is_executing:
        host.noop("known when the gateway runs the document")
        return
    if lacking := _listed(host, login, wanted(), READ_BACK_SECONDS):
        yield failing(f"gateway: {lacking}")


@operation()
def plugin_loaded(login: bool, identity: str, hook: str) -> Commands:
    """
    Wait until the gateway's release loads this plugin, with its hook and the right to read a turn. Changes nothing.
    """
    if not state.is_executing:
        host.noop("known when the gateway runs the document")
        return
    if lacking := _settled(
        lambda: plugin_lacks(host.get_fact(OpenClawPlugin, login, identity), hook), READ_BACK_SECONDS
    ):
        yield failing(f"plugin {identity}: {lacking}")


def plugin_lacks(told: PluginAnswer, hook: str) -> str:
    """Why the plugin does not do its work, or ""."""
    if not told.ok:
        return told.error
    if told.state != "loaded":
        return f"is {told.state or 'not there'}, not loaded"
    if hook not in told.hooks:
        return f"registers no {hook}"
    return "" if told.access else f"hooks.allowConversationAccess is not granted, so {hook} is never called"


def _listed(on: Host, login: bool, wanted: dict[str, int], seconds: int) -> str:
    """ "" once every model is listed with its window, else what is lacking when the time is up."""

    def lacking() -> str:
        told = on.get_fact(OpenClawModels, login)
        return told.error or "; ".join(
            f"{key} has window {told.windows.get(key, 'none')}, not {window}"
            for key, window in wanted.items()
            if told.windows.get(key) != window
        )

    return _settled(lacking, seconds)


def _settled(lacking: Callable[[], str], seconds: int) -> str:
    """ "" as soon as nothing is lacking, else what is when the time is up."""
    found = ""
    for _ in range(max(1, seconds // PAUSE_SECONDS)):
        if not (found := lacking()):
            return ""
        gevent.sleep(PAUSE_SECONDS)
    return found


@operation()
def answers_through(base_url: str, presets: tuple[str, ...], token: str, exhausted: int) -> Commands:
    """
    Ask each preset for one word, from the gateway. Changes nothing.

    + exhausted: the router's answer when a preset is cloud-only by design
    """
    if not state.is_executing:
        host.noop("known when the router is live")
        return
    for preset in presets:
        if problem := _spoken(base_url, preset, token, exhausted):
            yield failing(f"{preset} through {base_url}: {problem}")
            return


def _spoken(base_url: str, preset: str, token: str, exhausted: int) -> str:
    message = {"role": "user", "content": "Reply with the single word: ready"}
    body = json.dumps({"model": f"anvil/{preset}", "messages": [message], "max_tokens": 64})
    url = f"{base_url}/chat/completions"
    told = host.get_fact(ChatReply, url, PROBE_SECONDS, body, _stdin=authorisation(token))
    if told.code == exhausted:
        return ""
    choices = _object(told.body).get("choices") or [{}]
    content = (choices[0].get("message") or {}).get("content")
    return "" if told.code == 200 and content else f"answers {told.code or told.error} without content"
