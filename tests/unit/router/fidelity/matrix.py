"""The promised matrix (contract 8), one line per field: what each direction does with it.

K kept, M mapped, C candidate constraint, N named in ``lossy``, – does not exist there.
"""

from __future__ import annotations

import re

REQUEST_WAYS = ("O->O", "A->A", "A->O", "O->A", "R->O", "R->A")
ANSWER_WAYS = ("O=>O", "A=>A", "O=>A", "A=>O", "O=>R", "A=>R")

_REQUESTS = """
| system text | K | K | M | M | M | M |
| late system message | K | K cloud, M local | M | M | M | M |
| developer role | K cloud, M local | – | – | M | M | M |
| text | K | K | M | M | M | M |
| image | K/C | K/C | M/C | M/C | M/C | M/C |
| document, file | K/C | K/C | M/C | M/C | M/C | M/C |
| audio | K/C | – | – | C | – | – |
| tools (function) | K | K | M | M | M | M |
| custom (freeform) tools | K | – | – | N | M, grammar N | M, grammar N |
| typed server tools | K | K | N | N | N | N |
| tool_choice | K | K | M | M | M | M |
| parallel flag | K | K | M | M | M | M |
| tool calls in history | K | K | M | M | M | M |
| tool results | K | K | M | M | M | M |
| tool_result is_error | – | K | M | – | – | – |
| images in tool results | K | K | M/C | M/C | M/C | M/C |
| thinking / reasoning history | K | K | M or N | N | M or N | N |
| signature, redacted_thinking | – | K | N | – | N | N |
| thinking / effort parameters | K | K | N | N | M | N |
| cache_control | K | K | N | – | – | – |
| max tokens | M | K | M | M | M | M |
| temperature, top_p | K | K | K | K | K | K |
| top_k | K | K | N | N | – | – |
| stop strings | K | K | M | M | – | – |
| presence, frequency penalty | K | – | – | N | – | – |
| response format | K | K | M | M or N | M | M or N |
| logprobs | K | – | – | N | K | N |
| names of participants | K | – | – | N | – | – |
| context_management, container, mcp_servers | – | K | N | – | – | – |
| service_tier, verbosity, prediction | K | K | N | N | K | N |
| prompt_cache_key | K | – | – | N | K | N |
| never-forwarded fields (6.3) | N | N | N | N | N | N |
| unknown fields | K | K | N | N | N | N |
| anthropic-beta, anthropic-version | – | K | – | – | – | – |
"""

_ANSWERS = """
| text | K | K | M | M | M | M |
| tool calls | K | K | M | M | M | M |
| reasoning text | K | K | M | M | M | M |
| signature | – | K | – | N | – | N |
| server tool blocks, citations | K | K | – | N | – | N |
| refusal text, annotations, logprobs | K | – | N | – | N | – |
| finish reason | K | K | M | M | M | M |
| matched stop string | K | K | M | N | N | N |
| usage | K | K | M | M | M | M |
| cached tokens | K | K | M | M | M | M |
| reasoning tokens | K | – | N | – | M | – |
| model, id, created | M | M | M | M | M | M |
| unknown fields | K | K | N | N | N | N |
"""

_LETTER = re.compile(r"\b[KMCN]\b")


def _read(table: str, ways: tuple[str, ...]) -> dict[str, dict[str, str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    return {row[0]: dict(zip(ways, row[1:], strict=True)) for row in rows}


def letters(cell: str) -> frozenset[str]:
    """What must be shown for a cell: "K cloud, M local" needs a kept and a mapped case, "–" none."""
    return frozenset(_LETTER.findall(cell))


REQUESTS = _read(_REQUESTS, REQUEST_WAYS)
ANSWERS = _read(_ANSWERS, ANSWER_WAYS)
