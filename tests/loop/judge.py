"""A judge with a script: an OpenAI-compatible endpoint that gives its grades in order and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# A name of another maker than the tiers' models: a judge of their own family would be refused.
MODEL = "gemma-scripted"
DIMENSIONS = (
    "decomposition_granularity",
    "requirement_coverage",
    "dependency_correctness",
    "acceptance_verifiability",
    "faithfulness",
)
Grade = tuple[int, int, int, int, int]


class Judge:
    """``asked``: the prompts that came, in order. After its last grade it answers 500."""

    def __init__(self, url: str, grades: Iterable[Grade]) -> None:
        self.url = url
        self.asked: list[str] = []
        self._grades = list(grades)

    def answer(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """A chat completion whose text is the next grade; None when none is left."""
        self.asked.append("\n".join(str(message["content"]) for message in body["messages"]))
        if len(self.asked) > len(self._grades):
            return None
        grade = self._grades[len(self.asked) - 1]
        told = {"scores": dict(zip(DIMENSIONS, grade, strict=True)), "total": sum(grade), "notes": "scripted"}
        message = {"role": "assistant", "content": json.dumps(told)}
        return {
            "id": f"chatcmpl-{len(self.asked)}",
            "object": "chat.completion",
            "created": 1,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }


@contextmanager
def sitting(grades: Iterable[Grade]) -> Iterator[Judge]:
    """The judge on a free port of 127.0.0.1, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            found = judge.answer(body)
            text = json.dumps(found or {"error": {"message": "the script is over", "type": "server_error"}}).encode()
            self.send_response(200 if found else 500)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *arguments: object) -> None:
            del format, arguments

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        judge = Judge(f"http://127.0.0.1:{server.server_address[1]}/v1", grades)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield judge
        finally:
            server.shutdown()
            thread.join()
