"""scripts/sbom over this very environment: well-formed CycloneDX, whole, and the same text every time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[2] / "scripts" / "sbom"
DIGEST = "0123456789abcdef" * 4


def written(image: str) -> str:
    words = [sys.executable, "-", image, f"sha256:{DIGEST}"]
    return subprocess.run(words, input=SCRIPT.read_text(), capture_output=True, text=True, check=True).stdout


def test_an_sbom_names_every_distribution_once_and_only_what_is_there() -> None:
    text = written("registry:5000/anvil-router:1.2.3")
    document: dict[str, Any] = json.loads(text)
    assert (document["bomFormat"], document["specVersion"], document["version"]) == ("CycloneDX", "1.5", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", document["serialNumber"])
    top = document["metadata"]["component"]
    assert (top["type"], top["name"], top["version"]) == ("container", "registry:5000/anvil-router", "1.2.3")
    assert top["hashes"] == [{"alg": "SHA-256", "content": DIGEST}]
    references = [each["bom-ref"] for each in document["components"]]
    assert len(references) == len(set(references))
    python = {each["name"]: each for each in document["components"] if each["purl"].startswith("pkg:pypi/")}
    installed = {
        re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower(): each.version for each in metadata.distributions()
    }
    assert {name: each["version"] for name, each in python.items()} == installed
    assert python["msgspec"]["licenses"]
    needs = {row["ref"]: row["dependsOn"] for row in document["dependencies"]}
    assert needs["image"] == references
    assert {each for row in needs.values() for each in row} <= set(references)
    assert python["httpcore"]["purl"] in needs[python["httpx"]["purl"]]
    assert written("registry:5000/anvil-router:1.2.3") == text


def test_an_image_without_a_tag_and_no_image_at_all() -> None:
    assert json.loads(written("registry:5000/x"))["metadata"]["component"]["version"] == "latest"
    told = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (1, "usage: scripts/sbom IMAGE [IMAGE-ID]\n")
