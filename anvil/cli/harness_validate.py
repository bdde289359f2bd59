"""``anvil harness validate``: hold a capture of a real client against what the router expects (operations.md 15)."""

from __future__ import annotations

import json
from pathlib import Path

import click
import msgspec

from anvil.cli.ending import stop
from anvil.cli.exit_codes import FAILED, USAGE
from anvil.harness.capture import PRESETS, Verdict, cadence, read, wire
from anvil.router.config.model import RouterConfig, TierConfig
from anvil.router.intent import Intents
from anvil.router.taxonomy import CANONICAL_PRESETS
from anvil.router.turn import Signals, Turn

SCHEMA = "anvil.harness-validate/v1"


@click.command()
@click.option(
    "--capture",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="JSON, or JSON lines: requests, model names, or a log of the hook.",
)
@click.option("--wire", "wants_wire", is_flag=True, help="Every model name is a preset, bare or after anvil/.")
@click.option("--cadence", "wants_cadence", is_flag=True, help="The hook fired for each message; how often.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def validate(capture: Path, wants_wire: bool, wants_cadence: bool, as_json: bool) -> None:
    """Judge what a client really sent. Exit 1 on a violation or a capture that cannot be read."""
    if not wants_wire and not wants_cadence:
        raise stop("nothing to judge; add --wire, --cadence or both", USAGE)
    try:
        held = read(capture.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise stop(f"{capture}: cannot be read: {error}", FAILED) from None
    verdicts: dict[str, Verdict] = {}
    if wants_wire:
        found = wire(held)
        verdicts["wire"] = msgspec.structs.replace(found, violations=(*found.violations, *resolver_differs()))
    if wants_cadence:
        verdicts["cadence"] = cadence(held)
    _tell(capture, verdicts, as_json)
    if broken := [name for name, verdict in verdicts.items() if verdict.violations]:
        raise stop(f"{capture}: {' and '.join(broken)} failed", FAILED)


def _tell(capture: Path, verdicts: dict[str, Verdict], as_json: bool) -> None:
    if as_json:
        checks = {name: msgspec.to_builtins(verdict) for name, verdict in verdicts.items()}
        click.echo(json.dumps({"schema": SCHEMA, "capture": str(capture), "checks": checks}))
        return
    units = {"wire": "model names", "cadence": "sessions"}
    for name, verdict in verdicts.items():
        click.echo(f"[{'FAIL' if verdict.violations else 'PASS'}] {name}: {verdict.judged} {units[name]}")
        for sentence in verdict.violations:
            click.echo(f"  {sentence}")
        for sentence in verdict.findings:
            click.echo(f"  note: {sentence}")


def resolver_differs() -> tuple[str, ...]:
    """Where the router would read a preset in another way than the expression, or bare and prefixed differently."""
    tier = TierConfig(
        id="any-local", base_url="http://127.0.0.1:1/v1", dialect="openai", context_limit=1, privacy="local",
        tool_support=True, auth_env="UNUSED",
    )  # fmt: skip
    presets: dict[str, tuple[str, ...]] = {name: (tier.id,) for name in CANONICAL_PRESETS}
    intents = Intents(RouterConfig(mapping_version="check", tiers=(tier,), presets=presets))
    wrong = [f"{name} is a preset here or in the router, not in both" for name in set(PRESETS) ^ set(CANONICAL_PRESETS)]
    for name in CANONICAL_PRESETS:
        bare, prefixed = (intents.resolve(_turn(text)) for text in (name, f"anvil/{name}"))
        if bare != prefixed or bare.source != "declared-preset":
            wrong.append(f"the router reads {name} and anvil/{name} differently")
    return tuple(wrong)


def _turn(model: str) -> Turn:
    return Turn(dialect="openai", body={}, signals=Signals(), model=model)
