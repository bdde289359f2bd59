"""Short answers: a line of code, a JSON object, the same by schema."""

from __future__ import annotations

from typing import Any

import msgspec

from anvil.lab.preflight.subject import Subject, text, wrong
from anvil.router.verify import schema as schemas
from anvil.router.verify import strict_json

SMOKE = "Write one line of Python that computes the sum of a list called xs. Answer with the code only."
OBJECT = (
    "Answer with exactly one JSON object and nothing else. It has the keys language (a string, the name of a"
    " programming language) and ok (true or false)."
)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"language": {"type": "string"}, "ok": {"type": "boolean"}},
    "required": ["language", "ok"],
    "additionalProperties": False,
}


async def smoke(subject: Subject) -> str:
    answer = text(await subject.ask(SMOKE))
    if "sum(" not in answer:
        wrong(answer, "no `sum(` in the answer")
    return "answers"


async def json_object(subject: Subject) -> str:
    answer = text(await subject.ask(OBJECT))
    found = _object(answer)
    if "language" not in found:
        wrong(answer, "the JSON object has no key language")
    return "one JSON object"


async def schema(subject: Subject) -> str:
    named = {"name": "answer", "strict": True, "schema": SCHEMA}
    answer = text(await subject.ask(OBJECT, response_format={"type": "json_schema", "json_schema": named}))
    try:
        found = strict_json.decode(answer)
    except strict_json.NotJson:
        wrong(answer, "not JSON although a schema was given")
    if not schemas.conforms(found, msgspec.json.encode(SCHEMA)):
        wrong(answer, "the JSON does not follow the schema")
    return "follows the schema"


def _object(answer: str) -> dict[str, Any]:
    """From the first { to the last }: a fence or a sentence around it is no fault here. Raises Failure."""
    try:
        found = strict_json.decode(answer[answer.index("{") : answer.rindex("}") + 1])
    except (ValueError, strict_json.NotJson):
        wrong(answer, "no JSON object in the answer")
    if not isinstance(found, dict):
        wrong(answer, "no JSON object in the answer")
    return found
