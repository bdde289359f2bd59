"""How often a gateway calls the hook for one message: a logger is put in, watched, judged and taken out again (15)."""

from __future__ import annotations

from collections.abc import Callable

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import OperationMeta, operation
from pyinfra.context import host, state

from anvil.deploys import gateway as gateways
from anvil.deploys import gateway_by_sftp, options
from anvil.deploys.gateway_document import HOOK, ROOT, code_of, judge
from anvil.deploys.site import each, here
from anvil.harness import capture, fire_logger, json5_document, json5_edit, masking
from anvil.hosts.gateway import gateway_answers, gateway_restarted, plugin_loaded
from anvil.hosts.gateway_log import lines_awaited, removed
from anvil.hosts.json_file import Edit, ExpandedPath, json_file, plugin_files
from anvil.hosts.services import failing
from anvil.hosts.shell import Commands
from anvil.topology.model import Gateway

LOGGER = ROOT / "templates" / fire_logger.ID
FOLDER = f"~/.anvil/plugins/{fire_logger.ID}"
LOG = "~/.openclaw/logs/anvil-fires.jsonl"
MESSAGES, WAIT_SECONDS = 3, 600


class Watch:
    """What one run learns on its way: the document before it, and the log at the end."""

    def __init__(self, gateway: Gateway, folder: str, log: str) -> None:
        self.folder, self.log, self.text = folder, log, ""
        self._rewrite = gateway.rewrite_json5
        self._before, self._written = "", ""

    def put_in(self, content: bytes | None) -> Edit:
        """The live document with the logger in it. Raises ValueError."""
        current, _ = json5_document.parse(content or b"")
        wanted = fire_logger.with_logger(current, self.folder, self.log)
        found = _edit(content, current, wanted, self._rewrite)
        if found.text is not None:
            self._before, self._written = (content or b"{}").decode(), found.text
        return found

    def take_out(self, content: bytes | None) -> Edit:
        """The very text of before, unless somebody wrote to it meanwhile: then only what is ours goes."""
        current, _ = json5_document.parse(content or b"")
        wanted = fire_logger.without_logger(current, self.folder)
        found = _edit(content, current, wanted, rewrite=True)
        if found.text is None or (content or b"").decode() != self._written:
            return found
        before = self._before if self._before.endswith("\n") else f"{self._before}\n"
        return Edit(text=before, before=found.before, after=found.after)

    def take(self, text: str) -> None:
        self.text = text


def _edit(content: bytes | None, current: dict[str, object], wanted: dict[str, object], rewrite: bool) -> Edit:
    if json5_document.same(current, wanted):
        return Edit(text=None)
    text = json5_edit.written(content, wanted, rewrite=rewrite) if content else json5_document.dumped(wanted)
    before, after = (json5_document.dumped(masking.masked(value)) for value in (current, wanted))
    return Edit(text=text if text.endswith("\n") else f"{text}\n", before=before, after=after)


@deploy("Cadence")
def judged() -> None:
    """Put the logger in, wait for messages, take it out whatever happened, judge. `messages=0` only takes it out."""
    site = here()
    asked = options.number("messages", MESSAGES)
    for name, gateway in each(site.topology.gateways.items()):
        if gateway.machine != site.name:
            continue
        if gateway_by_sftp.is_needed(site):
            raise PyinfraError(f"{site.name}: no command can be run there, so {name} cannot be watched")
        if gateways.told(site, gateway).pinned:
            raise PyinfraError(f"{site.name}: without its openclaw {name} cannot be watched")
        _watched(name, gateway, asked)


def _watched(name: str, gateway: Gateway, asked: int) -> None:
    folder, log = (host.get_fact(ExpandedPath, path, _sudo=False).path for path in (FOLDER, LOG))
    watch = Watch(gateway, folder, log)
    steps = _put_in(name, gateway, watch) if asked else []
    if asked:
        _wait(name, watch, asked, steps[-1])
    _take_out(name, gateway, watch)
    if asked:
        verdict(name=f"Cadence of {name}", watch=watch, asked=asked, steps=steps, _sudo=False)


def _put_in(name: str, gateway: Gateway, watch: Watch) -> list[OperationMeta]:
    """No step ends the run here: what went in must come out again."""
    login = gateway.login_shell
    files = plugin_files(
        name=f"Logger for {name}", path=FOLDER, files=code_of(LOGGER), _sudo=False, _ignore_errors=True
    )
    old = removed(name=f"No old log of {name}", paths=(LOG,), _sudo=False, _ignore_errors=True)
    document = json_file(
        name=f"Logger into {name}",
        path=gateway.config,
        edit=watch.put_in,
        judge=judge(login, pinned=False),
        _sudo=False,
        _ignore_errors=True,
    )
    restart = gateway_restarted(
        name=f"Restart {name} with the logger",
        login=login,
        wanted=dict,
        applies_itself=lambda: False,
        why="the logger went in",
        _if=document.did_change,
        _sudo=False,
        _ignore_errors=True,
    )
    answers = gateway_answers(name=f"{name} answers", login=login, _sudo=False, _ignore_errors=True)
    loaded = plugin_loaded(
        name=f"Logger of {name} loaded",
        login=login,
        identity=fire_logger.ID,
        hook=HOOK,
        _if=_all(files, document),
        _sudo=False,
        _ignore_errors=True,
    )
    return [files, old, document, restart, answers, loaded]


def _all(*steps: OperationMeta) -> Callable[[], bool]:
    return lambda: all(step.did_succeed(_raise_if_not_complete=False) for step in steps)


def _wait(name: str, watch: Watch, asked: int, loaded: OperationMeta) -> None:
    lines_awaited(
        name=f"Messages to {name}",
        path=watch.log,
        enough=lambda text: messages(text) >= asked,
        take=watch.take,
        wanted=f"send {asked} messages to the gateway {name} now",
        seconds=options.number("timeout", WAIT_SECONDS),
        _if=_all(loaded),
        _sudo=False,
        _ignore_errors=True,
    )


def _take_out(name: str, gateway: Gateway, watch: Watch) -> None:
    document = json_file(
        name=f"Logger out of {name}",
        path=gateway.config,
        edit=watch.take_out,
        judge=judge(gateway.login_shell, pinned=False),
        _sudo=False,
    )
    gateway_restarted(
        name=f"Restart {name} without the logger",
        login=gateway.login_shell,
        wanted=dict,
        applies_itself=lambda: False,
        why="the logger came out",
        _if=document.did_change,
        _sudo=False,
    )
    removed(name=f"Files of the logger of {name}", paths=(FOLDER, LOG), _sudo=False)


def messages(text: str) -> int:
    """How many distinct messages a log tells of."""
    return sum(len(set(fired)) for fired in capture.fires(capture.read(text)).values())


@operation()
def verdict(watch: Watch, asked: int, steps: list[OperationMeta]) -> Commands:
    """
    Judge what was logged: every message's hook fired, and the log can be read. Changes nothing.
    """
    if not state.is_executing:
        host.noop("known when messages were sent")
        return
    found = capture.cadence(capture.read(watch.text))
    came = messages(watch.text)
    problems = list(found.violations)
    if any(not step.did_succeed() for step in steps if step.is_complete()):
        problems.append("a step before failed, see above")
    if came < asked:
        problems.append(f"{came} of {asked} messages came: send them while it waits, or give it --data timeout=SECONDS")
    for line in found.findings:
        host.log(f"finding: {line}")
    host.log(f"{came} messages in {found.judged} sessions judged")
    if problems:
        yield failing("cadence: " + "; ".join(problems))
