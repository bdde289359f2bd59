"""The document anvil.usage/v1."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from anvil.lab.usage.figures import Spread, coverage, distribution, spread, whole
from anvil.lab.usage.reading import Call, Log

SCHEMA = "anvil.usage/v1"
_TOP_TOOLS, _TOP_NAMES = 25, 20


class Window(msgspec.Struct, frozen=True):
    """Days are UTC."""

    files: int
    unreadable_files: int
    bad_lines: int
    sessions_with_calls: int
    first_day: str | None
    last_day: str | None
    active_days: int


class Totals(msgspec.Struct, frozen=True):
    assistant_calls: int
    output_tokens: int
    fresh_input_tokens: int
    cache_creation_tokens: int
    cache_read_tokens: int
    total_processed: int


class ModelMix(msgspec.Struct, frozen=True):
    calls: dict[str, int]
    output_tokens: dict[str, int]


class Concurrency(msgspec.Struct, frozen=True):
    """Over the minutes in which there was a call."""

    peak_calls_per_min: int | None
    calls_per_min_p95: int | None
    calls_per_min_p99: int | None
    peak_parallel_sessions: int | None
    parallel_sessions_p95: int | None
    parallel_sessions_p99: int | None


class Throughput(msgspec.Struct, frozen=True):
    """The busiest clock hour, and the rate that is."""

    peak_output_tokens_per_hour: int
    peak_sustained_tok_per_s: float


class AgentCount(msgspec.Struct, frozen=True):
    p50: int | None
    p95: int | None
    max: int | None


class Workflows(msgspec.Struct, frozen=True):
    dispatches: int
    subagent_tokens: int
    agent_count: AgentCount
    total_subagents: int


class Sessions(msgspec.Struct, frozen=True):
    n: int
    calls: Spread
    output_tokens: Spread


class Day(msgspec.Struct, frozen=True):
    day: str
    calls: int
    output_tokens: int
    total_processed: int


class Role(msgspec.Struct, frozen=True):
    context: Spread
    generation: Spread


class Roles(msgspec.Struct, frozen=True):
    main: Role
    subagent: Role
    records_with_isSidechain_field: int


class OfModel(msgspec.Struct, frozen=True):
    calls: int
    output_tokens: int
    context: Spread
    generation: Spread


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """``distribution`` is of ``distribution_of``: subagent calls, or all where there are none."""

    schema: str = SCHEMA
    window: Window
    totals: Totals
    model_mix: ModelMix
    context_size_per_call: Spread
    generation_per_call: Spread
    concurrency: Concurrency
    throughput: Throughput
    workflows: Workflows
    sessions: Sessions
    tools: dict[str, int]
    skills: dict[str, int]
    agent_types: dict[str, int]
    busiest_day: Day | None
    daily: list[Day]
    roles: Roles
    by_model: dict[str, OfModel]
    subagent_context_coverage_pct: dict[str, float | None]
    distribution_of: str
    distribution: list[tuple[float, int]]


def profile(log: Log) -> Profile:
    calls = list(log.calls.values())
    subagent = [call for call in calls if call.subagent]
    daily = _daily(calls)
    by_model = _grouped((call.model, call) for call in calls)
    return Profile(
        window=_window(log, calls, daily),
        totals=_totals(calls),
        model_mix=ModelMix(
            _top(Counter(call.model for call in calls)),
            {model: _output(group) for model, group in by_model.items()},
        ),
        context_size_per_call=_contexts(calls),
        generation_per_call=_generations(calls),
        concurrency=_concurrency(calls),
        throughput=_throughput(calls),
        workflows=_workflows(log.workflows),
        sessions=_sessions(calls),
        tools=_top(log.tools, _TOP_TOOLS),
        skills=_top(log.skills, _TOP_NAMES),
        agent_types=_top(log.agent_types, _TOP_NAMES),
        busiest_day=max(daily, key=lambda day: (day.total_processed, day.day), default=None),
        daily=daily,
        roles=Roles(_role([call for call in calls if not call.subagent]), _role(subagent), log.with_sidechain_field),
        by_model={
            model: OfModel(len(group), _output(group), _contexts(group), _generations(group))
            for model, group in by_model.items()
        },
        subagent_context_coverage_pct=coverage([call.context for call in subagent]),
        distribution_of="subagent" if subagent else "all",
        distribution=distribution([call.context for call in subagent or calls]),
    )


def _window(log: Log, calls: Sequence[Call], daily: Sequence[Day]) -> Window:
    first, last = (daily[0].day, daily[-1].day) if daily else (None, None)
    sessions = len({call.session for call in calls})
    return Window(log.files, log.unreadable_files, log.bad_lines, sessions, first, last, len(daily))


def _totals(calls: Sequence[Call]) -> Totals:
    return Totals(
        len(calls),
        _output(calls),
        sum(call.fresh for call in calls),
        sum(call.cache_creation for call in calls),
        sum(call.cache_read for call in calls),
        _processed(calls),
    )


def _concurrency(calls: Sequence[Call]) -> Concurrency:
    minutes = _grouped((f"{call.when:%Y-%m-%d %H:%M}", call) for call in calls if call.when)
    many = [len(group) for group in minutes.values()]
    parallel = [len({call.session for call in group}) for group in minutes.values()]
    figures = [whole(values, share) for values in (many, parallel) for share in (1, 0.95, 0.99)]
    return Concurrency(*figures)


def _throughput(calls: Sequence[Call]) -> Throughput:
    hours = _grouped((f"{call.when:%Y-%m-%d %H}", call) for call in calls if call.when)
    peak = max((_output(group) for group in hours.values()), default=0)
    return Throughput(peak, round(peak / 3600, 2))


def _workflows(found: Sequence[tuple[int, int]]) -> Workflows:
    agents = [count for count, _ in found]
    counts = AgentCount(whole(agents, 0.5), whole(agents, 0.95), whole(agents, 1))
    return Workflows(len(found), sum(tokens for _, tokens in found), counts, sum(agents))


def _sessions(calls: Sequence[Call]) -> Sessions:
    groups = _grouped((call.session, call) for call in calls).values()
    return Sessions(len(groups), spread([len(group) for group in groups]), spread([_output(group) for group in groups]))


def _daily(calls: Sequence[Call]) -> list[Day]:
    days = _grouped((f"{call.when:%Y-%m-%d}", call) for call in calls if call.when)
    return [Day(day, len(group), _output(group), _processed(group)) for day, group in sorted(days.items())]


def _role(calls: Sequence[Call]) -> Role:
    return Role(_contexts(calls), _generations(calls))


def _contexts(calls: Sequence[Call]) -> Spread:
    return spread([call.context for call in calls])


def _generations(calls: Sequence[Call]) -> Spread:
    return spread([call.output for call in calls])


def _output(calls: Iterable[Call]) -> int:
    return sum(call.output for call in calls)


def _processed(calls: Iterable[Call]) -> int:
    return sum(call.context + call.output for call in calls)


def _top(counts: Counter[str], most: int | None = None) -> dict[str, int]:
    """The most frequent first; names decide among equals."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most])


def _grouped(pairs: Iterable[tuple[str, Call]]) -> dict[str, list[Call]]:
    groups: defaultdict[str, list[Call]] = defaultdict(list)
    for key, call in pairs:
        groups[key].append(call)
    return dict(sorted(groups.items()))
