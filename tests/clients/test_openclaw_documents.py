"""What was valid to a release before our part was joined in is valid after it: 200 generated documents for each release.

Starting the command costs seconds, so all documents go through one process that calls what `openclaw config validate`
calls: `readConfigFileSnapshotWithPluginMetadata` of the installed package's `dist/config/config.js`, with the command's
own options, on the file that OPENCLAW_CONFIG_PATH names. A handful goes through the command too, and must agree.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from anvil.deploys.gateway_document import joined
from anvil.harness import openclaw
from anvil.harness.json5_document import dumped, parse, same
from anvil.harness.openclaw_merge import merge
from tests.clients.test_openclaw_config import RELEASES, Cli, node, plugin
from tests.unit.harness.gateway_documents import COUNT, GENERATIONS, documents
from tests.unit.harness.operators_documents import REFUSED, WRITTEN
from tests.unit.harness.samples import FIVE

pytestmark = [pytest.mark.clients, pytest.mark.timeout(580)]

BATCH = """
import { readFileSync, writeFileSync } from "node:fs";
const [root, texts] = process.argv.slice(2);
const { readConfigFileSnapshotWithPluginMetadata } = await import(`${root}/dist/config/config.js`);
for (const text of JSON.parse(readFileSync(texts, "utf8"))) {
  writeFileSync(process.env.OPENCLAW_CONFIG_PATH, text);
  const read = await readConfigFileSnapshotWithPluginMetadata({ observe: false, prepareValidation: "strict" });
  const issues = [...read.snapshot.issues, ...(read.strictIssues ?? [])];
  process.stdout.write(`VERDICT ${JSON.stringify({ valid: read.snapshot.valid && issues.length === 0, issues })}\\n`);
}
process.exit(0);
"""


@dataclass(frozen=True)
class Release:
    cli: Cli
    root: Path
    generation: Any
    batch: Path

    def verdicts(self, texts: list[str]) -> list[dict[str, Any]]:
        asked = self.batch.with_name("texts.json")
        asked.write_text(json.dumps(texts))
        done = subprocess.run(
            [self.cli.argv[0], str(self.batch), str(self.root), str(asked)],
            env=self.cli.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        found = [line.removeprefix("VERDICT ") for line in done.stdout.splitlines() if line.startswith("VERDICT ")]
        assert len(found) == len(texts), (done.stdout[-500:], done.stderr[-2000:])
        return [json.loads(line) for line in found]


@pytest.fixture(params=RELEASES or ["none"])
def release(request: pytest.FixtureRequest, tmp_path: Path) -> Release:
    if not RELEASES or node() is None:
        pytest.skip("no openclaw and node in the clients' cache")
    launcher = RELEASES[request.param]
    (generation,) = (each for each in GENERATIONS if str(request.param).startswith(f"{each}."))
    batch = tmp_path / "batch.mjs"
    batch.write_text(BATCH)
    return Release(Cli(launcher, tmp_path), launcher.parent, generation, batch)


def test_a_valid_document_stays_valid(release: Release, tmp_path: Path) -> None:
    features = release.cli.features()
    assert features.has_model_policy is (release.generation == "2026.9")
    owned = openclaw.document(FIVE, timeout_s=600, plugin=plugin(tmp_path))
    made = documents(release.generation)
    after = []
    for each in made:
        edit = joined(each.text.encode(), owned, features, rewrite=True)
        assert edit.text is not None
        wanted, _ = merge(each.document, owned, features)
        assert same(parse(edit.text.encode())[0], wanted)
        assert joined(edit.text.encode(), owned, features).text is None
        after.append(edit.text)
    verdicts = release.verdicts([*(each.text for each in made), *after])
    before, then = verdicts[:COUNT], verdicts[COUNT:]
    valid = sum(verdict["valid"] for verdict in before)
    assert COUNT * 0.7 < valid < COUNT, before[:3]
    broken = [
        (text, now["issues"])
        for text, was, now in zip(after, before, then, strict=True)
        if was["valid"] and not now["valid"]
    ]
    assert broken == []
    sample = [*range(3), next(number for number, verdict in enumerate(before) if not verdict["valid"])]
    for number in sample:
        assert (release.cli.problems(made[number].text) == []) is before[number]["valid"]
        assert (release.cli.problems(after[number]) == []) is then[number]["valid"]


def test_documents_written_by_hand_stay_valid(release: Release, tmp_path: Path) -> None:
    features = release.cli.features()
    owned = openclaw.document(FIVE, timeout_s=600, plugin=plugin(tmp_path))
    texts = {name: text for name, text in WRITTEN.items() if name not in REFUSED}
    for name in ("channels", "x"):  # what some of them include
        (tmp_path / f"{name}.json5").write_text("{}")
    after = [joined(text, owned, features).text or "" for text in texts.values()]
    verdicts = release.verdicts([*(text.decode("utf-8-sig") for text in texts.values()), *after])
    before, then = verdicts[: len(texts)], verdicts[len(texts) :]
    assert sum(verdict["valid"] for verdict in before) > len(texts) / 2
    broken = {
        name: now["issues"]
        for name, was, now in zip(texts, before, then, strict=True)
        if was["valid"] and not now["valid"]
    }
    assert broken == {}


def test_the_batch_would_say_if_a_key_were_wrong(release: Release) -> None:
    wrong = openclaw.document(FIVE)
    wrong["models"]["providers"]["anvil"]["models"][0]["context_window"] = 1
    policy = {"agents": {"defaults": {"modelPolicy": {"allow": ["anvil/*"]}}}}
    told = release.verdicts([dumped(openclaw.document(FIVE)), dumped(wrong), dumped(policy), "{"])
    assert [verdict["valid"] for verdict in told] == [True, False, release.generation == "2026.9", False]
