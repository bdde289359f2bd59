"""Two hundred generated gateway documents of each schema generation through the merge, as values and as texts."""

from __future__ import annotations

import copy
import json
import re

import pytest

from anvil.deploys.gateway_document import joined
from anvil.harness.json5_document import parse, same
from anvil.harness.openclaw_features import Features
from anvil.harness.openclaw_merge import merge
from anvil.harness.refusal import Refusal
from tests.unit.harness.gateway_documents import COUNT, GENERATIONS, GatewayDocument, Generation, documents
from tests.unit.harness.operators_documents import REFUSED, WRITTEN
from tests.unit.harness.test_openclaw_merge import OWNED, foreign

KNOWN = {"2026.6": Features(has_model_policy=False), "2026.9": Features(has_model_policy=True)}


@pytest.fixture(params=GENERATIONS, scope="module")
def generation(request: pytest.FixtureRequest) -> Generation:
    found: Generation = request.param
    return found


@pytest.fixture(scope="module")
def made(generation: Generation) -> list[GatewayDocument]:
    return documents(generation)


def test_the_texts_say_what_was_meant(made: list[GatewayDocument]) -> None:
    for each in made:
        found, plain = parse(each.text.encode())
        assert same(found, each.document)
        assert plain is not each.json5
    assert len({each.text for each in made}) > COUNT * 0.9
    assert COUNT * 0.3 < sum(each.json5 for each in made) < COUNT * 0.7


def test_foreign_values_and_their_order_stay_and_a_second_merge_changes_nothing(
    made: list[GatewayDocument], generation: Generation
) -> None:
    for each in made:
        before = copy.deepcopy(each.document)
        once, _ = merge(each.document, OWNED, KNOWN[generation])
        assert json.dumps(each.document) == json.dumps(before)
        assert same(merge(once, OWNED, KNOWN[generation])[0], once)
        if before:
            assert same(foreign(once), foreign(before))
            assert [key for key in once if key in before] == list(before)
            for name in before.keys() - {"models", "agents", "plugins"}:
                assert json.dumps(once[name]) == json.dumps(before[name])


def test_foreign_texts_stay_to_the_byte(made: list[GatewayDocument], generation: Generation) -> None:
    """Every fifth: JSON5 is read slowly. The lane with the real releases takes all of them."""
    edited = 0
    for each in made[::5]:
        found = joined(each.text.encode(), OWNED, KNOWN[generation], rewrite=True)
        assert found.text is not None
        wanted, _ = merge(parse(each.text.encode())[0], OWNED, KNOWN[generation])
        assert same(parse(found.text.encode())[0], wanted)
        assert joined(found.text.encode(), OWNED, KNOWN[generation]).text is None
        if each.json5 and found.text.startswith("// mine"):
            edited += 1
            assert [segment for segment in each.segments if segment not in found.text] == []
    assert edited > COUNT / 5 * 0.3


@pytest.mark.parametrize("name", WRITTEN)
def test_a_document_written_by_hand(name: str, generation: Generation) -> None:
    text = WRITTEN[name]
    if name in REFUSED:
        with pytest.raises(Refusal, match=re.escape(REFUSED[name])) as refusal:
            joined(text, OWNED, KNOWN[generation])
        assert "SECRET" not in str(refusal.value)
        return
    edit = joined(text, OWNED, KNOWN[generation])
    assert edit.text is not None
    before, after = parse(text)[0], parse(edit.text.encode())[0]
    assert same(foreign(after), foreign(before)) or not before
    assert "SECRET" not in "".join((edit.before, edit.after, *edit.notes))
    assert all(comment in edit.text for comment in re.findall(r"(?<![:\w])//[^\r\n]*", text.decode()) if before)
    assert edit.text.count("\r\n") in (0, edit.text.count("\n"))
    assert joined(edit.text.encode(), OWNED, KNOWN[generation]).text is None
