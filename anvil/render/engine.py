"""The one Jinja environment, and the quoting every template uses (contract operations.md 5; stack facts 16).

Templates lay text out; every value goes through ``q`` (JSON text, which TOML basic strings and YAML scalars share),
``toml`` (inline tables too), ``compose`` (``q`` plus the doubling of `$`) or ``sh`` (one single-quoted shell word).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import msgspec

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# Characters JSON leaves as they are but YAML folds or refuses, and TOML refuses (0x7F).
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


class TemplatesMissing(Exception):
    """The package was installed without its checkout: templates/ is not package data."""


class Reference(NamedTuple):
    """The only interpolation a compose file may hold: a variable of the env file."""

    name: str
    required: bool

    def __str__(self) -> str:
        return f"${{{self.name}:{'?' if self.required else '-'}}}"


def render(template: str, /, **values: Any) -> str:
    """The text of one template. Raises TemplatesMissing outside a checkout, jinja2.UndefinedError for a missing
    value."""
    return environment(TEMPLATES).get_template(template).render(**values)


@cache
def environment(folder: Path) -> jinja2.Environment:
    if not folder.is_dir():
        raise TemplatesMissing(f"{folder}: no templates here; the deploy side runs from a checkout of the repository")
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - the texts are TOML, YAML and shell; HTML escaping would corrupt them
    )
    made.filters.update(q=q, toml=toml, key=toml_key, compose=compose, sh=sh)
    return made


def q(value: object) -> str:
    """JSON text on one line, printable everywhere."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", msgspec.json.encode(value).decode())


def toml(value: object) -> str:
    """A TOML value on one line; tables become inline tables. Raises TypeError for what TOML cannot say."""
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"{value} is no finite number")
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{toml_key(key)} = {toml(inner)}" for key, inner in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(each) for each in value) + "]"
    if not isinstance(value, (str, bool, int, float)):
        raise TypeError(f"TOML has no {type(value).__name__}")
    return q(value)


def toml_key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else q(key)


def compose(value: object) -> str:
    """``q`` after the doubling of `$`; a Reference is written as the interpolation it stands for."""
    return q(interpolated(value))


def interpolated(value: Any) -> Any:
    """The plain data that a YAML reader sees before compose interpolates it."""
    if isinstance(value, Reference):
        return str(value)
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: interpolated(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [interpolated(each) for each in value]
    return value


def sh(value: object) -> str:
    """One shell word, always single-quoted."""
    return "'" + str(value).replace("'", "'\\''") + "'"
