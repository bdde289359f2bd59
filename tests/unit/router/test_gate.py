"""The commit state machine, alone: every rule of contract 13.2 to 13.4, and the promises as properties."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router.gate import Gate, GateFault, GatePolicy, fold, merged, unfold
from anvil.router.turn import (
    Answer,
    Event,
    Fault,
    Finish,
    Reasoning,
    ReasoningDelta,
    ReasoningDone,
    Text,
    TextDelta,
    ToolCall,
    ToolDone,
    ToolGrow,
    ToolOpen,
    Usage,
    UsageReport,
)


class Writer:
    """Writes events as readable words, so tests can compare what left in which order."""

    def __init__(self) -> None:
        self.lossy: set[str] = set()

    def start(self) -> bytes:
        return b"<start>"

    def write(self, event: Event) -> bytes:
        match event:
            case TextDelta():
                return event.text.encode()
            case ReasoningDelta():
                return b"[think " + event.text.encode() + b"]"
            case ToolDone():
                return b"[call " + event.call.name.encode() + b"]"
            case Finish():
                return b"<" + event.reason.encode() + b">"
            case _:
                return b""

    def finish(self) -> bytes:
        return b"<end>"

    def abort(self, fault: Fault, status: int) -> bytes:
        return b"<error>"


def call(name: str = "f", arguments: str = "{}") -> ToolCall:
    return ToolCall("id", name, arguments)


def verify(c: ToolCall) -> str | None:
    return "tool_call_json_valid" if c.arguments == "broken" else None


def gate(**policy: object) -> Gate:
    settings: dict[str, object] = {"hold": False, "verify_call": verify} | policy
    return Gate(Writer(), GatePolicy(**settings))  # type: ignore[arg-type]


STOP = Finish("stop")


def test_blank_text_waits_and_the_first_substantive_delta_commits_with_what_was_kept() -> None:
    g = gate()
    assert g.push(TextDelta(" \n")) == b""
    assert not g.committed
    assert g.push(TextDelta("hi")) == b"<start> \nhi"
    assert g.committed
    assert g.push(TextDelta(" there")) == b" there"
    assert g.push(STOP) == b""
    assert g.end() == b"<stop><end>"


def test_reasoning_does_not_commit_but_leaves_before_the_text_that_does() -> None:
    g = gate()
    assert g.push(ReasoningDelta("hm")) == b""
    assert g.push(ReasoningDone()) == b""
    assert g.push(TextDelta("x")) == b"<start>[think hm]x"


def test_holding_keeps_everything_until_accept() -> None:
    g = gate(hold=True)
    assert [g.push(e) for e in (TextDelta("a"), ToolOpen(0), ToolDone(0, call()), STOP)] == [b""] * 4
    assert g.needs_verdict
    assert g.answer().text == "a"
    assert g.accept() == b"<start>a[call f]<stop><end>"


def test_a_verified_tool_block_commits_whole() -> None:
    g = gate()
    assert g.push(ToolOpen(0)) == b""
    assert g.push(ToolGrow(0, 10)) == b""
    assert g.push(ToolDone(0, call())) == b"<start>[call f]"


def test_a_defective_tool_block_fails_the_attempt_before_commit_and_breaks_it_after() -> None:
    before = gate()
    before.push(ToolOpen(0))
    with pytest.raises(GateFault) as failed:
        before.push(ToolDone(0, call(arguments="broken")))
    assert failed.value.fault == Fault("bad_answer", "tool_call_json_valid")
    assert not before.committed
    after = gate()
    after.push(TextDelta("live"))
    after.push(ToolOpen(0))
    with pytest.raises(GateFault):
        after.push(ToolDone(0, call(arguments="broken")))
    assert after.committed
    assert after.abort(failed.value.fault, 503) == b"<error>"


def test_text_behind_an_open_tool_block_waits_for_it() -> None:
    g = gate()
    g.push(TextDelta("a"))
    assert g.push(ToolOpen(0)) == b""
    assert g.push(TextDelta("after")) == b""
    assert g.push(ToolDone(0, call())) == b"[call f]after"


def test_interleaved_calls_leave_in_the_tiers_order() -> None:
    g = gate()
    g.push(ToolOpen(0))
    g.push(ToolOpen(1))
    assert g.push(ToolDone(1, call("second"))) == b""
    assert g.push(ToolDone(0, call("first"))) == b"<start>[call first][call second]"


def test_a_required_call_holds_text_and_a_named_one_waits_for_its_name() -> None:
    g = gate(require_call=True, require_name="wanted")
    assert g.push(TextDelta("let me")) == b""
    g.push(ToolOpen(0))
    assert g.push(ToolDone(0, call("other"))) == b""
    g.push(ToolOpen(1))
    assert g.push(ToolDone(1, call("wanted"))) == b"<start>let me[call other][call wanted]"


def test_eager_commits_on_a_blank_delta() -> None:
    assert gate(eager=True).push(TextDelta(" ")) == b"<start> "


def test_usage_known_before_commit_reaches_the_writer_first() -> None:
    seen: list[str] = []

    class Noting(Writer):
        def start(self) -> bytes:
            seen.append("start")
            return b""

        def write(self, event: Event) -> bytes:
            seen.append(type(event).__name__)
            return b""

    g = Gate(Noting(), GatePolicy(hold=False, verify_call=verify))
    g.push(UsageReport(Usage(1, 0)))
    g.push(TextDelta("x"))
    assert seen[:2] == ["UsageReport", "start"]


@pytest.mark.parametrize("hold", [True, False])
def test_the_cap_ends_the_attempt_as_overflow(hold: bool) -> None:
    g = gate(hold=hold, cap=10)
    g.push(TextDelta("     "))
    g.push(TextDelta("     "))
    with pytest.raises(GateFault) as failed:
        g.push(TextDelta(" "))
    assert failed.value.fault.label == "buffer cap 10"
    assert failed.value.fault.failure_class == "bad_answer"


def test_a_tool_block_open_at_the_end_is_a_defect() -> None:
    g = gate()
    g.push(TextDelta("x"))
    g.push(ToolOpen(0))
    g.push(STOP)
    with pytest.raises(GateFault):
        g.end()


def test_faults_pass_through_as_gate_faults() -> None:
    fault = Fault("unavailable", "reset")
    with pytest.raises(GateFault) as failed:
        gate().push(fault)
    assert failed.value.fault is fault


events = st.lists(
    st.one_of(
        st.builds(TextDelta, st.text(max_size=5)),
        st.builds(ReasoningDelta, st.text(max_size=5)),
        st.just("tool"),
    ),
    max_size=12,
)


def expand(parts: list[object]) -> list[Event]:
    out: list[Event] = []
    for index, part in enumerate(parts):
        if part == "tool":
            out += [ToolOpen(index), ToolGrow(index, 2), ToolDone(index, call(f"t{index}"))]
        else:
            out.append(part)  # type: ignore[arg-type]
    return out


def run(g: Gate, parts: list[Event], stop: Callable[[], Finish] = lambda: STOP) -> bytes:
    out = b"".join([g.push(event) for event in parts])
    g.push(stop())
    return out + (g.accept() if g.needs_verdict else g.end())


@given(events)
def test_whatever_the_path_the_same_bytes_leave_in_the_same_order(parts: list[object]) -> None:
    story = expand(parts)
    live = run(gate(), story)
    held = run(gate(hold=True), story)
    assert live == held
    assert live.startswith(b"<start>")
    assert live.endswith(b"<stop><end>")


@given(events, st.integers(0, 12))
def test_before_commit_nothing_leaves_after_it_only_a_prefix(parts: list[object], cut: int) -> None:
    story = expand(parts)
    whole = run(gate(), story)
    g = gate()
    sent = b"".join([g.push(event) for event in story[:cut]])
    assert bool(sent) == g.committed
    assert whole.startswith(sent)


@given(events)
def test_fold_and_unfold_agree(parts: list[object]) -> None:
    answer = fold([*expand(parts), STOP], Usage(3, 4))
    again = fold(unfold(answer))
    assert again.text == answer.text
    assert again.calls == answer.calls
    assert again.finish == STOP
    assert again.usage == Usage(3, 4)


def test_merged_keeps_extras_apart() -> None:
    plain, rich = TextDelta("a"), TextDelta("b", extra={})
    assert merged([plain, plain, rich, plain]) == [TextDelta("aa"), rich, plain]


def test_reasoning_with_a_signature_survives_folding() -> None:
    answer = fold([ReasoningDelta("a"), ReasoningDone("sig"), TextDelta("t"), STOP])
    assert answer == Answer([Reasoning("a", "sig"), Text("t")], finish=STOP)
