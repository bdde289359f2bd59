"""A look at several machines tells of each before it fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import ctx_host

from anvil.deploys.conclusion import concluded


class State:
    inventory = SimpleNamespace(len_active_hosts=lambda: 3)


def end(state: Any, name: str, failure: str, look: str = "doctor") -> None:
    with ctx_host.use(SimpleNamespace(name=name, state=state)):
        concluded(look, failure)


def test_the_last_host_ends_the_run_with_every_failure() -> None:
    state = State()
    end(state, "a", "a: FAILED: docker")
    end(state, "a", "another look", look="status")
    end(state, "b", "")
    with pytest.raises(PyinfraError, match="a: FAILED: docker\nc: FAILED: disk"):
        end(state, "c", "c: FAILED: disk")


def test_a_failure_before_the_last_host_is_not_forgotten() -> None:
    state = State()
    end(state, "a", "a: FAILED: docker")
    end(state, "b", "")
    with pytest.raises(PyinfraError, match=r"^a: FAILED: docker$"):
        end(state, "c", "")


def test_all_well_ends_well() -> None:
    state = State()
    for name in "abc":
        end(state, name, "")
