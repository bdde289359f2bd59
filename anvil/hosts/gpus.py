"""Facts about NVIDIA cards: which exist, what is on them, which container holds how much."""

from __future__ import annotations

import csv
import io

import msgspec
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase

from anvil.hosts.shell import COMMAND_SECONDS, NOT_FOUND, Answer, Struct, captured, reading

CARD_FIELDS = "index,uuid,name,memory.total,memory.used,driver_version,compute_cap"
PROCESS_FIELDS = "pid,gpu_uuid,used_memory"
_ASK = f"""command -v nvidia-smi >/dev/null 2>&1 || exit {NOT_FOUND}
limited {COMMAND_SECONDS} nvidia-smi --query-gpu={CARD_FIELDS} --format=csv,noheader,nounits || exit $?
echo --
limited {COMMAND_SECONDS} nvidia-smi --query-compute-apps={PROCESS_FIELDS} --format=csv,noheader,nounits 2>/dev/null
echo --
command -v docker >/dev/null 2>&1 || exit 0
for c in $(limited {COMMAND_SECONDS} docker ps --format '{{{{.Names}}}}' 2>/dev/null); do
  limited 5 docker top "$c" -eo pid 2>/dev/null | awk -v c="$c" 'NR > 1 {{ print $1 "," c }}'
done
exit 0
"""


class GpuProcess(Struct, frozen=True, kw_only=True):
    """`container` is empty for a process of the host itself."""

    pid: int
    gpu: str
    used_mib: int
    container: str = ""


class GpuCard(Struct, frozen=True, kw_only=True):
    index: int
    uuid: str
    name: str
    total_mib: int
    used_mib: int
    driver: str
    compute: str

    @property
    def free_mib(self) -> int:
        return self.total_mib - self.used_mib


class GpusAnswer(Answer, frozen=True, kw_only=True):
    cards: dict[str, GpuCard] = msgspec.field(default_factory=dict)
    processes: tuple[GpuProcess, ...] = ()


def _number(text: str) -> int:
    """`[N/A]` and `[Not Found]` are what drivers print for what they cannot see."""
    text = text.strip()
    return int(float(text)) if text.replace(".", "", 1).isdigit() else 0


def _rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text)) if row]


class NvidiaGpus(FactBase[GpusAnswer]):
    """Cards by UUID. On WSL2 the process list may be empty: then `used_mib` of the card is all there is."""

    def command(self) -> StringCommand:
        return captured(_ASK)

    def process(self, output: list[str]) -> GpusAnswer:
        got = reading(output)
        if got.code == NOT_FOUND:
            return GpusAnswer(status="tool_missing", error="nvidia-smi is not installed")
        if got.code:
            return GpusAnswer(status="error", error=got.text.strip()[-500:] or f"nvidia-smi exit status {got.code}")
        cards, processes, tops = ([*got.text.split("--\n"), "", ""])[:3]
        owners = {_number(row[0]): row[1] for row in _rows(tops) if len(row) == 2}
        return GpusAnswer(
            status="ok",
            cards={row[1]: _card(row) for row in _rows(cards) if len(row) == 7},
            processes=tuple(_process(row, owners) for row in _rows(processes) if len(row) == 3),
        )


def _card(row: list[str]) -> GpuCard:
    index, uuid, name, total, used, driver, compute = row
    return GpuCard(
        index=_number(index), uuid=uuid, name=name, total_mib=_number(total), used_mib=_number(used),
        driver=driver, compute=compute,
    )  # fmt: skip


def _process(row: list[str], owners: dict[int, str]) -> GpuProcess:
    pid = _number(row[0])
    return GpuProcess(pid=pid, gpu=row[1], used_mib=_number(row[2]), container=owners.get(pid, ""))
