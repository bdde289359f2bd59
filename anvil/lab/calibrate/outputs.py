"""The folder between the two halves of a calibration: generated next to the serves, graded where the judge lives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from anvil.lab.calibrate.answers import Answer, Failure
from anvil.lab.evaluation import folder as evaluation
from anvil.lab.evaluation.cases import Case, digest
from anvil.lab.evaluation.folder import BadEvaluation
from anvil.lab.writing import write_whole

_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")


class ManifestRow(Struct, kw_only=True, omit_defaults=True):
    """A row of grading/gen_manifest.json (5.1), with what a profile row needs besides. Times in seconds."""

    prd: str
    model: str
    model_id: str | None
    ok: bool
    elapsed_s: float
    completion_tokens: int | None
    tok_per_s: float | None
    chars: int
    file: str
    tier_id: str = ""
    work_class: str = ""
    fingerprint: str = ""
    reasoning: dict[str, object] | None = None
    families: list[str] = []
    prompt_sha256: str = ""
    max_tokens: int = 0
    error: str = ""


class Outputs:
    """Writes answers as evaluation folders of the shape of 5.1, the manifest after each, so that a run can go on."""

    def __init__(self, parent: Path, day: str) -> None:
        """Raises BadEvaluation when what is there already cannot be read."""
        self._parent = parent
        self._day = day
        self._folders: dict[str, Path] = {}
        self._rows: dict[Path, dict[str, ManifestRow]] = {}
        for folder in evaluation.evaluations(parent) if parent.is_dir() and any(parent.iterdir()) else ():
            name = evaluation.named(folder)
            assert name is not None  # evaluations() gives only such folders
            self._folders[name.work_class] = folder
            self._rows[folder] = {row.file: row for row in manifest(folder)}

    def has(self, tier_id: str, case: Case, fingerprint: str, max_tokens: int) -> bool:
        """Whether the same tier answered the same prompt already."""
        folder = self._folders.get(case.work_class)
        row = self._rows[folder].get(_file(case.prd, tier_id)) if folder is not None else None
        wanted = (fingerprint, case.digest, max_tokens)
        return row is not None and row.ok and (row.fingerprint, row.prompt_sha256, row.max_tokens) == wanted

    def add(self, found: Answer | Failure) -> None:
        folder = self._folder(found.case)
        row = _row(found)
        if isinstance(found, Answer):
            write_whole(folder / "outputs" / row.file, found.text.encode("utf-8", "replace"), force=True)
        rows = self._rows[folder]
        rows[row.file] = row
        document = msgspec.json.format(msgspec.json.encode([rows[name] for name in sorted(rows)]), indent=2)
        write_whole(folder / "grading" / "gen_manifest.json", document + b"\n", force=True)

    def _folder(self, case: Case) -> Path:
        folder = self._folders.get(case.work_class)
        if folder is None:
            folder = self._folders[case.work_class] = self._parent / f"{self._day}-{case.work_class}-eval"
            self._rows[folder] = {}
        for name in ("prompts", "outputs", "grading"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        prompt = folder / "prompts" / f"prompt_{case.prd}.txt"
        if not prompt.is_file() or evaluation.text_of(prompt) != case.prompt:
            write_whole(prompt, case.prompt.encode(), force=True)
        return folder


def _file(prd: str, tier_id: str) -> str:
    return f"out_{prd}__{label(tier_id)}.md"


def label(tier_id: str) -> str:
    """A tier id as it may stand in a file name; never with two underscores, which end the prompt's name."""
    return _UNSAFE.sub("-", tier_id)


def _row(found: Answer | Failure) -> ManifestRow:
    row = ManifestRow(
        prd=found.case.prd,
        model=label(found.tier_id),
        model_id=None,
        ok=False,
        elapsed_s=0.0,
        completion_tokens=None,
        tok_per_s=None,
        chars=0,
        file=_file(found.case.prd, found.tier_id),
        tier_id=found.tier_id,
        work_class=found.case.work_class,
        prompt_sha256=found.case.digest,
    )
    if isinstance(found, Failure):
        row.error = found.why
        return row
    row.model_id, row.ok, row.chars = found.model, True, len(found.text)
    row.elapsed_s, row.completion_tokens = found.elapsed_s, found.completion_tokens
    if found.completion_tokens and found.elapsed_s:
        row.tok_per_s = round(found.completion_tokens / found.elapsed_s, 2)
    row.fingerprint, row.reasoning, row.max_tokens = found.fingerprint, found.reasoning, found.max_tokens
    row.families = sorted(found.families)
    return row


def manifest(folder: Path) -> list[ManifestRow]:
    """Raises BadEvaluation."""
    file = folder / "grading" / "gen_manifest.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[ManifestRow])
    except OSError as error:
        raise BadEvaluation(f"{file}: {error.strerror or error}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadEvaluation(f"{file}: {error}") from None


def read(parent: Path) -> Iterator[Answer]:
    """Every answer that ``--generate-only`` left below ``parent``. Raises BadEvaluation for anything else."""
    for folder in evaluation.evaluations(parent):
        name = evaluation.named(folder)
        assert name is not None  # evaluations() gives only such folders
        prompts = evaluation.prompts(folder)
        for row in manifest(folder):
            if row.ok:
                yield _answer(folder, row, prompts, name.day)


def _answer(folder: Path, row: ManifestRow, prompts: dict[str, str], day: str) -> Answer:
    where = f"{folder / 'grading' / 'gen_manifest.json'}: {row.file}"
    if not (row.tier_id and row.work_class and row.fingerprint):
        raise BadEvaluation(
            f"{where}: names no tier, class and fingerprint; make it with anvil calibrate --generate-only"
        )
    if row.file != Path(row.file).name:
        raise BadEvaluation(f"{where}: must lie in {folder / 'outputs'}")
    if row.prd not in prompts or digest(prompts[row.prd]) != row.prompt_sha256:
        raise BadEvaluation(f"{where}: the prompt {row.prd} is missing or not the one that was answered")
    return Answer(
        tier_id=row.tier_id,
        case=Case(row.work_class, row.prd, prompts[row.prd]),
        text=evaluation.text_of(folder / "outputs" / row.file),
        model=row.model_id,
        families=frozenset(row.families),
        fingerprint=row.fingerprint,
        reasoning=row.reasoning,
        max_tokens=row.max_tokens,
        day=day,
        elapsed_s=row.elapsed_s,
        completion_tokens=row.completion_tokens,
    )
