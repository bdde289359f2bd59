"""``anvil token``: a fresh token, and what is said of one without saying it."""

from __future__ import annotations

import hashlib
import json

import pytest
from click.testing import CliRunner, Result

from anvil.cli.token import token

NAME = "ANVIL_ROUTER_TOKEN"
VALUE = "canary-token-value-of-some-length"


def run(*words: str) -> Result:
    return CliRunner().invoke(token, list(words))


def test_a_new_token_is_43_url_safe_characters_and_never_the_same() -> None:
    made = [run("new").stdout.strip(), json.loads(run("new", "--json").stdout)["token"]]
    assert [len(each) for each in made] == [43, 43]
    assert made[0] != made[1]


@pytest.mark.parametrize(
    ("value", "state", "code"), [(VALUE, "set", 0), ("short", "weak", 0), (" ", "unset", 1), (None, "unset", 1)]
)
def test_status_tells_the_state_and_a_fingerprint(
    value: str | None, state: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(NAME, raising=False)
    if value is not None:
        monkeypatch.setenv(NAME, value)
    digest = None if code else hashlib.sha256(str(value).encode()).hexdigest()[:8]
    told = run("status", "--json")
    assert (told.exit_code, told.stderr) == (code, "")
    assert json.loads(told.stdout) == {"schema": "anvil.token/v1", "name": NAME, "state": state, "fingerprint": digest}
    line = run("status")
    assert (line.exit_code, line.stdout.startswith(f"{NAME}: {state}")) == (code, True)
    assert VALUE not in told.output + line.output


@pytest.mark.parametrize("words", [(), ("--yes",), ("--yes", "--json")])
def test_a_value_is_shown_on_a_terminal_only(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, VALUE)
    refused = run("show", *words)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert VALUE not in refused.output
