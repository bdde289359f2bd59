"""What a request may spend (contract 15.3)."""

from __future__ import annotations

from anvil.router.budget import Budget
from anvil.router.config import Limits


def test_stops_in_the_order_of_the_contract() -> None:
    now = [10.0]
    budget = Budget(Limits(max_attempts=2, token_ceiling=100, request_deadline_s=60), lambda: now[0])
    assert budget.stop(99) is None
    assert budget.stop(100) == "tokens"
    budget.charge(40, 9)
    assert budget.stop(50) is None
    assert budget.stop(51) == "tokens"
    now[0] = 69.9
    assert budget.left_s() > 0
    now[0] = 70.0
    assert budget.stop(51) == "deadline"
    budget.charge(1)
    assert budget.stop(51) == "attempts"


def test_no_ceiling_by_default() -> None:
    budget = Budget(Limits(), lambda: 0.0)
    budget.charge(10**9, 10**9)
    assert budget.stop(10**9) is None
