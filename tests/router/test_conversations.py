"""Whatever a conversation is made of, a tier is sent all of it, in its order and in its own dialect (6.2 to 6.4).

WIRE_EXAMPLES=N tries N conversations nobody has seen before instead of the same few.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from tests.router import tier as t
from tests.router.faults import DIALECTS, PATHS
from tests.router.test_wire import quick
from tests.router.wire import conversation
from tests.router.wire.conversation import Item, Talk
from tests.router.wire.house import House
from tests.router.wire.house import house as open_house
from tests.router.wire.meaning import TOOLS


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("talks")) as made:
        yield made


def due(made: Talk, path: str, dialect: str) -> list[Item]:
    """What of the conversation a local tier must be sent."""
    same = (path == PATHS[1]) == (dialect == "anthropic") and path != PATHS[2]
    items: list[Item] = []
    pictures: list[Item] = []  # of the results so far: Chat Completions shows them in a user message behind
    for kind, *rest in made.items:
        if kind == "thought" and dialect == "anthropic" and not same:
            continue  # no signature, no thinking block
        if kind in ("call", "result") and dialect == "anthropic" and not same:
            rest[0] = re.sub("[^A-Za-z0-9_-]", "_", rest[0])
        if kind == "result":
            identity, text, failed, seen = rest
            told = f"[tool error]\n{text}" if path == PATHS[1] and dialect == "openai" and failed else text
            moves = dialect == "openai" and not same
            pictures += [("image", picture) for picture in seen if moves]
            items.append(("result", identity, told, failed and same and dialect == "anthropic", () if moves else seen))
            continue
        items += pictures
        pictures = []
        items.append((kind, *rest))
    return joined(items + pictures)


def joined(items: list[Item]) -> list[Item]:
    """Neighbouring texts as one, late system texts unwrapped, arguments as JSON."""
    out: list[Item] = []
    for kind, *rest in items:
        if kind == "user" and (late := re.fullmatch("<system>\n(.*)\n</system>", rest[0], re.DOTALL)):
            kind, rest = "late", [late[1]]
        if kind == "call":
            rest[2] = json.dumps(rest[2], sort_keys=True)
        if kind == "user" and out and out[-1][0] == "user":
            out[-1] = ("user", f"{out[-1][1]}\n{rest[0]}")
        else:
            out.append((kind, *rest))
    return out


@quick
@given(st.data())
def test_a_tier_is_sent_the_whole_conversation(house: House, data: st.DataObject) -> None:
    dialect, path = data.draw(st.sampled_from(DIALECTS)), data.draw(st.sampled_from(PATHS))
    made = data.draw(conversation.talk())
    house.tiers[dialect].behaviour = t.auto()
    house.tiers[dialect].seen.clear()
    body = conversation.WRITERS[path](made) | {"model": f"{dialect}-allow", "stream": data.draw(st.booleans())}
    told = house.ask(path, body)
    asked = house.tiers[dialect].seen[0].json
    note(f"{json.dumps(body)}\n{json.dumps(asked)}")
    # the scripted answer calls no tool
    assert told.status == (503 if made.choice in ("required", *TOOLS) else 200)
    got = conversation.sent(asked, dialect)
    assert "\n".join(got.system) == "\n".join(made.system)
    assert joined(got.items) == due(made, path, dialect)
    assert got.tools == made.tools
    assert (got.choice or "auto") == (made.choice or "auto")
    if made.choice != "none":
        assert (got.parallel is False) is (made.parallel is False)
    assert got.cap == (made.cap or {PATHS[1]: 77}.get(path, 1024 if dialect == "anthropic" else None))
    assert got.stop == ([] if path == PATHS[2] else made.stop)
    assert got.temperature == made.temperature
