"""``anvil eval``: grade evaluations on disk (lab contract 5)."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from anvil.cli.calibrate import refusal

GRADE_SCHEMA = "anvil.eval-grade/v1"


@click.group(name="eval")
def evaluate() -> None:
    """Evaluations: outputs of models for fixed prompts, graded by structure and by judges."""


@evaluate.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="where results go; default: the folder results beside DIR")
@click.option("--force", is_flag=True, help="write over results of other content")
@click.option("--json", "as_json", is_flag=True, help="one JSON document on stdout")
def grade(folder: Path, out: Path | None, force: bool, as_json: bool) -> None:
    """Grade one evaluation folder: structure of plans, averages and agreement of its judges. Calls no model."""
    from anvil.lab.evaluation.folder import BadEvaluation
    from anvil.lab.grading import results
    from anvil.lab.writing import WriteRefused, check_target, write_whole

    folder = folder.resolve()
    target = out or folder.parent / "results"
    try:
        found = results.files(folder)
        new = {target / name: data for name, data in found.items() if not _same(target / name, data)}
        for file in new:
            check_target(file, force=force, mkdir=True)
        for file, data in new.items():
            write_whole(file, data, force=force, mkdir=True)
    except (BadEvaluation, WriteRefused, OSError) as error:
        raise refusal("eval grade", str(error)) from None
    structures, totals = _summary(found)
    if as_json:
        told = {"schema": GRADE_SCHEMA, "out": str(target), "structural_score": structures, "judges": totals}
        click.echo(msgspec.json.encode(told).decode())
        return
    for label, score in sorted(structures.items()):
        click.echo(f"{label}: structure {score:.2f} of 1")
    for label, row in sorted(totals.items(), key=lambda item: -item[1]["avg"]):
        click.echo(f"{label}: judges {row['avg']:.2f} of 25, n={row['n']:.0f}")
    click.echo(f"wrote {', '.join(sorted(found))} in {target}")


def _same(file: Path, data: bytes) -> bool:
    return file.is_file() and file.read_bytes() == data


def _summary(found: dict[str, bytes]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Mean structural score per label, and the judges' overall row per label."""
    scores: dict[str, list[float]] = {}
    for labels in msgspec.json.decode(found.get("grade_struct.json", b"{}")).values():
        for label, row in labels.items():
            scores.setdefault(label, []).append(row["structural_score"])
    means = {label: round(sum(values) / len(values), 4) for label, values in scores.items()}
    totals = msgspec.json.decode(found.get("aggregate.json", b'{"per_model_overall":{}}'))["per_model_overall"]
    return means, totals
