"""The router's image (operations.md 17): what it is, what it must not hold, and shipping a second one by name.

The rehearsal's base is a whole Debian instead of python:3.11-slim: it has a shell and perl, so "no shell" is a rule
about the image's user and its entry point here, and the base's digest is one that was built locally.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.rehearsal.lab import ROOT, Lab, Run, command

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

IMAGE, NEXT = "anvil-router:rehearsal", "anvil-router:next"
ABSENT = ("pyinfra", "paramiko", "gevent", "jinja2", "yaml", "pytest", "pip")
COMPILERS = ("cc", "gcc", "g++", "clang", "make", "ld")
IMPORTS = "import importlib.util as u; print([name for name in {names} if u.find_spec(name)])"
# What `anvil probe` brings in; whatever is neither the standard library's nor ours would be listed. Debian's Python has
# a sitecustomize of its own.
PROBE = """
import sys
from anvil.cli import main
sys.argv = ["anvil", "probe", "--url", "http://127.0.0.1:9"]
try:
    main()
except SystemExit as end:
    known = {*sys.stdlib_module_names, "anvil", "__main__", "sitecustomize"}
    print(end.code, sorted({name.split(".")[0] for name in sys.modules} - known))
"""


def within(lab: Lab, script: str, *options: str, entrypoint: str = "sh") -> str:
    """What a program prints in a container as the router's service runs it: read-only, no capability, no network."""
    hardened = "--rm -i --network none --read-only --cap-drop ALL --security-opt no-new-privileges"
    words = f"docker run {hardened} {' '.join(options)} --entrypoint {entrypoint} {IMAGE}"
    return lab.ssh("forge", f"{words} {'-s' if entrypoint == 'sh' else '-'} <<'SCRIPT'\n{script}\nSCRIPT")


def test_the_image_is_what_the_contract_says(lab: Lab, second: Run) -> None:
    config: dict[str, Any] = json.loads(lab.ssh("forge", f"docker image inspect {IMAGE}"))[0]["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["anvil"]
    assert config["Cmd"][:3] == ["serve", "--config", "/etc/anvil/current/router.toml"]
    assert config["Cmd"][3:] == ["--host", "0.0.0.0", "--port", "8000"]
    assert list(config["ExposedPorts"]) == ["8000/tcp"]
    assert config["WorkingDir"] == "/var/lib/anvil"
    health = config["Healthcheck"]
    assert health["Test"] == ["CMD", "anvil", "probe", "--healthz"]
    assert [health[key] / 1e9 for key in ("Interval", "Timeout", "StartPeriod")] == [30, 5, 10]
    assert health["Retries"] == 3
    assert not [line for line in config["Env"] if "TOKEN" in line or "KEY" in line or "SECRET" in line]


def test_it_holds_what_the_router_needs_and_nothing_that_builds_or_deploys(lab: Lab, second: Run) -> None:
    owners = within(lab, "stat -c '%u:%g %n' /etc/anvil /var/lib/anvil; id -u; grep 10001 /etc/passwd")
    assert owners.splitlines()[:3] == ["10001:10001 /etc/anvil", "10001:10001 /var/lib/anvil", "10001"]
    assert owners.splitlines()[3].endswith(":/usr/sbin/nologin")
    assert within(lab, f"for each in {' '.join(COMPILERS)}; do command -v $each; done; true") == ""
    assert within(lab, IMPORTS.format(names=ABSENT), entrypoint="python3") == "[]\n"
    unwanted = (
        r"\( -name .git -o -name molecule -o -path '*/site-packages/tests' -o -path '*/site-packages/anvil/tests' \)"
    )
    found = within(lab, f"find / -xdev {unwanted} 2>/dev/null; true")
    assert found == ""
    assert within(lab, "cd /var/lib/anvil; touch x 2>&1 || echo read-only").strip().endswith("read-only")


def test_a_probe_needs_nothing_but_the_standard_library(lab: Lab, second: Run) -> None:
    assert within(lab, PROBE, entrypoint="python3") == "3 []\n"
    asked = "docker exec anvil-router anvil probe {}; echo $?"
    assert lab.ssh("forge", asked.format("--healthz")).splitlines()[-1] == "0"
    assert lab.ssh("forge", asked.format("--models")).splitlines()[-1] == "0"  # with the token of its own environment
    refused = asked.replace("exec", "exec -e ANVIL_ROUTER_TOKEN=wrong").format("--models")
    assert lab.ssh("forge", refused).splitlines()[-1] == "1"
    assert lab.ssh("forge", asked.format("--url http://127.0.0.1:9 2>/dev/null")).splitlines()[-1] == "3"


def test_a_second_image_is_shipped_by_name_with_a_list_of_what_it_holds(lab: Lab, second: Run, tmp_path: Path) -> None:
    sbom = tmp_path / "sbom.json"
    base = ("--base", "anvil-rehearsal/python:3.11", "--tag", NEXT, "--sbom", str(sbom))
    command("scripts/router-image", *base, "--on", "forge", "--ssh-config", str(lab.config("forge")))
    document = json.loads(sbom.read_text())
    held = {each["name"]: each["version"] for each in document["components"]}
    assert {"anvil-serving", "granian", "httpx", "msgspec", "python"} <= held.keys()
    assert not set(ABSENT[:5]) & held.keys()
    digest = json.loads(lab.ssh("forge", f"docker image inspect {NEXT}"))[0]["Id"]
    assert document["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": digest.partition(":")[2]}]
    up = lab.deploy("promote.py", "-y", "--data", f"image={NEXT}")
    assert up.code == 0, up.story
    assert lab.inspect("anvil-router")["Image"] == digest
    back = lab.deploy("full.py", "-y", "--data", "profile=inventory")
    assert back.code == 0, back.story
    assert lab.inspect("anvil-router")["Config"]["Image"] == IMAGE
    assert lab.deploy("full.py", "-y").changed == []
    lab.ssh("forge", f"docker image rm -f {NEXT}")


def test_the_build_context_is_three_things() -> None:
    """What is laid out for the daemon: nothing of the tree but the recipe, the locked list and the wheels."""
    script = (ROOT / "scripts" / "router-image").read_text()
    laid = [line for line in script.splitlines() if '"$context' in line and not line.startswith(("trap", "tar", " "))]
    assert 'tar -C "$context" -c .' in script
    assert all(any(word in line for word in ("requirements.txt", "wheels", "Dockerfile")) for line in laid), laid
    text = (ROOT / "templates" / "router.Dockerfile").read_text()
    copied = [line for line in text.splitlines() if line.startswith(("COPY", "ADD"))]
    assert copied == [
        "COPY requirements.txt /build/requirements.txt",
        "COPY wheels /build/wheels",
        "COPY --from=build /opt/anvil /opt/anvil",
    ]
    assert "--require-hashes" in text
    assert "--no-index" in text
