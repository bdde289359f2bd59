"""Installs are complete or absent."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.clients import cache
from tests.clients.pins import PINS, Pin


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANVIL_CLIENTS_CACHE", str(tmp_path))
    (tmp_path / PINS["node"].folder).mkdir()


def _npm(path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = path / "bin/npm"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")


def test_a_finished_install_is_there_under_its_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _npm(tmp_path, 'mkdir "$3/node_modules"', monkeypatch)
    made = cache.install("pi")
    assert made == tmp_path / PINS["pi"].folder
    assert (made / "node_modules").is_dir()
    assert cache.install("pi") == made


@pytest.mark.parametrize(("script", "word"), [("echo E404 >&2; exit 1", "E404"), ("exit 1", "npm failed")])
def test_a_failed_install_leaves_nothing_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, word: str
) -> None:
    _npm(tmp_path, script, monkeypatch)
    with pytest.raises(cache.CannotInstall, match=word):
        cache.install("pi")
    assert not cache.present("pi")
    assert not list(tmp_path.glob(".new-*"))


def test_an_interrupted_install_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.install("pi")
    assert not list(tmp_path.glob(".new-*"))


def test_what_a_killed_install_left_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / ".new-pi-4194999"  # above the kernel's largest process id
    left.mkdir()
    _npm(tmp_path, 'mkdir "$3/node_modules"', monkeypatch)
    cache.install("pi")
    assert not left.exists()


def test_without_npm_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(cache.CannotInstall, match="npm is not on PATH"):
        cache.install("pi")


def test_another_pin_is_another_folder() -> None:
    one, other = Pin("x", "npm", ("x@1.0.0",), 1), Pin("x", "npm", ("x@1.0.1",), 1)
    assert one.folder != other.folder
    assert one.version == "1.0.0"


def test_every_pin_is_exact() -> None:
    for pin in PINS.values():
        for package in pin.packages:
            assert package.replace("==", "@").rpartition("@")[2][0].isdigit(), package
            assert package.replace("==", "@").rpartition("@")[2].count(".") == 2, package
