"""The house rules that a machine can hold: who may import whom, sizes, words that must not appear."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "anvil"
# room -> what of anvil it may import besides itself
ALLOWED = {
    "topology": set(),
    "harness": set(),
    "render": {"topology", "harness", "router.config", "router.fingerprint", "multiplexer.config"},
    "hosts": set(),
    "deploys": {"topology", "render", "hosts", "harness"},
    "router": {"harness"},
    "lab": {"router", "topology", "render"},
    "multiplexer": {"router"},
    "web": set(),
    "cli": {"topology", "harness", "render", "hosts", "router", "lab", "multiplexer"},
}
MAY_USE_PYINFRA = {"hosts", "deploys"}
FORBIDDEN_NAMES = {"utils", "common", "manager", "helpers"}
MAX_LINES = 500
MAX_FUNCTION_LINES = 60


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def trespasses(path: Path) -> list[str]:
    room = room_of(path)
    allowed = ALLOWED.get(room)
    out = []
    for name in imported(path):
        if name.split(".")[0] == "pyinfra" and room not in MAY_USE_PYINFRA:
            out.append(f"{path.relative_to(ROOT)} imports pyinfra")
        if not name.startswith("anvil.") or allowed is None:
            continue
        target = name.removeprefix("anvil.")
        other = target.split(".")[0]
        if other == room or other.startswith("__"):
            continue
        if not any(target == rule or target.startswith(rule + ".") for rule in allowed):
            out.append(f"{path.relative_to(ROOT)} imports anvil.{target}")
    return out


def test_rooms_import_only_what_they_may() -> None:
    assert [line for path in modules() for line in trespasses(path)] == []


def test_only_one_module_touches_paramiko() -> None:
    users = [path for path in modules() if any(name.split(".")[0] == "paramiko" for name in imported(path))]
    assert [str(path.relative_to(PACKAGE)) for path in users] == ["hosts/sftp.py"]


def test_every_room_has_a_rule() -> None:
    rooms = {room_of(path) for path in modules()} - {""}
    assert rooms <= ALLOWED.keys(), "give the new room an import rule"


def test_the_rule_would_catch_a_trespass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "anvil"
    (package / "router").mkdir(parents=True)
    bad = package / "router" / "x.py"
    bad.write_text("from anvil.topology import model\nimport pyinfra\n")
    monkeypatch.setitem(globals(), "PACKAGE", package)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert len(trespasses(bad)) == 2


def test_names_are_standard_terms() -> None:
    names = {part for path in modules() for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert not names & FORBIDDEN_NAMES


def test_modules_and_functions_stay_small() -> None:
    out = []
    for path in modules():
        text = path.read_text()
        if text.count("\n") > MAX_LINES:
            out.append(f"{path.relative_to(ROOT)} has {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or 0) - node.lineno + 1
                if size > MAX_FUNCTION_LINES:
                    out.append(f"{path.relative_to(ROOT)}: {node.name} has {size} lines")
    assert out == []


@pytest.mark.parametrize("folder", ["anvil", "deploy", "inventory", "templates", "scripts", "molecule"])
def test_no_url_or_config_says_localhost(folder: str) -> None:
    word = re.compile(r"https?://localhost")
    hits = [
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and word.search(path.read_text(errors="replace"))
    ]
    assert hits == []


def test_deploy_files_are_sentences() -> None:
    long = [p.name for p in (ROOT / "deploy").glob("*.py") if len(p.read_text().splitlines()) > 15]
    assert long == []


def test_top_level_is_fixed() -> None:
    allowed = {
        "deploy", "inventory", "templates", "anvil", "tests", "molecule", "scripts", "docs", ".ci", "pyproject.toml",
        "README.md", "CHANGELOG.md", "LICENSE", "SECURITY.md", "uv.lock", ".gitignore", ".dockerignore",
        "config.py",  # the one file that pyinfra reads before an inventory: only there a missing one can be refused
    }  # fmt: skip
    listed = __import__("subprocess").run(
        ["git", "ls-tree", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(listed.stdout.split()) <= allowed
