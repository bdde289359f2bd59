"""One object of an operator's document, where it lies, and what is noted about it."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from anvil.harness.json5_document import KINDS
from anvil.harness.refusal import Refusal


class Note(Struct, frozen=True):
    """One line for people. No secret value is ever part of ``text``."""

    level: Literal["note", "warn"]
    text: str

    def __str__(self) -> str:
        return f"WARN {self.text}" if self.level == "warn" else self.text


def warn(text: str) -> Note:
    return Note("warn", text)


class Place:
    """``value`` is changed in place; ``notes`` is shared by all places of one merge."""

    def __init__(self, value: dict[str, Any], path: str, notes: list[Note]) -> None:
        self.value = value
        self.path = path
        self.notes = notes

    def below(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def child(self, key: str) -> Place:
        """The object under ``key``, made where it is absent or null (M1). Raises Refusal for anything else."""
        found = self.value.get(key)
        if found is None:
            found = self.value[key] = {}
        if not isinstance(found, dict):
            raise self._wrong(key, found, "an object")
        place = Place(found, self.below(key), self.notes)
        place.no_include()
        return place

    def array(self, key: str) -> list[Any]:
        """The list under ``key``, empty where it is absent or null."""
        found = self.value.get(key)
        if found is None:
            return []
        if not isinstance(found, list):
            raise self._wrong(key, found, "an array")
        return found

    def own_array(self, key: str) -> list[Any]:
        """Like ``array``, and made where it is absent."""
        self.value[key] = found = self.array(key)
        return found

    def no_include(self) -> None:
        """An included part lies in another file that a merge cannot see."""
        if "$include" in self.value:
            raise Refusal(f"{self.below('$include')}: our part may lie in the included file; write it out here first")

    def note(self, text: str) -> None:
        self.notes.append(Note("note", text))

    def warn(self, text: str) -> None:
        self.notes.append(warn(text))

    def _wrong(self, key: str, found: object, needed: str) -> Refusal:
        return Refusal(
            f"{self.below(key)} is {KINDS.get(type(found), 'an object')}, {needed} is needed; correct it by hand"
        )
