"""The `measured` table of a serve recipe (lab contract 7), from a bench."""

from __future__ import annotations

from anvil.lab.bench.report import Report


def measured(report: Report) -> str:
    """TOML. A throughput is called single at concurrency 1 only; what is unknown has no line."""
    figures = report.metrics
    single = report.concurrency == 1
    lines: dict[str, float | int | str | None] = {
        "throughput_single_tok_s" if single else "throughput_aggregate_tok_s": figures.throughput_tok_s,
        "concurrency": None if single else report.concurrency,
        "ttft_p50_ms": figures.ttft_p50_ms,
        "context_tokens": report.context_tokens or report.max_context_tokens,
        "measured_at": f'"{_day(report.run_id)}"',
    }
    return "[recipe.measured]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items() if value is not None)


def _day(run_id: str) -> str:
    """bench-20260131T120000Z -> 2026-01-31."""
    digits = run_id.removeprefix("bench-")
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}"
