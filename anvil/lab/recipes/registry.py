"""The registry file: read with every problem named, written back byte for byte."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import fields

from anvil.lab.recipes.model import SCHEMA, Recipe
from anvil.lab.recipes.toml import dumps
from anvil.topology.convert import convert, nearest


class RegistryError(Exception):
    """The problems of a registry, each a line `FILE: recipe[N].key: sentence`."""


class Registry(NamedTuple):
    """``document`` is what the file says, unknown keys included; ``recipes`` what this release knows of it."""

    document: dict[str, Any]
    recipes: tuple[Recipe, ...]
    warnings: tuple[str, ...]

    def text(self) -> str:
        return dumps(self.document)


def empty() -> Registry:
    return Registry({"schema": SCHEMA}, (), ())


def read(path: Path) -> Registry:
    """Raises RegistryError, also for a file that is missing or unreadable."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RegistryError(f"{path}: no such file; name the registry with --registry") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RegistryError(f"{path}: cannot be read: {error}") from None
    return loads(text, str(path))


def loads(text: str, name: str) -> Registry:
    """The same for a text already in hand. Raises RegistryError."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RegistryError(f"{name}: not TOML: {error}") from None
    if document.get("schema") != SCHEMA:
        raise RegistryError(f'{name}: schema: is {document.get("schema")!r}, not "{SCHEMA}"; write that at the top')
    rows = document.get("recipe", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RegistryError(f"{name}: recipe: is no list of tables; write each recipe as [[recipe]]")
    return _registry(document, rows, name)


def _registry(document: dict[str, Any], rows: list[dict[str, Any]], name: str) -> Registry:
    problems: list[str] = []
    warnings = [f"{key}: unknown key, kept" for key in document if key not in ("schema", "recipe")]
    found = []
    for index, row in enumerate(rows):
        where = f"recipe[{index}]"
        found.append(convert(_known(row, Recipe, where, warnings), Recipe, where, problems))
    problems += [] if problems else _contradictions(found)
    if problems:
        raise RegistryError("\n".join(f"{name}: {problem}" for problem in problems))
    return Registry(document, tuple(found), tuple(f"{name}: {warning}" for warning in warnings))


def _contradictions(recipes: list[Recipe]) -> list[str]:
    seen: dict[str, int] = {}
    problems = []
    for index, recipe in enumerate(recipes):
        where = f"recipe[{index}]"
        if recipe.model in seen:
            problems.append(f"{where}.model: {recipe.model} is recipe[{seen[recipe.model]}] too; keep one of them")
        seen.setdefault(recipe.model, index)
    return problems


def _known(row: Mapping[str, Any], form: type[Struct], where: str, warnings: list[str]) -> dict[str, Any]:
    """The row without keys that this release does not know, which are warned about."""
    forms = {field.name: field.type for field in fields(form)}
    kept = {}
    for key, value in row.items():
        if key not in forms:
            warnings.append(f"{where}.{key}: unknown key, kept{nearest(key, forms).partition('; known')[0]}")
            continue
        inner = forms[key]
        nested = isinstance(inner, type) and issubclass(inner, Struct) and isinstance(value, dict)
        kept[key] = _known(value, inner, f"{where}.{key}", warnings) if nested else value
    return kept


def find(recipes: tuple[Recipe, ...], model: str) -> Recipe:
    """By exact name, then by the part behind the slash. Raises LookupError with a sentence naming the candidates."""
    exact = [recipe for recipe in recipes if recipe.model == model]
    if exact:
        return exact[0]
    same = [recipe for recipe in recipes if recipe.model.rpartition("/")[2].lower() == model.lower()]
    if len(same) == 1:
        return same[0]
    if same:
        raise LookupError(f"{model} is several models: {', '.join(recipe.model for recipe in same)}; name one in full")
    raise LookupError(f"no recipe for {model}{nearest(model, [recipe.model for recipe in recipes])}")


def with_recipe(registry: Registry, text: str, row: dict[str, Any]) -> str:
    """``text``, the registry's file, with ``row`` at its end, or in place of the one of the same model.

    Adding keeps every byte that was there; replacing writes the file anew, without its comments. Raises RegistryError.
    """
    rows = list(registry.document.get("recipe", []))
    place = next((index for index, each in enumerate(rows) if each["model"] == row["model"]), None)
    if place is None:
        new = f"{text.rstrip()}\n\n{dumps({'recipe': [row]})}"
    else:
        rows[place] = row
        new = dumps({**registry.document, "recipe": rows})
    loads(new, "the new registry")
    return new


def without_host(registry: Registry) -> Registry:
    """The registry as it may be shared: no card of one machine is named."""
    rows = []
    for row in registry.document.get("recipe", []):
        hardware = {key: value for key, value in row.get("hardware", {}).items() if key != "gpu_uuid"}
        rows.append({**row, "hardware": hardware} if "hardware" in row else row)
    return registry._replace(document={**registry.document, "recipe": rows})
