"""JSON schema keywords as closures over their operands, compiled once per schema (contract 12.5)."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

MAX_LEVELS = 32
MAX_STEPS = 100_000
# Comparing a value with this many options of an enum costs about as much as one step.
OPTIONS_PER_STEP = 32


class BeyondLimits(Exception):
    """More levels or steps than a check may take: the value is not judged."""


class Run:
    """The steps one evaluation may still take."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps = MAX_STEPS


Rule = Callable[[Run, object, int], bool]


class Node:
    """One compiled schema."""

    __slots__ = ("nullable", "rules")

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.nullable = False

    def accepts(self, run: Run, value: object, level: int) -> bool:
        """False only for a proved violation; raises BeyondLimits."""
        run.steps -= 1
        if run.steps < 0 or level > MAX_LEVELS:
            raise BeyondLimits
        if value is None and self.nullable:
            return True
        level += 1
        for rule in self.rules:  # noqa: SIM110  # a generator would double the cost of a step
            if not rule(run, value, level):
                return False
        return True


class Compiler:
    """Turns decoded schemas into nodes, each object once. ``root`` is kept: its objects are known by their identity."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._nodes: dict[int, Node] = {}

    def node(self, schema: object) -> Node:
        """The node of a schema; anything but an object or false accepts everything."""
        if not isinstance(schema, dict):
            return _NOTHING if schema is False else _ANYTHING
        known = self._nodes.get(id(schema))
        if known is not None:
            return known
        node = self._nodes[id(schema)] = Node()
        node.nullable = schema.get("nullable") is True
        for keyword, operand in schema.items():
            compile_rule = _KEYWORDS.get(keyword)
            rule = compile_rule(self, operand, schema) if compile_rule else None
            if rule is not None:
                node.rules.append(rule)
        return node

    def resolve(self, pointer: str) -> Node:
        """The schema a local JSON pointer names; one that accepts everything when it names none."""
        target = self._root
        for part in pointer.removeprefix("#").split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict) and key in target:
                target = target[key]
            elif isinstance(target, list) and key.isdecimal() and len(key) < 6 and int(key) < len(target):
                target = target[int(key)]
            else:
                return _ANYTHING
        return self.node(target)


_ANYTHING, _NOTHING = Node(), Node()
_NOTHING.rules.append(lambda _run, _value, _level: False)

_Keyword = Callable[[Compiler, object, dict[str, object]], Rule | None]
_TYPES: dict[object, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def _type(compiler: Compiler, operand: object, schema: dict[str, object]) -> Rule | None:
    names = operand if isinstance(operand, list) else [operand]
    if not names or not all(isinstance(name, str) and name in _TYPES for name in names):
        return None
    types = frozenset(kind for name in names for kind in _TYPES[name])
    whole = "integer" in names
    return lambda _run, value, _level: (
        type(value) in types or (whole and isinstance(value, float) and value.is_integer())
    )


def _required(compiler: Compiler, operand: object, schema: dict[str, object]) -> Rule | None:
    if not isinstance(operand, list):
        return None
    names = {name for name in operand if isinstance(name, str)}
    return lambda _run, value, _level: not isinstance(value, dict) or names <= value.keys()


def _properties(compiler: Compiler, operand: object, schema: dict[str, object]) -> Rule | None:
    if not isinstance(operand, dict):
        return None
    nodes = {name: compiler.node(member) for name, member in operand.items()}

    def rule(run: Run, value: object, level: int) -> bool:
        if not isinstance(value, dict):
            return True
        return all(nodes[name].accepts(run, member, level) for name, member in value.items() if name in nodes)

    return rule


def _additional(compiler: Compiler, operand: object, schema: dict[str, object]) -> Rule | None:
    """Beside patternProperties nothing is judged: which names those cover is not evaluated."""
    if "patternProperties" in schema:
        return None
    declared = schema.get("properties")
    names = frozenset(declared) if isinstance(declared, dict) else frozenset()
    node = compiler.node(operand)

    def rule(run: Run, value: object, level: int) -> bool:
        if not isinstance(value, dict):
            return True
        return all(node.accepts(run, member, level) for name, member in value.items() if name not in names)

    return rule


def _items(compiler: Compiler, operand: object, schema: dict[str, object]) -> Rule | None:
    if isinstance(operand, list):  # the older spelling of prefixItems
        return _prefix_items(compiler, operand, schema)
    prefix = schema.get("prefixItems")
    start = len(prefix) if isinstance(prefix, list) else 0
    accepts = compiler.node(operand).accepts

    def rule(run: Run, value: object, level: int) -> bool:
        return not isinstance(value, list) or all(accepts(run, item, level) for item in value[start:])

    return rule


def _prefix_items(compiler: Compiler, operand: object, schema: dict[str, object]) -> Rule | None:
    if not isinstance(operand, list):
        return None
    nodes = [compiler.node(item) for item in operand]

    def rule(run: Run, value: object, level: int) -> bool:
        if not isinstance(value, list):
            return True
        return all(node.accepts(run, item, level) for node, item in zip(nodes, value, strict=False))

    return rule


def _enum(compiler: Compiler, operand: object, schema: dict[str, object]) -> Rule | None:
    if not isinstance(operand, list):
        return None
    options, cost = operand, len(operand) // OPTIONS_PER_STEP

    def rule(run: Run, value: object, level: int) -> bool:
        run.steps -= cost
        return value in options and any(_same(value, option) for option in options)

    return rule


def _const(compiler: Compiler, operand: object, schema: dict[str, object]) -> Rule | None:
    return lambda _run, value, _level: _same(value, operand)


def _any_of(compiler: Compiler, operand: object, schema: dict[str, object]) -> Rule | None:
    if not isinstance(operand, list) or not operand:
        return None
    nodes = [compiler.node(option) for option in operand]
    return lambda run, value, level: any(node.accepts(run, value, level) for node in nodes)


def _all_of(compiler: Compiler, operand: object, schema: dict[str, object]) -> Rule | None:
    if not isinstance(operand, list):
        return None
    nodes = [compiler.node(option) for option in operand]
    return lambda run, value, level: all(node.accepts(run, value, level) for node in nodes)


def _ref(compiler: Compiler, operand: object, schema: dict[str, object]) -> Rule | None:
    """Followed when a value meets it: definitions may name each other in longer chains than the stack can hold."""
    if not isinstance(operand, str) or not (operand == "#" or operand.startswith("#/")):
        return None
    found: list[Node] = []

    def rule(run: Run, value: object, level: int) -> bool:
        if not found:
            found.append(compiler.resolve(operand))
        return found[0].accepts(run, value, level)

    return rule


_KEYWORDS: dict[str, _Keyword] = {
    "type": _type,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "prefixItems": _prefix_items,
    "enum": _enum,
    "const": _const,
    "anyOf": _any_of,
    "oneOf": _any_of,
    "allOf": _all_of,
    "$ref": _ref,
}


def _same(left: object, right: object) -> bool:
    """JSON equality: 1 equals 1.0, but true does not equal 1 as it would in Python."""
    if left != right or isinstance(left, bool) is not isinstance(right, bool):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return all(_same(member, right[name]) for name, member in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return all(map(_same, left, right))
    return True
