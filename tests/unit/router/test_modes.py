"""Mode selection (contract 22)."""

from __future__ import annotations

from pathlib import Path

import pytest

from anvil.router.modes import ModeError, Selected, select


@pytest.fixture
def shipped(tmp_path: Path) -> dict[str, Path]:
    paths = {"agentic": tmp_path / "local.toml", "flexibility": tmp_path / "flexibility.toml"}
    for path in paths.values():
        path.write_text("")
    return paths


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "m").mkdir()
    return tmp_path / "m" / "modes.toml"


def test_config_bypasses_modes(tmp_path: Path) -> None:
    chosen = select(str(tmp_path / "r.toml"), None, {"ANVIL_MODE": "nonsense", "ANVIL_MODES_CONFIG": "/none"})
    assert chosen == Selected(tmp_path / "r.toml", None)


def test_config_expands_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert select("~/r.toml", " ", {}).path == tmp_path / "r.toml"


def test_config_excludes_mode() -> None:
    with pytest.raises(ModeError, match="exclude each other"):
        select("r.toml", "agentic", {})


@pytest.mark.parametrize("environ", [{}, {"ANVIL_MODE": " ", "ANVIL_MODES_CONFIG": ""}, {"ANVIL_CONFIG_AGENTIC": "x"}])
@pytest.mark.parametrize("flag", [None, "", "  "])
def test_no_selector_is_a_usage_error(flag: str | None, environ: dict[str, str]) -> None:
    with pytest.raises(ModeError, match="nothing to run"):
        select(flag, flag, environ)


def test_precedence_of_the_mode(manifest: Path, shipped: dict[str, Path]) -> None:
    manifest.write_text('[modes]\nactive_mode = "flexibility"\n')
    listed = {"ANVIL_MODES_CONFIG": str(manifest)}
    assert select(None, None, listed, shipped) == Selected(shipped["flexibility"], "flexibility")
    assert select(None, None, {**listed, "ANVIL_MODE": " agentic "}, shipped).mode == "agentic"
    assert select(None, "flexibility", {"ANVIL_MODE": "agentic"}, shipped).mode == "flexibility"
    manifest.write_text('[modes]\nactive_mode = " "\n')
    assert select(None, None, listed, shipped).mode == "agentic"


def test_precedence_of_the_path(manifest: Path, shipped: dict[str, Path]) -> None:
    manifest.write_text('[modes]\nagentic = "sub/a.toml"\nflexibility = " "\n')
    listed = {"ANVIL_MODES_CONFIG": str(manifest)}
    assert select(None, "agentic", listed, shipped).path == manifest.parent / "sub" / "a.toml"
    assert select(None, "flexibility", listed, shipped).path == shipped["flexibility"]
    assert select(None, "agentic", {**listed, "ANVIL_CONFIG_AGENTIC": "/x.toml"}, shipped).path == Path("/x.toml")
    assert select(None, "agentic", {**listed, "ANVIL_CONFIG_AGENTIC": " "}, shipped).path.name == "a.toml"


def test_manifest_paths_expand_the_home(
    manifest: Path, shipped: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    manifest.write_text('[modes]\nagentic = "~/a.toml"\n')
    assert select(None, None, {"ANVIL_MODES_CONFIG": "~/m/modes.toml"}, shipped).path == tmp_path / "a.toml"


@pytest.mark.parametrize("source", ["--mode", "ANVIL_MODE", "active_mode"])
def test_unknown_modes_name_value_source_and_modes(source: str, manifest: Path, shipped: dict[str, Path]) -> None:
    manifest.write_text('[modes]\nactive_mode = "turbo"\n' if source == "active_mode" else "[modes]\n")
    environ = {"ANVIL_MODES_CONFIG": str(manifest), "ANVIL_MODE": "turbo" if source == "ANVIL_MODE" else ""}
    with pytest.raises(ModeError, match=f'"turbo" from {source}.*agentic, flexibility'):
        select(None, "turbo" if source == "--mode" else None, environ, shipped)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"\[modes\] is missing"),
        ("modes = 1", r"\[modes\] is missing"),
        ("[modes", "not valid TOML"),
        ("[modes]\nagentik = 'x'", 'unknown key "agentik"; did you mean "agentic"'),
        ("[modes]\nagentic = 1", "agentic must be a string, not 1"),
        ("mods = 1\n[modes]", 'unknown key "mods"'),
    ],
)
def test_bad_manifests(text: str, said: str, manifest: Path, shipped: dict[str, Path]) -> None:
    manifest.write_text(text)
    with pytest.raises(ModeError, match=said):
        select(None, None, {"ANVIL_MODES_CONFIG": str(manifest)}, shipped)


def test_a_manifest_may_share_a_file_with_the_router(manifest: Path, shipped: dict[str, Path]) -> None:
    manifest.write_text("model_dirs = []\n[router]\nx = 1\n[modes]\nactive_mode = 'flexibility'\n")
    assert select(None, None, {"ANVIL_MODES_CONFIG": str(manifest)}, shipped).mode == "flexibility"


def test_unreadable_manifest_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModeError, match="cannot be read"):
        select(None, None, {"ANVIL_MODES_CONFIG": str(tmp_path / "none.toml")})
    with pytest.raises(ModeError, match="set ANVIL_CONFIG_AGENTIC"):
        select(None, "agentic", {}, {"agentic": tmp_path / "none.toml"})
