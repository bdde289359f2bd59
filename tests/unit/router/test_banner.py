"""What ``anvil serve`` says when it starts (contract router.md 3.3)."""

from __future__ import annotations

import msgspec
import pytest

from anvil.router import echo
from anvil.router.config.model import RouterConfig, ServerConfig
from anvil.router.server import Listen, banner


def said(capsys: pytest.CaptureFixture[str], host: str, *, token: bool) -> str:
    config = RouterConfig(mapping_version="1", tiers=(), server=ServerConfig(auth_env=("A_TOKEN",) if token else ()))
    loaded = msgspec.structs.replace(echo.loaded(), config=config, tokens=(b"value-of-the-token",) if token else ())
    banner(loaded, Listen(host, 8123, None, None, "text", ""))
    text = capsys.readouterr().err
    assert "value-of-the-token" not in text
    return text


def test_it_says_whose_token_callers_need(capsys: pytest.CaptureFixture[str]) -> None:
    assert "callers need the token in A_TOKEN" in said(capsys, "127.0.0.1", token=True)
    assert "callers need no token" in said(capsys, "127.0.0.1", token=False)


def test_beyond_loopback_a_missing_token_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert "WITHOUT A TOKEN" in said(capsys, "0.0.0.0", token=False)
    assert "WITHOUT" not in said(capsys, "0.0.0.0", token=True)


def test_address_tiers_and_routes_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "127.0.0.1", token=False)
    assert "http://127.0.0.1:8123" in text
    assert "tiers none" in text
    assert "/v1/messages" in text
