"""Why a document is left alone."""

from __future__ import annotations


class Refusal(ValueError):
    """Nothing may be written; the text names the place and a way out."""


class Unreadable(Refusal):
    """The bytes are not a JSON or JSON5 object. ``line`` and ``column`` count from 1; 0 = unknown."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        self.line = line
        self.column = column
        super().__init__(f"line {line} column {column}: {message}" if line else message)
