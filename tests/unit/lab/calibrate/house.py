"""A router.toml over scripted loopback tiers, and prompts, for the tests of calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from click.testing import CliRunner, Result

from anvil.cli.calibrate import calibrate

CONFIRMED = "--i-understand-this-calls-real-tiers"

_TIER = """
[[router.tiers]]
id = "{id}"
base_url = "{url}"
dialect = "{dialect}"
context_limit = 32768
privacy = "{privacy}"
tool_support = true
auth_env = "{variable}"
model = "{model}"
{extra}
"""


def tier(
    id: str, url: str, extra: str = "", *, model: str = "", dialect: str = "openai", privacy: str = "local"
) -> str:
    variable = f"{id.upper().replace('-', '_')}_KEY"
    return _TIER.format(
        id=id, url=url, dialect=dialect, privacy=privacy, variable=variable, model=model or f"{id}-model", extra=extra
    )


def router(folder: Path, *tiers: str, profile: str = "", presets: str = "") -> Path:
    """Writes router.toml; ``presets`` are lines of [router.presets]."""
    file = folder / "router.toml"
    names = [text.split('id = "')[1].split('"')[0] for text in tiers]
    listed = ", ".join(f'"{name}"' for name in names)
    file.write_text(
        f'[router]\nmapping_version = "v1"\n{profile}\n{"".join(tiers)}'
        f"[router.presets]\n{presets or f'chat = [{listed}]{chr(10)}planning = [{listed}]'}\n"
    )
    return file


def prompts(folder: Path, **texts: str) -> Path:
    """A folder with one subfolder per class (underscores for dashes), one prompt each."""
    for work_class, text in texts.items():
        (folder / work_class.replace("_", "-")).mkdir(parents=True)
        (folder / work_class.replace("_", "-") / "one.txt").write_text(text)
    return folder


def run(*arguments: object, environ: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(
        calibrate, [str(argument) for argument in arguments], env=dict(environ or {}), catch_exceptions=False
    )
