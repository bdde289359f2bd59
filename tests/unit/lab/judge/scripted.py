"""A judge whose replies are told beforehand: as a command line client, and as an object."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from anvil.lab.evaluation.scores import DIMENSIONS, checked
from anvil.lab.judge import JudgeFailed, Opinion, Sample

_SCRIPT = """#!{python}
import json, os, sys
folder = {folder!r}
calls = len(os.listdir(folder + "/calls"))
prompt = sys.stdin.read()
with open(folder + f"/calls/{{calls}}.json", "w") as file:
    json.dump({{"argv": sys.argv[1:], "prompt": prompt, "environ": dict(os.environ), "cwd": os.listdir(".")}}, file)
replies = json.load(open(folder + "/replies.json"))
reply = replies[min(calls, len(replies) - 1)]
if isinstance(reply, int):
    sys.exit("boom: " + str(reply) if reply == 1 else reply)
print(json.dumps(reply) if not isinstance(reply, str) else json.dumps({{"type": "result", "is_error": False, "result": reply}}))
"""


def reply(*points: int, **changes: object) -> str:
    """A judge's JSON with these points; ``changes`` make it wrong."""
    scores = dict(zip(DIMENSIONS, points, strict=True))
    return json.dumps({"scores": scores, "total": sum(points), "notes": "fine", **changes})


class Client:
    """A ``claude`` command in a folder: what it replies, and what it was asked."""

    def __init__(self, folder: Path, *replies: object) -> None:
        self.folder = folder
        (folder / "calls").mkdir(parents=True)
        self.path = folder / "claude"
        self.path.write_text(_SCRIPT.format(python=sys.executable, folder=str(folder)))
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)
        self.replies(*replies)

    def replies(self, *replies: object) -> None:
        (self.folder / "replies.json").write_text(json.dumps(replies))

    @property
    def calls(self) -> list[dict[str, object]]:
        files = sorted((self.folder / "calls").iterdir(), key=lambda file: int(file.stem))
        return [json.loads(file.read_text()) for file in files]


class Told:
    """A judge object; an empty sequence of totals means that it fails."""

    name = "told"

    def __init__(self, totals: Sequence[int | None], families: frozenset[str] = frozenset({"claude"})) -> None:
        self.families = families
        self.asked: list[Sample] = []
        self._totals = list(totals)

    def opinion(self, sample: Sample) -> Opinion:
        self.asked.append(sample)
        total = self._totals.pop(0) if len(self._totals) > 1 else self._totals[0]
        if total is None:
            raise JudgeFailed("told to fail")
        points = [min(5, max(0, total - 5 * place)) for place in range(5)]
        return Opinion(checked(dict(zip(DIMENSIONS, points, strict=True)), total))
