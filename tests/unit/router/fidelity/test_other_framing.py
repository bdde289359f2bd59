"""Tiers that answer in the framing nobody asked for: a stream for a whole answer, and the other way round."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anvil.router import dialects
from anvil.router.dialects import losses
from anvil.router.gate import fold
from anvil.router.turn import Reply
from tests.unit.router.fidelity import play, upstream

NEW = {"zz_new": 1}
CITED = {"type": "text", "text": "ok", "citations": [{"type": "char_location", "cited_text": "quoted"}]}
STREAMED: list[tuple[str, dict[str, Any], str]] = [
    ("O", {"message": {"refusal": "no"}}, "answer.refusal_text"),
    ("O", {"message": NEW}, "unknown.zz_new"),
    ("O", {"top": NEW}, "unknown.zz_new"),
    ("A", {"content": [CITED]}, "citations"),
    ("A", {"content": [{"type": "text", "text": "ok", **NEW}]}, "unknown.zz_new"),
]


@pytest.mark.parametrize(("letter", "send", "name"), STREAMED)
def test_stream_folded_for_a_whole_answer_names_what_it_cannot_carry(
    letter: str, send: dict[str, Any], name: str
) -> None:
    reader = dialects.tier(play.NAMES[letter]).reader()
    answer = fold(reader.feed(upstream.stream(letter, upstream.whole(letter, send))) + reader.close())
    turn = play.parse(letter, {}, stream=False)
    lossy: set[str] = set()
    data = dialects.caller(turn.dialect).render(answer, turn, Reply("0" * 24, "m", 1, same_dialect=True), lossy)
    assert name in lossy
    assert {"content_block", "delta"}.isdisjoint(json.dumps(json.loads(data)).split('"'))


@pytest.mark.parametrize("part", ["message", "choice", "top"])
def test_whole_answer_sent_on_as_a_stream_names_what_events_cannot_carry(part: str) -> None:
    whole = upstream.whole("O", {part: NEW})
    lossy: set[str] = set()
    losses.name_shell(dialects.tier("openai").read_answer(json.dumps(whole).encode()), lossy)
    assert lossy == {"unknown.zz_new"}
