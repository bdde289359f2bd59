"""The generated pages of docs/: the fidelity matrix, the failure classes and the keys of router.toml.

``scripts/docs`` writes them, ``scripts/docs --check`` exits 1 when one is stale.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from anvil.router.config import load, tables
from anvil.router.config.model import BreakerConfig, DecisionsConfig, Limits, RouterConfig, ServerConfig, TierConfig
from anvil.router.config.rules import Rule, shown
from anvil.router.failures import TABLE
from tests.unit.router.fidelity import answers, matrix, meanings, requests, strange
from tests.unit.router.fidelity.checks import Probe

DOCS = Path(__file__).parents[4] / "docs"
_MADE = "<!-- made by scripts/docs; edit the tests or the code it is made from -->\n"
_WORDS = {"K": "kept", "M": "mapped", "C": "refused", "N": "lossy"}
_UNKNOWN = "unknown fields"

_FIDELITY = """# What survives the router

Callers speak OpenAI Chat (O), Anthropic Messages (A) or OpenAI Responses (R); tiers speak O or A. Each cell below is
made from the cases in `tests/unit/router/fidelity`, which are run for whole answers and for streams alike; a cell
without a case, or a case without its outcome, fails the build.

| word | meaning |
|---|---|
| kept | the same value arrives at the same place |
| mapped | it arrives in the other dialect's form |
| refused | a tier that cannot take it is not used for this request |
| lossy | it cannot arrive; the decision record says so in `lossy`, under the name shown |
| – | the field does not exist there |

Nothing is dropped without one of these. A record holds at most 20 `unknown.<field>` names.
"""
_ANSWERS = """
## Answers, tier to caller

Reasoning text reaches an Anthropic caller only if its request enabled thinking; otherwise it is named
`reasoning.hidden`. A signature is never invented.
"""
_FAILURES = """# Why an attempt fails, and what follows

Every failed attempt belongs to one class. The exhaustion status is `exhaustion_status` of router.toml (503).

"""
_NEXT = {"stop": "the request ends", "larger": "tiers with a larger window only", "next": "the next tier"}
_BREAKER = {
    "none": "not counted",
    "open": "opens for the tier at once",
    "rest": "the tier rests",
    "tier": "counts for the tier",
    "class": "counts for the tier in this work class",
}
_CONFIGURATION = """# router.toml

Every key the router reads, what it may be, and what it is when left out. An unknown key is an error. Secrets never
stand here: `auth_env` names the environment variables that hold them.
"""
_TABLES: tuple[tuple[str, Mapping[str, Rule], type[msgspec.Struct], Mapping[str, str]], ...] = (
    ("[server]", tables.SERVER, ServerConfig, meanings.SERVER),
    ("[router]", tables.ROUTER, RouterConfig, meanings.ROUTER),
    ("[router.limits]", tables.LIMITS, Limits, meanings.LIMITS),
    ("[router.breaker]", tables.BREAKER, BreakerConfig, meanings.BREAKER),
    ("[router.decisions]", tables.DECISIONS, DecisionsConfig, meanings.DECISIONS),
    ("[[router.tiers]]", tables.TIER, TierConfig, meanings.TIER),
)
_HEAD = '[router]\nmapping_version = "v1"\n'
_TIER = """
[[router.tiers]]
id = "{privacy} {dialect}"
base_url = "http://127.0.0.1:1"
dialect = "{dialect}"
context_limit = 1
privacy = "{privacy}"
tool_support = true
auth_env = "KEY"
"""
_LISTS = """
`[router]` also holds `presets` (name = list of tier ids, in the order they are tried), `preset_classes` (custom
preset = work class) and `metered_cloud` (work classes for which tiers that cost money may be used; none when left
out).
"""


def pages() -> dict[str, str]:
    """File name under docs/ -> text."""
    return {"fidelity.md": fidelity(), "failures.md": failures(), "configuration.md": configuration()}


# -------------------------------------------------------------------------------------------- fidelity


def fidelity() -> str:
    asked = _matrix(matrix.REQUESTS, matrix.REQUEST_WAYS, [*requests.PROBES, *strange.PROBES])
    told = _matrix(matrix.ANSWERS, matrix.ANSWER_WAYS, answers.PROBES)
    return f"{_FIDELITY}\n## Requests, caller to tier\n\n{asked}{_ANSWERS}\n{told}\n{_MADE}"


def _matrix(promised: dict[str, dict[str, str]], ways: tuple[str, ...], probes: list[Probe]) -> str:
    rows = [[row, *[_cell(cells[way], row, way, probes) for way in ways]] for row, cells in promised.items()]
    return table(["field", *ways], rows)


def _cell(promise: str, row: str, way: str, probes: list[Probe]) -> str:
    """The promise in words, and every name the cell's cases look for in the record."""
    words = " ".join([_worded(word) for word in promise.replace("/", ", ").split()])
    checks = [check for probe in probes if (probe.row, probe.way) == (row, way) for check in probe.checks]
    names = dict.fromkeys([_name(check.name, row) for check in checks if check.name])
    if len(names) > 1 and all(name.startswith("never_forwarded.") for name in names):
        names = {"never_forwarded.<field>": None}
    return words + "".join([f" `{name}`" for name in names])


def _name(name: str, row: str) -> str:
    """A name of the record; what the cases' own fields are called does not matter."""
    return "unknown.<field>" if row == _UNKNOWN and name.startswith("unknown.") else name


def _worded(word: str) -> str:
    letter = word.rstrip(",")
    return _WORDS.get(letter, letter) + word[len(letter) :]


# -------------------------------------------------------------------------------------------- failures


def failures() -> str:
    rows = []
    for rule in TABLE.values():
        step, breaker = _NEXT[rule.next_step], _BREAKER[rule.breaker]
        rows.append(
            [f"`{rule.name}`", rule.recognised_by, step, breaker, f"`{rule.outcome}`", _status(rule.final_status)]
        )
    head = ["class", "recognised by", "then", "circuit breaker", "outcome in the record", "status for the caller"]
    return f"{_FAILURES}{table(head, rows)}\n{_MADE}"


def _status(final: int | str | None) -> str:
    if final is None:
        return "the exhaustion status"
    return "the tier's own" if final == "tier" else str(final)


# --------------------------------------------------------------------------------------- configuration


def configuration() -> str:
    parts = [_CONFIGURATION]
    for name, rules, struct, means in _TABLES:
        rows = [[f"`{key}`", _wanted(rule), _default(key, struct), means[key]] for key, rule in rules.items()]
        parts.append(f"\n## {name}\n\n{table(['key', 'value', 'default', 'meaning'], rows)}")
        if name == "[router]":
            parts.append(_LISTS)
    rows = [[f"`{name}`", f"`[server]` {key}"] for name, (key, _rule) in tables.ENVIRONMENT.items()]
    parts.append(f"\n## Environment\n\n{table(['variable', 'takes the place of'], rows)}\n{_MADE}")
    return "".join(parts)


def _wanted(rule: Rule) -> str:
    """What a value must be, in the words of the message that refuses anything else."""
    try:
        rule(object())
    except ValueError as error:
        return str(error).removeprefix("must be ").partition(", not <")[0]
    raise AssertionError("a rule that takes anything")


def _default(key: str, struct: type[msgspec.Struct]) -> str:
    """The value in force when the key is left out; where that depends on the tier, for each kind."""
    if struct is not TierConfig:
        return _value({field.name: field.default for field in msgspec.structs.fields(struct)}[key])
    if key in tables.TIER_REQUIRED:
        return "required"
    found = {kind: _value(getattr(tier, key)) for kind, tier in _bare_tiers().items()}
    if len(set(found.values())) == 1:
        return found["local openai"]
    return "; ".join([f"{kind}: {value}" for kind, value in found.items()])


@functools.cache
def _bare_tiers() -> dict[str, TierConfig]:
    """One tier of each kind, read from a file that says no more than it must."""
    kinds = [(privacy, dialect) for privacy in ("local", "cloud") for dialect in ("openai", "anthropic")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "router.toml"
        path.write_text(_HEAD + "".join([_TIER.format(privacy=privacy, dialect=dialect) for privacy, dialect in kinds]))
        config = load(path, environ={})
    return {tier.id: tier for tier in config.tiers}


def _value(value: Any) -> str:
    if value is msgspec.NODEFAULT:
        return "required"
    if value is None or value == ():
        return "not set"
    return f'`"{value}"`' if isinstance(value, str) else f"`{shown(value)}`"


# ------------------------------------------------------------------------------------------------ files


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(["| " + " | ".join([cell.replace("|", "\\|") for cell in line]) + " |\n" for line in lines])


def stale() -> list[str]:
    return [name for name, text in pages().items() if not _same(DOCS / name, text)]


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: scripts/docs [--check]", file=sys.stderr)
        return 2
    names = stale()
    if arguments:
        for name in names:
            print(f"docs/{name} is stale: run scripts/docs", file=sys.stderr)
        return 1 if names else 0
    for name in names:
        (DOCS / name).write_text(pages()[name])
        print(f"docs/{name} written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
