"""`anvil harness validate`: exit codes, both checks, people's text and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from anvil.cli import harness_validate
from anvil.cli.harness import harness


def run(tmp_path: Path, text: str | bytes | None, *flags: str) -> Result:
    file = tmp_path / "capture.jsonl"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return CliRunner().invoke(harness, ["validate", "--capture", str(file), *flags])


GOOD = '{"model": "anvil/chat", "sessionKey": "s", "userMessageIndex": 0}\n'


@pytest.mark.parametrize(
    ("text", "flags", "code"),
    [
        (GOOD, ("--wire",), 0),
        (GOOD, ("--cadence",), 0),
        (GOOD, ("--wire", "--cadence"), 0),
        (GOOD + GOOD, ("--cadence",), 0),
        (GOOD, (), 2),
        ('{"model": "gpt"}', ("--wire",), 1),
        ('{"model": "chat"}', ("--cadence",), 1),
        ("", ("--cadence",), 1),
        (b"\xff\xfe", ("--wire",), 1),
        (None, ("--wire",), 1),
    ],
)
def test_exit_codes(tmp_path: Path, text: str | bytes | None, flags: tuple[str, ...], code: int) -> None:
    result = run(tmp_path, text, *flags)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    result = run(tmp_path, GOOD + "nonsense\n" + '{"model": "gpt-5.5"}\n', "--wire")
    assert "line 2: not JSON" in result.output
    assert 'line 3: model: "gpt-5.5" is no preset' in result.output


def test_json(tmp_path: Path) -> None:
    told = json.loads(run(tmp_path, GOOD + GOOD, "--wire", "--cadence", "--json").stdout)
    assert told["schema"] == "anvil.harness-validate/v1"
    assert told["checks"]["wire"] == {"judged": 2, "violations": [], "findings": []}
    assert told["checks"]["cadence"]["findings"] == ['session "s": 2 fires for 1 messages']


def test_the_router_reads_what_the_expression_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert harness_validate.resolver_differs() == ()
    monkeypatch.setattr(harness_validate, "PRESETS", ("chat",))
    assert run(tmp_path, GOOD, "--wire").exit_code == 1
