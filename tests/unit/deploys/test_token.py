"""A router's token is judged before anything connects: there, long enough, and sayable in a header."""

from __future__ import annotations

import pytest
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.hiddenvalue import HiddenValue

from anvil.deploys.secrets import Held, complete
from tests.unit.topology.example import topology

NAME = "ANVIL_ROUTER_TOKEN"


def judged(token: str | None, publish: str = "100.64.0.10") -> None:
    values = {} if token is None else {NAME: HiddenValue(token)}  # type: ignore[no-untyped-call]  # pyinfra's constructor
    complete(topology({"router/publish": publish}), Held(values, {}), "topology.toml")


@pytest.mark.parametrize(
    ("token", "publish", "said"),
    [
        (None, "127.0.0.1", f"no value for {NAME}"),
        ("short", "100.64.0.10", "at least 24 characters"),
        (" " * 30, "100.64.0.10", "no Authorization header carries"),
        ("a token of more than 24 characters", "127.0.0.1", "no Authorization header carries"),
        ("pässword-of-more-than-24-characters", "127.0.0.1", "no Authorization header carries"),
    ],
)
def test_a_token_that_cannot_work_is_refused(token: str | None, publish: str, said: str) -> None:
    with pytest.raises(PyinfraError, match=said) as refused:
        judged(token, publish)
    assert token is None or token not in str(refused.value)


@pytest.mark.parametrize(("token", "publish"), [("short", "127.0.0.1"), ("t" * 24, "0.0.0.0")])
def test_a_token_that_works_is_taken(token: str, publish: str) -> None:
    judged(token, publish)
