"""``anvil init``: a topology from what a machine has (contract lab.md 2). ``onboard`` is the same command."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec
from click.core import ParameterSource

from anvil import __version__
from anvil.cli.ending import stop
from anvil.cli.exit_codes import FAILED, MISSING_PROGRAM, USAGE
from anvil.lab.locking import alone
from anvil.lab.writing import WriteRefused
from anvil.topology import load
from anvil.topology.check import lines
from anvil.topology.model import Topology

if TYPE_CHECKING:  # needs the deploy extra, which a router's image does not have
    from anvil.lab.onboarding.choosing import Choice
    from anvil.lab.onboarding.facts import Card, Facts
    from anvil.lab.onboarding.joining import Text
    from anvil.lab.onboarding.planning import Asked, Plan
    from anvil.lab.recipes.model import Recipe

MOST_CALLS = 95  # percent
_TARGET = re.compile(r"(?:[A-Za-z0-9._][A-Za-z0-9._-]*@)?[A-Za-z0-9:][A-Za-z0-9.:_-]*")
_PORTS = click.IntRange(1024, 65535)


class _Usage(msgspec.Struct):
    """As much of ``anvil.usage/v1`` as a suggestion needs: share of calls in percent by window in tokens."""

    schema: Literal["anvil.usage/v1"]
    subagent_context_coverage_pct: dict[str, float | None]


def _target(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """A leading dash would be an option of ssh."""
    if value is None:
        return None
    if not _TARGET.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no USER@HOST", ctx, param)
    user, at, host = value.rpartition("@")
    if host == "localhost":
        click.echo("note: localhost is read as 127.0.0.1", err=True)
        host = "127.0.0.1"
    return f"{user}{at}{host}"


@click.command()
@click.option("--host", metavar="USER@HOST", callback=_target, help="Ask this machine, through ssh.")
@click.option("--local", is_flag=True, help="Ask this machine itself.")
@click.option("--model", metavar="REPO", help="A repository id such as openai/gpt-oss-20b.")
@click.option(
    "--catalog", type=click.Path(path_type=Path, file_okay=False), help="Choose among these cards (anvil models index)."
)
@click.option("--recipes", type=click.Path(path_type=Path), help="Default: recipes.toml in the --out folder.")
@click.option("--gpu", metavar="NAME|UUID|INDEX", help="The card; default: the one that fits.")
@click.option("--served-name", metavar="S", help="The model's name on the wire.")
@click.option("--tier-id", metavar="T", help="Default: fast-local for small models, heavy-local for others.")
@click.option("--port", type=_PORTS, default=30000, show_default=True, help="The engine's port.")
@click.option("--context", type=click.IntRange(1024), default=131072, show_default=True, help="Its window in tokens.")
@click.option("--engine", type=click.Choice(["vllm", "sglang"]), help="Default: the recipe's, else vllm.")
@click.option("--image", metavar="REPO:TAG", help="The engine's image; default: what the machine has.")
@click.option("--thinking", type=click.Choice(["off", "default"]), default="default", show_default=True)
@click.option("--gateway", metavar="[USER@]HOST", callback=_target, help="A machine with an OpenClaw gateway.")
@click.option("--usage", type=click.Path(path_type=Path, dir_okay=False), help="What `anvil usage` measured.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="inventory", show_default=True)
@click.option("--mode-of-write", "how", type=click.Choice(["new", "merge"]), default="new", show_default=True)
@click.option("--mkdir", is_flag=True, help="Make a missing --out folder.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_context
def init(ctx: click.Context, /, **given: Any) -> None:
    """Write a topology from what a machine has: its cards, its Docker, its models.

    It is loaded, cross-checked and rendered before it is written. Exit 0: written, or nothing to do. 1: the machine
    cannot be asked. 2: usage, or a topology that would not do. 127: ssh is missing.
    """
    explicit = frozenset(
        name
        for name in given
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE and given[name] is not None
    )
    _needs_deploy()
    _refused_early(given)
    window = _window_note(given)
    facts = _facts(given["host"])
    choice = _choice(facts, given)
    file = given["out"] / "topology.toml"
    with alone(given["out"], wait=True) if given["out"].is_dir() else nullcontext():
        current = _current(given, file)
        plan = _plan(facts, choice, _asked(given, explicit), current, file)
        text = _text(plan, current)
        findings = _judged(text.text, file)
        written = _written(given, text.text)
    notes = [*plan.notes, *text.notes, *window, *_image_note(given, facts, plan), *_recipe_notes(given, facts, choice)]
    _tell(given, plan, choice, notes, findings, written)


# ------------------------------------------------------------------------------------------------ before anything


def _needs_deploy() -> None:
    try:
        from anvil.lab.onboarding import folder, planning  # noqa: F401 - asked for, to say early what is missing
    except ModuleNotFoundError as error:
        missing = f"anvil init needs a package that is missing ({error.name}): pip install 'anvil-serving[deploy]'"
        raise stop(missing, USAGE) from None


def _refused_early(given: dict[str, Any]) -> None:

    if bool(given["host"]) == given["local"]:
        raise stop("say which machine to ask: --local for this one, or --host USER@HOST", USAGE)
    if given["model"] is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", given["model"]):
        raise stop(f"--model {given['model']!r} is no repository id; write OWNER/NAME, never a folder", USAGE)
    _refuse_folder(given)
    if given["model"] is None and given["catalog"] is None:
        hint = "name a model with --model, or a catalogue with --catalog (`anvil models index` writes one)"
        raise stop("\n".join([hint, *_advice(given)]), USAGE)


def _advice(given: dict[str, Any]) -> list[str]:
    """What the registry has for the machine's cards; nothing when there is no registry, or it cannot be asked."""
    from anvil.lab.onboarding import facts

    if not (recipes := _recipes(given)):
        return []
    try:
        found = facts.there(given["host"]) if given["host"] else facts.here()
    except (facts.FactsError, FileNotFoundError):
        return []
    return _fitting(recipes, _cards(found, given["gpu"]))


def _fitting(recipes: Sequence[Recipe], cards: Sequence[Card]) -> list[str]:
    from anvil.cli.recipes import throughput
    from anvil.lab.onboarding.recommending import recommended

    return [f"fits: {each.sentence}, {throughput(each.recipe.measured)}" for each in recommended(recipes, cards)]


def _refuse_folder(given: dict[str, Any]) -> None:
    from anvil.lab.onboarding import folder

    try:
        folder.refuse(given["out"], new=given["how"] == "new", mkdir=given["mkdir"])
    except WriteRefused as refused:
        file = given["out"] / "topology.toml"
        choice = f"{file}: exists; name another folder (--out), or join into it (--mode-of-write merge)"
        raise stop(choice if file.exists() else refused, USAGE) from None


# --------------------------------------------------------------------------------------------------- what there is


def _facts(host: str | None) -> Facts:
    from anvil.lab.onboarding import facts

    try:
        return facts.there(host) if host else facts.here()
    except facts.FactsError as error:
        raise stop(str(error), FAILED) from None
    except FileNotFoundError as error:
        raise stop(f"{error.filename} is missing on this machine", MISSING_PROGRAM) from None


def _choice(facts: Facts, given: dict[str, Any]) -> Choice:
    from anvil.lab.onboarding import choosing

    cards = _cards(facts, given["gpu"])
    recipes = _recipes(given)
    try:
        if given["model"] is not None:
            return choosing.named(given["model"], recipes, cards, facts.models)
        return choosing.best(choosing.read(given["catalog"]), recipes, cards)
    except choosing.NoModel as error:
        raise stop("\n".join([str(error), *_fitting(recipes, cards)]), USAGE) from None


def _cards(facts: Facts, wanted: str | None) -> Sequence[Card]:
    from anvil.lab.onboarding import selecting

    try:
        return facts.cards if wanted is None else (selecting.card(wanted, facts.cards),)
    except selecting.NoSuchCard as error:
        raise stop(str(error), USAGE) from None


def _recipes(given: dict[str, Any]) -> Sequence[Recipe]:
    from anvil.lab.recipes import registry

    file = given["recipes"] or given["out"] / "recipes.toml"
    if given["recipes"] is None and not file.exists():
        return ()
    try:
        return registry.read(file).recipes
    except registry.RegistryError as error:
        raise stop(str(error), USAGE) from None


# -------------------------------------------------------------------------------------------------- what is written


def _asked(given: dict[str, Any], explicit: frozenset[str]) -> Asked:
    from anvil.lab.onboarding.planning import Asked

    return Asked(
        ssh=given["host"],
        served_name=given["served_name"],
        tier_id=given["tier_id"],
        port=given["port"],
        context=given["context"],
        engine=given["engine"],
        thinking_off=given["thinking"] == "off",
        gateway=given["gateway"],
        image=given["image"],
        router_image=f"anvil-router:{__version__}",
        mapping_version=f"{datetime.now(UTC).date()}.0",
        explicit=explicit,
    )


def _current(given: dict[str, Any], file: Path) -> str | None:
    """What is joined into; another run may have written it while the machine was asked."""
    if given["how"] == "merge":
        return file.read_text(encoding="utf-8") if file.exists() else None
    _refuse_folder(given)
    return None


def _plan(facts: Facts, choice: Choice, asked: Asked, current: str | None, file: Path) -> Plan:
    from anvil.lab.onboarding import planning

    try:
        return planning.planned(facts, choice, asked, _loaded(current, file))
    except planning.CannotPlan as error:
        raise stop(str(error), USAGE) from None


def _loaded(current: str | None, file: Path) -> Topology | None:
    try:
        return None if current is None else load.loads(current, os.environ, str(file))
    except load.TopologyError as error:
        raise stop(f"{error}\ncorrect the file first; nothing is written", USAGE) from None


def _text(plan: Plan, current: str | None) -> Text:
    from anvil.lab.onboarding import joining, planning

    try:
        return joining.fresh(plan) if current is None else joining.merged(current, plan)
    except planning.CannotPlan as error:
        raise stop(str(error), USAGE) from None


def _judged(text: str, file: Path) -> list[str]:
    from anvil.lab.onboarding import folder

    try:
        _, findings = folder.judged(text, str(file), os.environ)
    except load.TopologyError as error:
        raise stop(f"{error}\nnothing is written", USAGE) from None
    if errors := [finding for finding in findings if finding.level == "error"]:
        raise stop("\n".join([*lines(errors, str(file)), "nothing is written"]), USAGE)
    return list(lines(findings, str(file)))


def _written(given: dict[str, Any], text: str) -> list[Path]:
    from anvil.lab.onboarding import folder

    alone = given["local"] and given["gateway"] is None
    try:
        return folder.write(
            given["out"], text, folder.hosts(given["out"] / "topology.toml", alone), mkdir=given["mkdir"]
        )
    except (WriteRefused, OSError) as error:
        raise stop(error, FAILED) from None


# ----------------------------------------------------------------------------------------------------- what is told


def _window_note(given: dict[str, Any]) -> list[str]:
    """A window that holds nearly every call of the operator's own clients; suggested, never imposed."""
    if given["usage"] is None:
        return []
    try:
        found = msgspec.json.decode(given["usage"].read_bytes(), type=_Usage)
    except (OSError, msgspec.DecodeError) as error:
        raise stop(f"--usage {given['usage']}: is no document of `anvil usage`: {error}", USAGE) from None
    enough = [int(size) for size, share in found.subagent_context_coverage_pct.items() if share and share >= MOST_CALLS]
    if not enough:
        return [f"no window that was counted holds {MOST_CALLS} % of your sub-agents' calls"]
    share = found.subagent_context_coverage_pct[str(min(enough))]
    return [f"{min(enough)} tokens hold {share:g} % of your sub-agents' calls; --context {min(enough)} asks for them"]


def _recipe_notes(given: dict[str, Any], facts: Facts, choice: Choice) -> list[str]:
    """Beside a model without a verified recipe: those the registry has for these cards."""
    return [] if choice.recipe else _fitting(_recipes(given), facts.cards)


def _image_note(given: dict[str, Any], facts: Facts, plan: Plan) -> list[str]:
    wanted = plan.tables["router",].get("image")
    if wanted is None or any(image.startswith(f"{wanted}@") or image == wanted for image in facts.images):
        return []
    on = f" --on {given['host']}" if given["host"] else ""
    return [f"the router's image is not on the machine yet: scripts/router-image --tag {wanted}{on}"]


def _tell(
    given: dict[str, Any], plan: Plan, choice: Choice, notes: list[str], findings: list[str], written: list[Path]
) -> None:
    run = f"pyinfra {given['out'] / 'hosts.py'} deploy"
    following = [f"{run}/doctor.py", f"{run}/full.py --dry --diff", f"{run}/full.py"]
    for note in notes:
        click.echo(f"note: {note}", err=True)
    for line in findings:
        click.echo(f"WARN {line}", err=True)
    if given["as_json"]:
        document = {
            "schema": "anvil.init/v1",
            "machine": plan.machine,
            "gpu": choice.card.uuid if choice.card else None,
            "model": choice.repo,
            "reason": choice.reason,
            "engine": plan.engine or None,
            "serve": plan.serve or None,
            "tier": plan.tier,
            "written": [str(path) for path in written],
            "notes": notes,
            "findings": findings,
            "next": following,
        }
        click.echo(msgspec.json.encode(document).decode())
        return
    where = choice.card.name if choice.card else "no card"
    click.echo(f"{choice.repo} on {plan.machine} ({where}): {choice.reason}")
    click.echo("\n".join(f"{path} written" for path in written) or "nothing to do")
    click.echo("\n".join(["a token for the router, where there is none yet:", "  anvil token new", "next:"]))
    click.echo("\n".join(f"  {command}" for command in following))
