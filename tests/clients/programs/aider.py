"""aider: no tools, edits files from blocks in the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from tests.clients import cache
from tests.clients import scenarios as s
from tests.clients.client import Client, Place, write
from tests.clients.scenarios import Scenario
from tests.clients.stage import TOKEN


class Aider(Client):
    name, wire, pins = "aider", "chat", ("aider",)
    limit_s = 90
    scenarios = (
        s.PLAIN,
        s.EDIT,
        s.EDIT_EMPTY,
        s.STATUS,
        replace(s.PERSISTENT, limit_s=20),
        s.HANDED,
        s.APPLIED,
    )

    def own_files(self, place: Place) -> dict[str, str]:
        return {
            ".aider.model.metadata.json": '{"openai/mine": {"max_input_tokens": 1000, "litellm_provider": "openai"}}'
        }

    def furnish(self, place: Place) -> None:
        write(place.work / "hello.py", 'print("hello")\n')

    harness = "aider"
    quiet: ClassVar = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}

    def pointers(self, place: Place) -> dict[str, str]:
        return {"OPENAI_API_BASE": place.v1, "OPENAI_API_KEY": TOKEN}

    def command(self, place: Place, scenario: Scenario) -> list[str]:
        flags = ("--yes-always", "--no-pretty", "--no-git", "--no-auto-commits", "--no-gitignore")
        offline = ("--no-check-update", "--no-analytics", "--no-show-model-warnings", "--no-show-release-notes")
        python = str(cache.folder("aider") / "bin/python")
        model = ["--model", f"openai/{scenario.model}"] if scenario.model else []
        words = [python, "-m", "aider", *model, "--edit-format", "diff", *flags, *offline]
        return [*words, "--message", scenario.prompt, "hello.py"]
