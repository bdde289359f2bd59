"""I13, I2, A16: nothing of one particular machine outside inventory/ and the examples, and loopback is a number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.topology.example import ROOT

# Rendered, shipped or run for an operator. Tests, docs and the rehearsal hosts may name addresses of their own.
FOLDERS = ("anvil", "templates", "deploy")
WORDS = ("inventory", "templates", "deploy")
TEXT = {".py", ".j2", ".toml", ".json", ".sh", ".js", ".mjs", ".html", ".yaml", ".yml", ".md", ".css", ""}
HOST_DATA = {
    "a card's UUID": re.compile(r"GPU-[0-9a-f]{8}-[0-9a-f]{4}"),
    "an address": re.compile(
        r"(?<![\d.])(?:10\.\d+|192\.168|172\.(?:1[6-9]|2\d|3[01])|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7]))\.\d+\.\d+(?![\d.])"
    ),
    "a home directory": re.compile(r"(?<![\w.~])/(?:home|Users)/\w+"),
}
LOCALHOST = re.compile(r"\blocalhost\b", re.IGNORECASE)
LOCALHOST_URL = re.compile(r"(?:https?://|['\"])localhost(?::\d|/)", re.IGNORECASE)


def files(folders: tuple[str, ...]) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if (
                path.is_file()
                and path.suffix in TEXT
                and "__pycache__" not in path.parts
                and "node_modules" not in path.parts
            ):
                yield path


def offences(path: Path, pattern: re.Pattern[str]) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for number, line in enumerate(lines, 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize("what", HOST_DATA)
def test_no_host_data_outside_the_inventory(what: str) -> None:
    assert [line for path in files(FOLDERS) for line in offences(path, HOST_DATA[what])] == []


def test_no_config_or_template_says_localhost() -> None:
    assert [line for path in files(WORDS) for line in offences(path, LOCALHOST)] == []


def test_no_code_makes_a_localhost_url() -> None:
    assert [line for path in files(("anvil",)) for line in offences(path, LOCALHOST_URL)] == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a card's UUID", "GPU-11111111-2222-3333-4444-555555555555"),
        ("an address", "http://192.168.1.7:80"),
        ("an address", "100.64.0.10"),
        ("a home directory", "'/home/ann/x'"),
    ],
)
def test_the_patterns_find_what_they_look_for(what: str, text: str) -> None:
    assert HOST_DATA[what].search(text)
    assert not HOST_DATA[what].search("127.0.0.1 0.0.0.0 10.2.3 1.10.2.3.4 /srv/anvil ~/home/x GPU-abc")
