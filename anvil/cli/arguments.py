"""Arguments of the commands that run on the standard library alone."""

from __future__ import annotations

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Usage errors are one line, with the nearest flag."""

    def error(self, message: str) -> NoReturn:
        import difflib

        word = message.rpartition(" ")[2].partition("=")[0]
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        near = difflib.get_close_matches(word, flags, n=1) if word.startswith("-") else []
        self.exit(2, f"{self.prog}: {message}{f'; did you mean {near[0]}?' if near else ''}\n")
