"""One small picture: does the model see?"""

from __future__ import annotations

import base64
import struct
import zlib

from anvil.lab.preflight.subject import Subject, text, wrong

SIDE = 8
RED = b"\xff\x00\x00"


async def vision(subject: Subject) -> str:
    url = "data:image/png;base64," + base64.b64encode(square(RED)).decode()
    parts = [
        {"type": "text", "text": "What colour is this picture? Answer with one word."},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    answer = text(await subject.send([{"role": "user", "content": parts}]))
    if "red" not in answer.lower():
        wrong(answer, "a red square was not called red")
    return "sees red"


def square(colour: bytes) -> bytes:
    """A PNG of 8 x 8 pixels of one RGB colour."""
    rows = (b"\x00" + colour * SIDE) * SIDE
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
