"""Rule S6 of contract operations.md 18."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from anvil.harness.masking import masked


def digest(text: str) -> str:
    return f"<secret {hashlib.sha256(text.encode()).hexdigest()[:8]}>"


@pytest.mark.parametrize(
    "key", ["apiKey", "api_key", "API-KEY", "token", "botTokens", "clientSecret", "passwd", "Password", "Authorization",
            "cookies", "credential", "accessToken", "AWS_SECRET_ACCESS_KEY", "private-key", "passphrase"],
)  # fmt: skip
def test_secret_keys(key: str) -> None:
    assert masked({"a": [{key: "v"}]}) == {"a": [{key: digest("v")}]}


@pytest.mark.parametrize("key", ["tokenEnv", "keys", "name", "secretary", "baseUrl"])
def test_other_keys_are_shown(key: str) -> None:
    assert masked({key: "v"}) == {key: "v"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("${NAME}", "${NAME}"),
        ("x${NAME}", digest("x${NAME}")),
        ({"source": "env", "id": "X"}, {"source": "env", "id": "X"}),
        ({"source": "env", "token": "v"}, {"source": "env", "token": digest("v")}),
        ({"a": "v"}, {"a": digest("v")}),
        (["v", 1], [digest("v"), digest("1")]),
        (123456, digest("123456")),
        (None, None),
        ("", digest("")),
    ],
)
def test_forms_of_values(value: Any, shown: Any) -> None:
    assert masked({"apiKey": value}) == {"apiKey": shown}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgres://me:v@db/x", f"postgres://{digest('me:v')}@db/x"),
        ("https://v@git.example/x.git", f"https://{digest('v')}@git.example/x.git"),
        ("Authorization: Bearer v", f"Authorization: Bearer {digest('v')}"),
        ("Bearer ${NAME}", "Bearer ${NAME}"),
        ("tool --api-key=v --port 1", f"tool --api-key={digest('v')} --port 1"),
        ("tool --access-token v", f"tool --access-token {digest('v')}"),
        ("https://example.com/a@b", "https://example.com/a@b"),
        ("me@example.com", "me@example.com"),
        ("printenv ANVIL_ROUTER_TOKEN", "printenv ANVIL_ROUTER_TOKEN"),
    ],
)
def test_secrets_inside_a_text(text: str, shown: str) -> None:
    assert masked({"command": text}) == {"command": shown}


def test_the_word_after_an_option_that_takes_a_secret() -> None:
    words = ["--port", "1", "--token", "v", "--api-key", "${NAME}", "v"]
    shown = ["--port", "1", "--token", digest("v"), "--api-key", "${NAME}", "v"]
    assert masked({"args": words}) == {"args": shown}


def test_every_header_is_hidden() -> None:
    assert masked({"headers": {"x-site": "a"}}) == {"headers": {"x-site": digest("a")}}


def test_counts_of_tokens_are_no_secret() -> None:
    assert masked({"maxTokens": 8192, "contextTokens": 1.5}) == {"maxTokens": 8192, "contextTokens": 1.5}
    assert masked({"tokens": ["v"]}) == {"tokens": [digest("v")]}


def test_the_document_itself_stays() -> None:
    document = {"apiKey": "v", "a": [{"token": "w"}]}
    masked(document)
    assert document == {"apiKey": "v", "a": [{"token": "w"}]}
