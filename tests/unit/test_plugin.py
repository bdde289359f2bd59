"""The OpenClaw intent plugin: its own tests run here, and its words are the router's."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from anvil.router.classify import VOCABULARY_FILE, Classifier
from anvil.router.taxonomy import CLASS_PRESET
from anvil.router.turn import Signals

PLUGIN = Path(__file__).resolve().parents[2] / "templates" / "openclaw-anvil-intent-router"
LIMIT_S = 60

CLASSIFIED = """
import { CLASS_PRESET, classify } from "./decide.mjs";
import { EMBEDDED, loadKeywords } from "./keywords.mjs";
let text = "";
for await (const part of process.stdin) text += part;
const words = loadKeywords();
const found = JSON.parse(text).map((prompt) => classify(prompt, [], words).workClass);
console.log(JSON.stringify({ found, presets: CLASS_PRESET, embedded: EMBEDDED }));
"""


def node(*argv: str, text: str = "") -> subprocess.CompletedProcess[str]:
    found = shutil.which("node")
    if found is None:
        pytest.skip("NOT CHECKED: the intent plugin's tests need `node` on PATH")
    return subprocess.run(
        [found, *argv], cwd=PLUGIN, input=text, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def test_the_words_are_the_routers_byte_for_byte() -> None:
    assert (PLUGIN / "keywords.json").read_bytes() == VOCABULARY_FILE.read_bytes()


def test_its_own_tests_pass() -> None:
    done = node("--test", "test.mjs")
    assert done.returncode == 0, done.stdout[-4000:]
    passed = re.search(r"pass (\d+)", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 40


def test_it_classifies_as_the_router_does() -> None:
    listed = json.loads(VOCABULARY_FILE.read_text(encoding="utf-8"))
    words = [word for name, these in listed.items() if not name.startswith("_") for word in these]
    shapes = ("{}", "Please {} it.", "x{}", "{}x", "é{}", "{}ß", "_{}", "{}-{}", "{}\n", "{} review", "«{}»", "{}1")
    texts = [shape.replace("{}", each) for word in words for each in (word, word.upper()) for shape in shapes]
    texts += ["", "hello", "refactor the plan", "edit and plan", "step  by step", "İplan", "plan\u0301"]
    done = node("--input-type=module", "--eval", CLASSIFIED, text=json.dumps(texts))
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    router = Classifier()
    wanted = [router.classify(Signals(words=len(text.split()), user_text=text)).work_class for text in texts]
    differing = [
        (text, mine, theirs)
        for text, mine, theirs in zip(texts, answer["found"], wanted, strict=True)
        if mine != theirs
    ]
    assert differing == []
    assert len(set(wanted)) > 4
    assert answer["presets"] == CLASS_PRESET
    assert list(answer["embedded"].items()) == [(name, these) for name, these in listed.items() if name[0] != "_"]


def test_it_is_small_plain_modules() -> None:
    package = json.loads((PLUGIN / "package.json").read_text(encoding="utf-8"))
    assert (package["type"], package["scripts"]["test"]) == ("module", "node --test test.mjs")
    assert package["openclaw"] == {"extensions": ["./index.mjs"], "compat": {"pluginApi": ">=2026.4.21"}}
    assert "dependencies" not in package
    manifest = json.loads((PLUGIN / "openclaw.plugin.json").read_text(encoding="utf-8"))
    assert manifest["id"] == package["name"] == PLUGIN.name
    assert max(len(each.read_text(encoding="utf-8").splitlines()) for each in PLUGIN.rglob("*.mjs")) <= 400
