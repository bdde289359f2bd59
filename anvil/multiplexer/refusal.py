"""Why a request gets no model."""

from __future__ import annotations

from typing import Literal

Kind = Literal["model_not_found", "insufficient_memory", "backend_unavailable", "internal_error"]


class Refused(Exception):
    """Told to the caller as ``{error: {type, message}}``."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message

    def again(self) -> Refused:
        """Its twin for another caller: an exception must not be raised in two tasks."""
        return Refused(self.kind, self.message)
