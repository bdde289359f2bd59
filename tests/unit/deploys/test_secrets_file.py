"""Which token variables a live router.toml names, however it was edited."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from anvil.deploys import secrets_file
from anvil.deploys.site import Site
from anvil.hosts.files import TextAnswer


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[server]\nauth_env = "ONE"', ("ONE",)),
        ('[server]\nauth_env = ["ONE", "TWO"]', ("ONE", "TWO")),
        ("[server]", ()),
        ("", ()),
        ("[server]\nauth_env = 3", ()),
        ("server = 3", ()),
    ],
)
def test_the_tokens_of_a_live_router(monkeypatch: pytest.MonkeyPatch, text: str, named: tuple[str, ...]) -> None:
    answer = TextAnswer(status="ok", content=text.encode())
    monkeypatch.setattr(secrets_file, "host", SimpleNamespace(get_fact=lambda *_: answer))
    assert secrets_file.live_tokens(cast("Site", SimpleNamespace(root="/srv/anvil"))) == named


def test_a_router_that_was_never_live_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = TextAnswer(status="absent")
    monkeypatch.setattr(secrets_file, "host", SimpleNamespace(get_fact=lambda *_: answer))
    assert secrets_file.live_tokens(cast("Site", SimpleNamespace(root="/srv/anvil"))) == ()
