"""A serve proves itself to whoever will send it work: one command, and a report kept for exactly that definition."""

from __future__ import annotations

import json
from collections.abc import Callable

from pyinfra.api.operation import operation
from pyinfra.context import host

from anvil.hosts.announce import announce, warn
from anvil.hosts.files import FileAge, FileText
from anvil.hosts.services import failing
from anvil.hosts.shell import Answer, Commands, streamed

PREFLIGHT_SECONDS = 3600  # A long needle on a slow card; each request has its own limit inside.
# A report appears whole or not at all; an earlier one never stands for this run. Exit status 0 and 1 are verdicts.
_RUN = f"""umask 027
evidence=$1; shift
new=$(mktemp "$evidence.XXXXXXXX") || exit 1
trap 'rm -f "$new"' EXIT
rm -f "$evidence" || exit 1
if command -v timeout >/dev/null 2>&1; then set -- timeout {PREFLIGHT_SECONDS} "$@"; fi
"$@" > "$new" </dev/null; code=$?
case $code in
  0 | 1) [ ! -s "$new" ] || {{ chmod 640 "$new" && mv -f "$new" "$evidence"; }} || exit 1 ;;
  *) head -c 2000 "$new" >&2 ;;
esac
exit 0
"""


class Report(Answer, frozen=True, kw_only=True):
    """What a kept report says. `failed`: tests and why; a report that cannot be read has status "error"."""

    passed: bool = False
    failed: tuple[str, ...] = ()


def report(text: str) -> Report:
    """An `anvil.preflight/v1` document."""
    try:
        document = json.loads(text)
    except ValueError:
        return Report(status="error", error="it wrote no report")
    if not isinstance(document, dict) or document.get("schema") != "anvil.preflight/v1":
        return Report(status="error", error="its report is no anvil.preflight/v1 document")
    tests = [test for test in document.get("tests") or () if isinstance(test, dict)]
    failed = tuple(f"{t.get('name')} ({t.get('class') or 'failed'})" for t in tests if t.get("passed") is not True)
    return Report(status="ok", passed=document.get("passed") is True, failed=failed)


@operation()
def preflight_passed(
    service: str,
    evidence: str,
    command: tuple[str, ...],
    required: bool,
    again: bool = False,
    since: Callable[[], float] | None = None,
) -> Commands:
    """
    Have a passing report for the serve's revision; one that passed is not tested again.

    Where only a warning depends on it, neither is one that failed: the warning stays, the second run changes nothing.

    + evidence: where the report of exactly this definition lies
    + command: prints the report, exit status 0 passed, 1 failed
    + required: whether anything else than a pass fails the operation; otherwise it is a warning
    + again: test although a report is there
    + since: how many seconds ago the serve was made
    """
    held = host.get_fact(FileText, evidence)
    known = report(held.text) if held.ok else Report(status="absent")
    if known.passed and not again:
        host.noop(f"{service} passed the preflight of this revision")
        return
    if known.ok and not (required or again or _outlived(evidence, since)):
        warn(f"{service}: preflight failed: {_why(known)}; --data recreate={service} tests it again")
        host.noop(f"{service} failed the preflight of this revision")
        return
    announce(
        f"{service}: preflight, {'asked for again' if held.ok and again else 'no passing report of this revision'}"
    )
    yield streamed(_RUN, evidence, *command)
    told = host.get_fact(FileText, evidence)
    verdict = report(told.text) if told.ok else Report(status="error", error="it could not be run; see above")
    if verdict.passed:
        return
    if required:
        yield failing(f"{service}: preflight failed: {_why(verdict)}")
    else:
        host.log_styled(f"WARN {service}: preflight failed: {_why(verdict)}", fg="yellow")


def _why(verdict: Report) -> str:
    return verdict.error or ", ".join(verdict.failed) or "no test passed"


def _outlived(evidence: str, since: Callable[[], float] | None) -> bool:
    """Whether what is judged now was made after the report: the same definition, brought up anew."""
    return since is not None and host.get_fact(FileAge, evidence).age_s > since()
