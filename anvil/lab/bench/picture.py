"""A sweep as a picture: latency and throughput against concurrency, as SVG without scripts or outside parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from anvil.lab.bench.report import Level, Metrics, Report

WIDTH, HEIGHT = 920, 430
_TOP, _BOTTOM = 96, 348
_PANELS = ((64, 400), (580, 790))  # left and right edge of the plots; the names of the lines stand beside them
_TEXT, _QUIET, _GRID = "#1f2430", "#667085", "#e4e7ec"
_LABEL_GAP = 15
_LONGEST_NAME = 48
Read = Callable[[Metrics], float | None]
# name, colour, dash, figure in seconds
_LATENCY: tuple[tuple[str, str, str, Read], ...] = (
    ("whole answer p95", "#b54708", "6 4", lambda m: _seconds(m.e2e_p95_ms)),
    ("whole answer p50", "#b54708", "", lambda m: _seconds(m.e2e_p50_ms)),
    ("first token p95", "#175cd3", "6 4", lambda m: _seconds(m.ttft_p95_ms)),
    ("first token p50", "#175cd3", "", lambda m: _seconds(m.ttft_p50_ms)),
)
_THROUGHPUT: tuple[tuple[str, str, str, Read], ...] = (
    ("all together", "#067647", "", lambda m: m.throughput_tok_s),
    ("one, decoding", "#6941c6", "", lambda m: m.decode_tok_s),
)


def svg(report: Report) -> str:
    """The report's levels side by side; one level is one point."""
    levels = report.levels
    heading = f"{_short(report.model)}: latency and throughput against concurrency"
    below = f"{report.requests} requests a level, {_context(report)}, answers of at most {report.max_tokens} tokens"
    where = ", ".join(part for part in (report.engine, report.gpu_model, report.run_id) if part)
    parts = [
        _text(24, 34, heading, size=18, weight=600),
        _text(24, 56, f"{below}. {where}", colour=_QUIET),
        *_panel(0, "seconds, lower is better", levels, _LATENCY),
        *_panel(1, "tokens per second, higher is better", levels, _THROUGHPUT),
        *_failures(levels),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' role="img" font-family="system-ui, sans-serif" font-size="12">\n<title>{escape(heading)}</title>\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(place: int, title: str, levels: Sequence[Level], series: Sequence[tuple[str, str, str, Read]]) -> list[str]:
    left, right = _PANELS[place]
    rows = [(name, colour, dash, [read(found.metrics) for found in levels]) for name, colour, dash, read in series]
    ticks = scale(max((value for *_, values in rows for value in values if value is not None), default=1.0))

    def x(index: int) -> float:
        return (left + right) / 2 if len(levels) == 1 else left + 16 + (right - left - 32) * index / (len(levels) - 1)

    def y(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * value / ticks[-1]

    parts = [_text(left, _TOP - 16, title, colour=_QUIET)]
    for tick in ticks:
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="{_GRID}"/>')
        parts.append(_text(left - 8, y(tick) + 4, f"{tick:g}", colour=_QUIET, anchor="end"))
    for index, found in enumerate(levels):
        parts.append(_text(x(index), _BOTTOM + 20, str(found.concurrency), anchor="middle"))
    parts.append(_text((left + right) / 2, _BOTTOM + 40, "requests at once", colour=_QUIET, anchor="middle"))
    for _, colour, dash, values in rows:
        parts += _line([(x(i), y(value)) for i, value in enumerate(values) if value is not None], colour, dash)
    ends = [(name, colour, y(values[-1])) for name, colour, _, values in rows if values[-1] is not None]
    for (name, colour, _), height in zip(ends, spread([end[2] for end in ends]), strict=True):
        parts.append(_text(right + 10, height + 4, name, colour=colour))
    return parts


def scale(highest: float) -> list[float]:
    """Round ticks from 0 to at least ``highest``, four to eight of them."""
    rough = max(highest, 1e-6) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    unit = next(unit for unit in (1, 2, 5, 10) if unit * power >= rough * 0.999)
    size = unit * power
    return (
        [round(size * step, 9) for step in range(math.ceil(highest / size - 1e-9) + 1)] if highest > 0 else [0.0, size]
    )


def spread(heights: Sequence[float]) -> list[float]:
    """Where the names of the lines go: beside their ends, moved apart where they would overlap, in the same order."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    placed = [0.0] * len(heights)
    lowest = -math.inf
    for index in order:
        lowest = placed[index] = max(heights[index], lowest + _LABEL_GAP)
    over = max(0.0, lowest - _BOTTOM)
    return [height - over for height in placed]


def _line(points: Sequence[tuple[float, float]], colour: str, dash: str) -> list[str]:
    where = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    drawn = [f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>']
    return drawn + [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]


def _failures(levels: Sequence[Level]) -> list[str]:
    """A line that says what did not complete: a fast failure must not look like a fast answer."""
    bad = [f"{found.requests - found.completed} of {found.requests} failed at {found.concurrency}" for found in levels
           if found.completed < found.requests]  # fmt: skip
    return [_text(24, HEIGHT - 14, "; ".join(bad), colour="#b42318")] if bad else []


def _text(
    x: float, y: float, words: str, *, colour: str = _TEXT, anchor: str = "", size: int = 0, weight: int = 0
) -> str:
    more = "".join(
        f' {name}="{value}"'
        for name, value in (("text-anchor", anchor), ("font-size", size), ("font-weight", weight))
        if value
    )
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}"{more}>{escape(words)}</text>'


def _context(report: Report) -> str:
    if report.context_tokens:
        return f"prompts of about {report.context_tokens} tokens"
    return f"prompts of up to {report.max_context_tokens} tokens"


def _short(model: str) -> str:
    return model if len(model) <= _LONGEST_NAME else f"{model[:_LONGEST_NAME]}…"


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
