"""Which prompts are sent for which work class: from the operator's folder, or those that come with anvil."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from anvil.lab.evaluation import folder as evaluation
from anvil.lab.evaluation.folder import BadEvaluation
from anvil.router.taxonomy import WORK_CLASSES

BUILTIN = Path(__file__).with_name("prompts")
# what the rubric was made for; the class of prompts whose folder does not say
DEFAULT_CLASS = "planning"


class Case(Struct, frozen=True):
    """One prompt of a work class; ``prd`` is its name."""

    work_class: str
    prd: str
    prompt: str

    @property
    def digest(self) -> str:
        """SHA-256 hex of the prompt: an answer counts only for the text it was given to."""
        return digest(self.prompt)


def digest(prompt: str) -> str:
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()


def read(parent: Path, classes: Sequence[str] = ()) -> list[Case]:
    """Every case below ``parent``, sorted; with ``classes`` only those. Raises BadEvaluation when there is none.

    Read are: ``prompts/*.txt`` (of every class asked for, else planning), folders named YYYY-MM-DD-<class> with prompts
    in them, and folders named like a work class with *.txt in them.
    """
    if unknown := sorted(set(classes) - set(WORK_CLASSES)):
        raise BadEvaluation(f"--classes: {', '.join(unknown)}: not a work class; known: {', '.join(WORK_CLASSES)}")
    if not parent.is_dir():
        raise BadEvaluation(f"{parent}: no such folder; give one that holds prompts/*.txt")
    found = list(_of_folder(parent, classes or (DEFAULT_CLASS,))) if (parent / "prompts").is_dir() else _below(parent)
    wanted = [case for case in found if not classes or case.work_class in classes]
    if missing := sorted(set(classes) - {case.work_class for case in wanted}):
        raise BadEvaluation(f"{parent}: no prompt of class {', '.join(missing)}")
    if not wanted:
        raise BadEvaluation(f"{parent}: holds no prompts; put them into prompts/*.txt")
    if blank := [case.prd for case in wanted if not case.prompt.strip()]:
        raise BadEvaluation(f"{parent}: prompt {blank[0]} is empty")
    return sorted(_distinct(wanted, parent), key=lambda case: (case.work_class, case.prd))


def _of_folder(folder: Path, classes: Iterable[str]) -> Iterable[Case]:
    name = evaluation.named(folder)
    for work_class in (name.work_class,) if name is not None else classes:
        for prd, prompt in evaluation.prompts(folder).items():
            yield Case(work_class, prd, prompt)


def _below(parent: Path) -> list[Case]:
    found: list[Case] = []
    for child in sorted(child for child in parent.iterdir() if child.is_dir()):
        if evaluation.named(child) is not None:
            found += _of_folder(child, ())
        elif child.name in WORK_CLASSES:
            found += [Case(child.name, file.stem, evaluation.text_of(file)) for file in sorted(child.glob("*.txt"))]
    return found


def _distinct(cases: list[Case], parent: Path) -> list[Case]:
    """The same prompt in two evaluations is one case; two prompts of one name are refused."""
    by_name: dict[tuple[str, str], Case] = {}
    for case in cases:
        if by_name.setdefault((case.work_class, case.prd), case) != case:
            raise BadEvaluation(f"{parent}: two different prompts of class {case.work_class} are named {case.prd}")
    return list(by_name.values())
