"""From a measurement to trust and back: calibrate, compare, predict, promote, see it happen, change a serve."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anvil.lab.demo_house import changes
from tests.loop import judge
from tests.loop.house import Loop

QUESTION = "Name the largest ocean on Earth."
CAP = 24  # tokens
# Preset, and why it is asked: two that the measurement will move, two that it must not.
ASKED = ("chat", "chat", "planning", "review", "quick-edit")
PROMPTS = {"chat": QUESTION, "planning": "In one short sentence: how do I plan a day?"}
BAD, GOOD = (1, 2, 1, 2, 1), (5, 5, 5, 5, 4)
SCORES = {BAD: 0.28, GOOD: 0.96}  # the total over 25
FAST, HEAVY = "fast-local", "heavy-local"
# The judge's script in the order it is asked: tier by tier, class by class.
SCRIPT = ((FAST, "chat", BAD), (FAST, "planning", BAD), (HEAVY, "chat", GOOD), (HEAVY, "planning", GOOD))
WINDOW = 6144  # tokens; the serve's flag that is changed

First = tuple[str, ...]


@dataclass
class Recorded:
    """Requests that were made: ``presets`` by decision id, and the tier that served each preset, None for nobody."""

    presets: dict[str, str] = field(default_factory=dict)
    served: dict[str, str | None] = field(default_factory=dict)


def record(loop: Loop) -> Recorded:
    """Requests under the seed profile."""
    loop.step("3. What the router decides before anything is measured")
    made = Recorded()
    for preset in ASKED:
        found = loop.ask(preset, QUESTION, CAP)
        made.presets[found["id"]] = preset
        made.served[preset] = found["served_tier"]
        loop.tell(f"{preset}: {_served(found)}")
    file = loop.reports / "decisions.json"
    file.write_text(loop.anvil("decisions", "--json", "--limit", 100).out)
    recorded = {row["id"] for row in json.loads(file.read_text())["data"]}
    loop.claim(set(made.presets) <= recorded, f"{len(made.presets)} decisions are recorded")
    return made


def calibrate(loop: Loop) -> Path:
    """A candidate from real answers and a scripted judge; the router that runs is not touched."""
    loop.step("4. Measure: calibrate, with a scripted judge of another family")
    data, candidate = loop.reports / "prompts", loop.reports / "candidate.json"
    shutil.rmtree(data, ignore_errors=True)
    for work_class, prompt in PROMPTS.items():
        (data / work_class).mkdir(parents=True)
        (data / work_class / "only.txt").write_text(f"{prompt}\n")
    before = loop.health()["config_hash"]
    common = ["calibrate", "--config", loop.config, "--out", candidate, "--force", "--eval-data", data]
    confirmed = [f"--endpoint={tier}={_url(loop, tier)}" for tier in (FAST, HEAVY)]
    with judge.sitting(grade for _, _, grade in SCRIPT) as scripted:
        asked = [*common, *confirmed, "--judge", scripted.url, "--judge-model", judge.MODEL]
        refused = loop.anvil(*asked, code=2)
        loop.claim(
            "--i-understand-this-calls-real-tiers" in refused.err, "without a confirmation it is refused, exit 2"
        )
        ran = loop.anvil(*asked, "--i-understand-this-calls-real-tiers", "--json")
    for line in ran.err.splitlines():
        loop.tell(line)
    loop.claim(
        len(scripted.asked) == len(SCRIPT), f"the judge was asked {len(SCRIPT)} times, never before", scripted.asked
    )
    rows = {(row["tier_id"], row["work_class"]): row for row in json.loads(candidate.read_text())["entries"]}
    wanted = {(tier, work_class): SCORES[grade] for tier, work_class, grade in SCRIPT}
    loop.claim({key: row["quality_score"] for key, row in rows.items()} == wanted, f"scores are {wanted}", rows)
    loop.claim(
        all(re.fullmatch("[0-9a-f]{64}", row["fingerprint"]) for row in rows.values()), "every row has its fingerprint"
    )
    loop.claim(loop.health()["config_hash"] == before, "the running router is untouched")
    loop.tell(f"candidate: {candidate}")
    return candidate


def predict(loop: Loop, candidate: Path, made: dict[str, str]) -> dict[str, First]:
    """By profile diff and by replay, which agree: the first tier of each preset after a promotion."""
    loop.step("5. What would change: profile diff and replay")
    live, decisions = loop.reports / "live.json", loop.reports / "decisions.json"
    loop.anvil("check", "--config", loop.config, "--profile-out", live)
    shown = loop.anvil("profile", "diff", live, candidate, "--config", loop.config, "--decisions", decisions)
    for line in shown.out.splitlines():
        loop.tell(line)
    told = loop.anvil(
        "profile", "diff", live, candidate, "--config", loop.config, "--decisions", decisions, "--json"
    ).document
    changed = {(row["tier_id"], row["work_class"]): row["candidate"]["applied"] for row in told["changed"]}
    loop.claim(
        changed == {(tier, name): "deny" if grade == BAD else "allow" for tier, name, grade in SCRIPT},
        "the diff names the four measured verdicts",
        changed,
    )
    loop.claim((told["stale"], told["unknown_tiers"]) == ([], []), "no row is stale, no tier unknown")
    found = loop.anvil("replay", decisions, "--config", loop.config, "--profile", candidate, "--json").document
    moved = {row["id"]: tuple(row["after"][:1]) for row in found["moved"] if row["id"] in made}
    by_diff = {row["id"]: tuple(row["candidate"][:1]) for row in told["replayed"]["moved"] if row["id"] in made}
    loop.claim(
        moved == {key: by_diff.get(key) for key in moved}, "diff and replay predict the same tiers", (moved, by_diff)
    )
    presets = {made[key]: first for key, first in moved.items()}
    loop.claim(
        presets == {"chat": (HEAVY,), "planning": (HEAVY,)},
        f"{len(moved)} of {len(made)} requests would move: {presets}",
        moved,
    )
    loop.anvil("replay", decisions, "--config", loop.config, "--profile", candidate, "--fail-on-change", code=1)
    loop.claim(True, "replay --fail-on-change exits 1")
    return presets


def promote(loop: Loop, candidate: Path, predicted: dict[str, First], before: dict[str, str | None]) -> None:
    """Dry first, then live by a reload; then the same requests go where the replay said, and nowhere else."""
    loop.step("6. Promote, and see it happen")
    release, pid = loop.health()["release"], loop.router_pid()
    dry = loop.pyinfra("deploy/promote.py", "--data", f"profile={candidate}", "--dry", "--diff")
    loop.claim(f"~ {FAST}/chat" in dry or f"+ {FAST}/chat" in dry, "promote --dry names the verdicts")
    loop.claim(loop.health()["release"] == release, f"and changes nothing: release {release} stays live")
    loop.pyinfra("deploy/promote.py", "--data", f"profile={candidate}")
    now = loop.health()["release"]
    loop.claim(now != release and loop.router_pid() == pid, f"release {now} is live by a reload of process {pid}")
    for preset in dict.fromkeys(ASKED):
        found = loop.ask(preset, QUESTION, CAP)
        wanted = predicted.get(preset, tuple(filter(None, (before[preset],))))
        why = "as predicted" if preset in predicted else "unmoved, as predicted"
        loop.claim(
            (found["served_tier"],) == wanted, f"{preset}: {before[preset]} -> {found['served_tier']}, {why}", found
        )
    shutil.copyfile(candidate, loop.house.topology.with_name("profile.json"))
    loop.change(lambda document: document["router"].update(profile="profile.json"))
    changed = changes(loop.pyinfra("deploy/full.py"))
    loop.claim(changed == 0, "with the profile beside the inventory full.py has nothing to do", changed)


def change_serve(loop: Loop) -> None:
    """Another window of one serve: its rows are stale, doctors say so, its verdicts tighten; the other's stay."""
    loop.step(f"7. Change a serve: heavy's window becomes {WINDOW} tokens")
    stale = (f"{HEAVY}/chat", f"{HEAVY}/planning")
    fresh = _profile_check(loop)
    loop.claim(fresh["level"] == "PASS", f"before: doctor finds no stale row ({fresh['detail']})", fresh)
    verdicts = _verdicts(loop)
    loop.change(lambda document: document["serves"]["heavy"].update(context=WINDOW))
    warned = _profile_check(loop)
    told = warned["level"] == "WARN" and all(row in warned["detail"] for row in stale) and FAST not in warned["detail"]
    loop.claim(told, f"anvil doctor, before it is deployed: {warned['detail']}", warned)
    loop.claim(changes(loop.pyinfra("deploy/full.py")) > 0, "deployed")
    doctor = loop.pyinfra("deploy/doctor.py")
    line = next((line for line in doctor.splitlines() if "[WARN]" in line and "profile" in line), "")
    loop.claim(all(row in line for row in stale), f"deploy/doctor.py: {line.partition('— ')[2]}", doctor[-1500:])
    after = _verdicts(loop)
    tightened = {key: (verdict, after[key]) for key, verdict in verdicts.items() if verdict != after[key]}
    wanted = {key: ("allow", "allow-with-verify") for key in (("chat", HEAVY), ("planning", HEAVY))}
    loop.claim(
        {key: pair for key, pair in tightened.items() if key[0] in PROMPTS} == wanted and after["chat", FAST] == "deny",
        "heavy's allow became allow-with-verify, fast's deny stayed",
        tightened,
    )
    found = loop.ask("chat", QUESTION, CAP)
    live = [(attempt["tier_id"], attempt["verdict"]) for attempt in found["attempts"]]
    loop.claim(live == [(HEAVY, "allow-with-verify")], f"and a live request is served so: {live}", found)
    rows = loop.anvil(
        "profile", "show", loop.config.with_name("profile.json"), "--config", loop.config, "--json"
    ).document
    loop.claim(len(rows["stale"]) == 2, "profile show lists both rows as stale", rows["stale"])


def measure_again(loop: Loop) -> None:
    """The tier that changed, and it alone: its rows are fresh again, the other's are kept as they are."""
    loop.step("8. Measure the changed tier again: trust is back")
    candidate = loop.reports / "candidate-2.json"
    asked = [
        "calibrate",
        "--config",
        loop.config,
        "--out",
        candidate,
        "--force",
        "--eval-data",
        loop.reports / "prompts",
    ]
    asked += ["--tiers", HEAVY, f"--endpoint={HEAVY}={_url(loop, HEAVY)}", "--i-understand-this-calls-real-tiers"]
    with judge.sitting([GOOD, GOOD]) as scripted:
        ran = loop.anvil(*asked, "--judge", scripted.url, "--judge-model", judge.MODEL, "--json")
    loop.claim(
        (len(ran.document["rows"]), ran.document["kept"]) == (2, 2), "2 rows measured, 2 of the live profile kept"
    )
    found = loop.anvil(
        "profile", "diff", loop.config.with_name("profile.json"), candidate, "--config", loop.config, "--json"
    )
    applied = {(row["tier_id"], row["work_class"]): row["candidate"]["applied"] for row in found.document["changed"]}
    wanted = {(HEAVY, name): "allow" for name in PROMPTS}
    loop.claim(applied == wanted, "promoted, both of heavy's verdicts would be allow again", applied)
    loop.claim(found.document["stale"] == [], "no row of the new candidate is stale", found.document["stale"])


def _url(loop: Loop, tier: str) -> str:
    return f"http://127.0.0.1:{loop.house.engine_port + (tier == HEAVY)}/v1"


def _served(found: dict[str, Any]) -> str:
    return f"{found['served_tier'] or 'nobody'}, {found['status']} ({found['duration_ms']:.0f} ms)"


def _profile_check(loop: Loop) -> dict[str, str]:
    checks = loop.anvil("doctor", "--json", code=None).document["checks"]
    return next(check for check in checks if check["name"] == "profile")


def _verdicts(loop: Loop) -> dict[tuple[str, str], str]:
    table = loop.anvil("check", "--config", loop.config, "--json").document["presets"]
    return {(preset, row["tier"]): row["verdict"] for preset, rows in table.items() for row in rows}
