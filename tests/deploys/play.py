"""pyinfra in API mode: real operations on this machine (@local) or on scripted hosts (@fake)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.deploy import add_deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage


@dataclass
class Run:
    """One deploy run: what each operation did, in order, per host name."""

    metas: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""

    def changed(self, host: str = "@local") -> list[bool]:
        return [meta[host].did_change() if meta[host].is_complete() else False for meta in self.metas]

    @property
    def total_changed(self) -> int:
        return sum(self.changed())


def play(*operations: tuple[Any, dict[str, Any]], data: dict[str, Any] | None = None, dry: bool = False,
         diff: bool = False, yes: bool = False, on: str = "@local") -> Run:  # fmt: skip
    """Run (operation, arguments) pairs on one host as `pyinfra -y` (yes) or with change detection would."""
    hosts = [(on, data or {})]
    state = State(Inventory((hosts, {})), Config(FAIL_PERCENT=0, DIFF=diff), check_for_changes=not yes)
    state.current_stage = StateStage.Prepare
    connect_all(state)
    run = Run()
    try:
        for operation, arguments in operations:
            metas = add_op(state, operation, **{"name": "test", **arguments})
            run.metas.append({host.name: meta for host, meta in metas.items()})
        if not dry:
            run_ops(state)
    except PyinfraError as error:
        run.error = str(error)
    finally:
        disconnect_all(state)
    return run


def play_deploy(deploy: Callable[[], None], on: tuple[str, dict[str, Any]], overrides: dict[str, str],
                dry: bool = False) -> tuple[int, str]:  # fmt: skip
    """What a deploy file would do to one host: how many operations changed something (-1: failed), and the error."""
    state = State(Inventory(([on], {}), override_data=overrides), Config(FAIL_PERCENT=0), check_for_changes=True)
    state.current_stage = StateStage.Prepare
    connect_all(state)
    try:
        add_deploy(state, deploy)
        if dry:
            return 0, ""
        run_ops(state)
    except PyinfraError as error:
        return -1, str(error)
    finally:
        disconnect_all(state)
    return sum(each.operation_meta.did_change() for ops in state.ops.values() for each in ops.values()), ""


def fact(cls: Any, *arguments: Any, data: dict[str, Any] | None = None) -> Any:
    """One fact of @local."""
    state = State(Inventory(([("@local", data or {})], {})), Config(FAIL_PERCENT=0))
    state.current_stage = StateStage.Prepare
    connect_all(state)
    try:
        return next(iter(state.inventory)).get_fact(cls, *arguments)
    finally:
        disconnect_all(state)
