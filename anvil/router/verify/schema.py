"""Does a JSON value violate a JSON schema? Only what can be proved counts (contract 12.5).

Evaluated: type, required, properties, additionalProperties, items, prefixItems, enum, const, anyOf, oneOf (at least
one), allOf, local $ref, nullable. Everything else, malformed keywords included, passes.
"""

from __future__ import annotations

from functools import lru_cache

from anvil.router.verify import strict_json
from anvil.router.verify.schema_rules import BeyondLimits, Compiler, Node, Run

# Agents send the same tools with every turn; 256 schemas of at most 16 KiB bound the memory.
CACHED_SCHEMAS = 256
CACHED_SCHEMA_BYTES = 16_384


def conforms(value: object, schema: bytes) -> bool:
    """Whether ``value`` is not proved to violate the schema (JSON text). An unreadable schema proves nothing."""
    node = _cached(schema) if len(schema) <= CACHED_SCHEMA_BYTES else _compiled(schema)
    try:
        return node is None or node.accepts(Run(), value, 0)
    except BeyondLimits:
        return True


def _compiled(schema: bytes) -> Node | None:
    try:
        root = strict_json.decode(schema)
    except strict_json.NotJson:
        return None
    return Compiler(root).node(root)


_cached = lru_cache(CACHED_SCHEMAS)(_compiled)
