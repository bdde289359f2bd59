"""The store and the commands (lab contract 9.1, 9.2, B11)."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from anvil.cli.priors import priors
from anvil.cli.recipes import recipes
from anvil.lab.priors import download, store
from tests.unit.lab.priors.test_adapters import CSV, MARKDOWN
from tests.unit.lab.priors.test_compare import BENCH
from tests.unit.lab.recipes.samples import ROOT


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "deep/b.sqlite"
    assert run("init", "--db", path).exit_code == 0
    return path


def run(*arguments: object, obj: object = None) -> Result:
    return CliRunner().invoke(priors, [str(each) for each in arguments], obj=obj, catch_exceptions=False)


def imported(db: Path, content: str | bytes, name: str = "a.csv", source: str = "manual") -> Result:
    file = db.parent / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return run("import", "--source", source, "--file", file, "--db", db)


def column(db: Path, query: str) -> list[Any]:
    with sqlite3.connect(db) as connection:
        found = [row[0] for row in connection.execute(query)]
    connection.close()
    return found


def test_an_empty_file_is_migrated_and_a_newer_store_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.sqlite"
    path.touch()
    assert run("list", "--db", path).exit_code == 1
    store.create(path)
    store.create(path)
    assert column(path, "PRAGMA user_version") == [1]
    assert column(path, "SELECT name FROM sources ORDER BY id") == ["millstone", "rtx6kpro", "manual"]
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(store.StoreError, match="newer release"):
        store.create(path)
    assert run("init", "--db", path).exit_code == 1


def test_import_keeps_the_bytes_and_lists_the_row(db: Path) -> None:
    result = imported(db, CSV)
    assert (result.exit_code, result.stdout.startswith("parsed: 1 rows")) == (0, True)
    (raw,) = (db.parent / "external-benchmarks/raw").iterdir()
    assert raw.read_text() == CSV
    assert column(db, "SELECT raw_sha256 FROM snapshots") == [hashlib.sha256(CSV.encode()).hexdigest()]
    assert raw.name.startswith("manual-")
    assert raw.suffix == ".csv"
    listed = run("list", "--gpu", "RTX PRO 6000", "--model", "gpt-oss", "--db", db).stdout.splitlines()
    assert listed[0].split() == ["source", "model", "gpu", "engine", "quant", "ctx", "conc", "tok/s", "ttft_ms"]
    assert listed[1].split() == [
        "manual", "openai/gpt-oss-120b", "rtx_pro_6000_blackwell_96gb", "vLLM", "MXFP4", "32768", "4", "1410.5", "180",
    ]  # fmt: skip
    assert len(run("list", "--gpu", "5090 rtx", "--db", db).stdout.splitlines()) == 1


def test_rows_come_by_throughput_then_decode_with_unknown_last(db: Path) -> None:
    rows = [("a", None, 9), ("b", 5, None), ("c", 7, None), ("d", 5, 1), ("e", None, None)]
    document = [{"model": name, "gpu": "g", "throughput": rate, "decode": decode} for name, rate, decode in rows]
    imported(db, json.dumps(document), "a.json")
    found = json.loads(run("list", "--db", db, "--json", "--top", 4).stdout)
    assert [row["model_name_raw"] for row in found["rows"]] == ["c", "d", "b", "a"]


def test_what_cannot_be_parsed_is_kept_as_failed_and_nothing_as_empty(db: Path) -> None:
    failed = imported(db, "{", "a.json")
    assert failed.exit_code == 1
    assert str(db.parent / "external-benchmarks/raw") in failed.stderr
    empty = imported(db, '{"rows": []}', "b.json")
    assert (empty.exit_code, empty.stdout.startswith("empty: 0 rows")) == (0, True)
    assert column(db, "SELECT parse_status FROM snapshots ORDER BY id") == ["failed", "empty"]
    assert "not JSON" in column(db, "SELECT parse_error FROM snapshots")[0]
    assert len(list((db.parent / "external-benchmarks/raw").iterdir())) == 2


def test_oversized_input_is_refused_before_it_is_stored(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "RAW_LIMIT", 10)
    assert imported(db, "x" * 11).exit_code == 2
    with pytest.raises(store.StoreError, match="the limit is 10"):
        store.keep_raw(db, store.Snapshot("manual", b"x" * 11, "a", ""))
    assert column(db, "SELECT count(*) FROM snapshots") == [0]


def test_raw_names_never_collide(db: Path) -> None:
    snapshot = store.Snapshot("manual", b"x", "weird.$$$$$$", "text/html")
    names = [store.keep_raw(db, snapshot, 1_700_000_000_000_000_007).name for _ in range(3)]
    stem = f"manual-20231114T221320Z-000000007-{hashlib.sha256(b'x').hexdigest()[:12]}"
    assert names == [f"{stem}.html", f"{stem}-1.html", f"{stem}-2.html"]
    for number in range(3, 100):
        (db.parent / f"external-benchmarks/raw/{stem}-{number}.html").touch()
    with pytest.raises(store.StoreError, match="are taken"):
        store.keep_raw(db, snapshot, 1_700_000_000_000_000_007)


def hub(request: httpx.Request) -> httpx.Response:
    moved = {"/same": "https://h.example/a.csv", "/other": "https://evil.example/a.csv", "/loop": "/loop"}
    if request.url.path in moved:
        return httpx.Response(302, headers={"location": moved[request.url.path]})
    if request.url.path == "/down":
        raise httpx.ConnectError("no route", request=request)
    return (
        httpx.Response(200, text=CSV, headers={"content-type": "text/csv"})
        if request.url.path == "/a.csv"
        else httpx.Response(404)
    )


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://h.example/same", 0), ("https://h.example/other", 3), ("https://h.example/loop", 3), ("https://h.example/down", 3),
        ("https://h.example/missing", 3), ("http://h.example/a.csv", 2), ("https://u:p@h.example/a.csv", 2), ("file:///etc/passwd", 2),
    ],
)  # fmt: skip
def test_fetch_follows_nothing_off_the_host(db: Path, url: str, code: int) -> None:
    result = run("fetch", "--source", "millstone", "--url", url, "--db", db, obj=httpx.MockTransport(hub))
    assert result.exit_code == code, result.output
    assert column(db, "SELECT source_url FROM snapshots") == ([] if code else ["https://h.example/a.csv"])


def test_an_oversized_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RAW_LIMIT", 10)
    with pytest.raises(download.FetchError, match="larger than 10"):
        download.fetch("https://h.example/a.csv", transport=httpx.MockTransport(hub))


def test_compare_stores_a_fingerprint_and_one_row_per_metric(db: Path) -> None:
    imported(db, CSV.replace("1,410.5", "410").replace("180", "203.25"))
    file = db.parent / "bench.json"
    file.write_text(json.dumps(BENCH))
    for _ in range(2):
        result = run("compare", "--local", file, "--db", db)
        assert (result.exit_code, "+26.8 %" in result.stdout) == (0, True)
    assert column(db, "SELECT metric FROM comparisons ORDER BY id") == ["throughput_tok_s", "ttft_p50_ms"] * 2
    assert column(db, "SELECT count(*) FROM fingerprints") == [1]
    assert column(db, "PRAGMA foreign_key_check") == []
    shown = json.loads(run("compare", "--local", file, "--db", db, "--json").stdout)
    assert (shown["schema"], shown["nearest"][0]["exact"]) == ("anvil.priors/v1", True)


def test_a_recipe_shows_its_nearest_prior(db: Path) -> None:
    imported(db, CSV.replace("1,410.5", "100"))
    words = ["show", "gpt-oss-120b", "--registry", str(ROOT / "inventory/recipes.toml"), "--db", str(db)]
    shown = CliRunner().invoke(recipes, words, catch_exceptions=False).stdout
    assert shown.rstrip().endswith(
        "# nearest prior: openai/gpt-oss-120b on rtx_pro_6000_blackwell_96gb, manual: 100 throughput_tok_s (+83.2 %)"
    )
    shipped = ("--registry", ROOT / "inventory/recipes.toml", "--db", db)
    assert run("compare", "--recipe", "gpt-oss-120b", *shipped).exit_code == 0


def test_report_and_export(db: Path, tmp_path: Path) -> None:
    imported(db, MARKDOWN, "a.md")
    assert "| manual | m-1 | rtx_5090_32gb |" in run("report", "--db", db).stdout
    out = tmp_path / "out.json"
    assert run("export", "--format", "json", "--out", out, "--db", db).exit_code == 0
    assert json.loads(out.read_text())["rows"][0]["throughput_tok_s"] == 99
    assert run("export", "--out", out, "--db", db).exit_code == 2


def test_refusals(db: Path, tmp_path: Path) -> None:
    assert run("list", "--db", tmp_path / "none.sqlite").exit_code == 2
    assert run("compare", "--db", db).exit_code == 2
    assert run("compare", "--local", tmp_path / "none", "--db", db).exit_code == 2
    assert run("import", "--source", "nobody", "--file", db, "--db", db).exit_code == 2
    (tmp_path / "x.sqlite").write_text("this is no database, not even a short one")
    assert run("list", "--db", tmp_path / "x.sqlite").exit_code == 1
