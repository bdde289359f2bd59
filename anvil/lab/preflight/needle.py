"""One fact deep in a long prompt: does the whole window reach the model?"""

from __future__ import annotations

from anvil.lab.preflight.subject import Subject, text, wrong

SECRET = "ZEBRA-42917-QUARTZ"  # noqa: S105 - a word to be found, no secret
PLACE = 0.58
WORDS_PER_TOKEN = 0.75
MARGIN = 4096
_LINE = 14
_TEXT = (
    "the river and old road over green hill with small house near long field under open sky where people work"
    " every day to keep water clean and light warm while others walk home from market after rain"
)
_WORDS = tuple(_TEXT.split())


async def needle(subject: Subject) -> str:
    tokens = length(subject.settings.needle_tokens, subject.window)
    reply = await subject.ask(prompt(tokens))
    answer = text(reply)
    if bare(SECRET) not in bare(answer):
        wrong(answer, f"the secret in a prompt of about {tokens} tokens was not found")
    counted = reply.usage.prompt_tokens
    return f"found in {counted} tokens" if counted else f"found in about {tokens} tokens"


def length(wanted: int, window: int | None) -> int:
    """Tokens of the prompt: what is wanted, if the window leaves room for it and an answer."""
    return wanted if window is None else min(wanted, max(window - MARGIN, window // 2))


def prompt(tokens: int) -> str:
    """Filler of 0.75 words a token around the secret at 58 %."""
    count = int(tokens * WORDS_PER_TOKEN)
    place = int(count * PLACE)
    return (
        "Read the following text. It holds one secret code.\n\n"
        f"{_filler(0, place)}\nThe secret code is {SECRET}.\n{_filler(place, count)}\n\n"
        "What is the secret code in the text? Answer with the code only."
    )


def bare(answer: str) -> str:
    """Models regroup codes: hyphens and spaces are no difference."""
    return "".join(answer.replace("-", "").split())


def _filler(start: int, end: int) -> str:
    """Words ``start`` to ``end`` of one endless text; the step keeps lines from repeating each other."""
    words = [_WORDS[(index * 7 + index // 11) % len(_WORDS)] for index in range(start, end)]
    return "\n".join(" ".join(words[line : line + _LINE]) for line in range(0, len(words), _LINE))
