"""The pyinfra rules of operations.md 21 that the text of our code can show (P3-P15)."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pyinfra.api.arguments import all_global_arguments
from pyinfra.api.facts import FactBase

ROOT = Path(__file__).parents[3]
HOSTS, DEPLOYS = ROOT / "anvil" / "hosts", ROOT / "anvil" / "deploys"
OURS = [*sorted(HOSTS.glob("*.py")), *sorted(DEPLOYS.glob("*.py")), *sorted((ROOT / "deploy").glob("*.py"))]
OURS += sorted((ROOT / "inventory").rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def decorated(path: Path, name: str) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            words = (each.func if isinstance(each, ast.Call) else each for each in node.decorator_list)
            if any(isinstance(word, ast.Name) and word.id == name for word in words):
                yield node


OPERATIONS = {
    node.name for path in (*HOSTS.glob("*.py"), *DEPLOYS.glob("*.py")) for node in decorated(path, "operation")
}


def calls(node: ast.AST) -> Iterator[ast.Call]:
    for each in ast.walk(node):
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name) and each.func.id in OPERATIONS:
            yield each


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def test_there_are_operations_to_look_at() -> None:
    assert {"service_up", "text_file", "release_live", "table"} <= OPERATIONS


@pytest.mark.parametrize("path", sorted(DEPLOYS.glob("*.py")), ids=lambda path: path.name)
def test_every_operation_call_has_a_name(path: Path) -> None:
    """P5: an unnamed one prints all its arguments."""
    unnamed = [place(path, call) for call in calls(tree(path)) if "name" not in {key.arg for key in call.keywords}]
    assert unnamed == []


ONE_MACHINE = ("experiment.py", "multiplexer.py")  # their operations are never another machine's too


@pytest.mark.parametrize("path", sorted(DEPLOYS.glob("*.py")), ids=lambda path: path.name)
def test_no_name_holds_what_differs_from_machine_to_machine(path: Path) -> None:
    """Machines do an operation together under one of their names: a plan and a run could name it by another's root."""
    named = [key.value for call in calls(tree(path)) for key in call.keywords if key.arg == "name"]
    own = [
        place(path, word)
        for value in named
        for word in ast.walk(value)
        if (isinstance(word, ast.Attribute) and word.attr in ("root", "owner", "machine"))
        or (isinstance(word, ast.Name) and word.id in ("root", "path", "folder"))
    ]
    assert own == [] or path.name in ONE_MACHINE


@pytest.mark.parametrize("path", sorted(DEPLOYS.glob("*.py")), ids=lambda path: path.name)
def test_operations_are_looped_by_pyinfras_own_loop_and_never_chosen_in_an_expression(path: Path) -> None:
    """P3: an operation is known by its place in the code and its turn in `host.loop`."""
    loops = [node for node in ast.walk(tree(path)) if isinstance(node, ast.For) and list(calls(node))]
    plain = [place(path, node) for node in loops if not _by_host_loop(path, node.iter)]
    chosen = [place(path, node) for node in ast.walk(tree(path)) if isinstance(node, ast.IfExp) and list(calls(node))]
    comprehended = [
        place(path, node)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) and list(calls(node))
    ]
    assert (plain, chosen, comprehended) == ([], [], [])


def _by_host_loop(path: Path, node: ast.expr) -> bool:
    """`each(...)`, or a function of the module that goes round with it."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    called = node.func.id
    bodies = (each for each in ast.walk(tree(path)) if isinstance(each, ast.FunctionDef) and each.name == called)
    return called == "each" or any("each(" in ast.unparse(body) for body in bodies)


@pytest.mark.parametrize("path", sorted(DEPLOYS.glob("*.py")), ids=lambda path: path.name)
def test_what_depends_on_a_change_says_so_with_if_(path: Path) -> None:
    """P4: while a run is prepared nothing has changed yet. Operations themselves may ask, they know the stage."""
    executed = {id(node) for operation in decorated(path, "operation") for node in ast.walk(operation)}
    nodes = [node for node in ast.walk(tree(path)) if id(node) not in executed]
    tests = [node.test for node in nodes if isinstance(node, ast.If | ast.IfExp | ast.While)]
    asked = [
        place(path, node)
        for test in tests
        for node in ast.walk(test)
        if isinstance(node, ast.Attribute) and node.attr in ("changed", "did_change", "did_succeed")
    ]
    assert asked == []


@pytest.mark.parametrize("path", sorted(HOSTS.glob("*.py")), ids=lambda path: path.name)
def test_operations_do_not_call_operations(path: Path) -> None:
    """P6."""
    assert [place(path, call) for node in decorated(path, "operation") for call in calls(node)] == []


@pytest.mark.parametrize("path", sorted(HOSTS.glob("*.py")), ids=lambda path: path.name)
def test_nothing_is_printed_or_written_by_python_itself(path: Path) -> None:
    """P1: an operation is evaluated twice; what it does to a host are the commands it yields."""
    found = {
        node.func.id for node in ast.walk(tree(path)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not found & {"print", "open", "input"}


def test_what_pyinfra_ships_and_we_do_not_use() -> None:
    """P11, P12, P14: nothing of pyinfra's own operations, no FileContents, no secret through the environment."""
    words = re.compile(r"pyinfra\.(operations|facts)\b|\bFileContents\b|\b_env\s*=")
    assert [str(path.relative_to(ROOT)) for path in OURS if words.search(path.read_text(encoding="utf-8"))] == []


def test_no_package_is_called_like_pyinfra() -> None:
    """P6: its frames would be skipped when an operation's place is taken."""
    assert [path for path in (ROOT / "anvil").rglob("pyinfra*")] == []


def test_paramiko_has_one_door_and_no_pin() -> None:
    """P15."""
    using = [path.name for path in OURS if re.search(r"^\s*(import|from) paramiko", path.read_text(), re.MULTILINE)]
    assert set(using) <= {"sftp.py"}
    wanted = re.search(r"^deploy = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert wanted is not None
    assert "paramiko" not in wanted[1]


@pytest.mark.parametrize("name", ["hosts.py", "local.py"])
def test_one_failed_host_ends_the_run(name: str) -> None:
    """P7: only an inventory can say so."""
    assert "config.FAIL_PERCENT = 0" in (ROOT / "inventory" / name).read_text()


def test_no_parameter_of_a_fact_is_a_global_argument() -> None:
    """P13: pyinfra would take it for itself."""
    taken = {name for name, _ in all_global_arguments()}
    assert "_sudo" in taken
    facts: set[type] = set()
    for path in HOSTS.glob("*.py"):
        module = importlib.import_module(f"anvil.hosts.{path.stem}")
        facts |= {each for each in vars(module).values() if inspect.isclass(each) and issubclass(each, FactBase)}
    facts.discard(FactBase)
    assert len(facts) > 15
    clashing = {
        f"{fact.__name__}({name})"
        for fact in facts
        for name in inspect.signature(fact.command).parameters
        if name in taken
    }
    assert clashing == set()
