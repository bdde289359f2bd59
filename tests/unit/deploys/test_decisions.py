"""What a run refuses, and what it understands, before it connects to anything."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from pyinfra.api.exceptions import PyinfraError
from pyinfra.connectors import util as connectors
from pyinfra.context import ctx_state

from anvil.deploys import inventory, logs, options, secrets, selection
from anvil.deploys.changes import differing
from anvil.deploys.router import disagreement
from anvil.hosts.secrets import would_be_lost
from anvil.render.artefacts import Release, render
from anvil.render.env import Secrets
from anvil.topology import load
from anvil.topology.model import Multiplexer, Topology
from tests.unit.topology.example import EXAMPLE

TEXT = """
schema = "anvil.topology/v1"
deployment = "home"
mapping_version = "1"
[machines.forge]
platform = "linux"
address = "10.0.0.1"
ssh = {{ user = "anvil", port = 2222, known_hosts = "/etc/known" }}
[machines.mini]
platform = "macos"
sudo = false
[serves.fast]
machine = "forge"
engine = "custom"
image = "repo:1"
argv = ["serve"]
container = "{fast}"
served_model = "tiny"
port = 30003
context = 4096
[serves.heavy]
machine = "forge"
engine = "custom"
image = "repo:1"
argv = ["serve"]
container = "{heavy}"
served_model = "big"
port = 30002
context = 8192
[tiers.fast-local]
serve = "fast"
[tiers.heavy-local]
serve = "heavy"
[presets]
chat = ["fast-local", "heavy-local"]
[router]
machine = "forge"
image = "anvil-router:1"
[gateways.mini]
machine = "mini"
router_url = "http://10.0.0.1:8000/v1"
"""


def topology(fast: str = "c-fast", heavy: str = "c-heavy") -> Topology:
    return load.loads(TEXT.format(fast=fast, heavy=heavy), {}, "t.toml")


def groups() -> inventory.Groups:
    return inventory.over_ssh(inventory.Checked(topology(), "t.toml"))


def test_hosts_carry_their_ssh_data() -> None:
    found = groups()
    assert [name for name, _ in found["machines"]] == ["forge", "mini"]
    forge, mini = (data for _, data in found["machines"])
    assert (forge["ssh_hostname"], forge["ssh_user"], forge["ssh_port"], forge["_sudo"]) == (
        "10.0.0.1",
        "anvil",
        2222,
        True,
    )
    assert forge["ssh_strict_host_key_checking"] == "yes"
    assert (mini["ssh_hostname"], mini["_sudo"]) == ("mini", False)
    assert {name: [host for host, _ in hosts] for name, hosts in found.items()} == {
        "machines": ["forge", "mini"],
        "gpu": ["forge"],
        "router": ["forge"],
        "gateway": ["mini"],
    }


@pytest.mark.parametrize("limit", [["--limit", "forge"], ["--limit=gateway"], ["--limit", "f*", "--limit", "mini"], []])
def test_a_limit_that_means_something(limit: list[str]) -> None:
    assert inventory.limited(groups(), limit)


@pytest.mark.parametrize("limit", [["--limit", "nope"], ["--limit=forge", "--limit=nope"]])
def test_a_limit_that_matches_no_host_is_refused(limit: list[str]) -> None:
    with pytest.raises(PyinfraError, match="--limit nope matches no host; there are: forge, mini"):
        inventory.limited(groups(), limit)


def test_an_inventory_without_hosts_is_refused() -> None:
    with pytest.raises(PyinfraError, match="no machines"):
        inventory.limited({"machines": []}, [])


def test_a_local_inventory_is_one_machine() -> None:
    with pytest.raises(PyinfraError, match="exactly one machine"):
        inventory.here(inventory.Checked(topology(), "t.toml"))


def test_a_wrong_topology_is_one_clear_line_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "t.toml"
    file.write_text(TEXT.format(fast="same", heavy="same"))
    monkeypatch.setenv("ANVIL_TOPOLOGY", str(file))
    with pytest.raises(PyinfraError, match=r"t\.toml: .*same"):
        inventory.checked("inventory/topology.toml")
    file.write_text("schema = ")
    with pytest.raises(PyinfraError, match="not TOML"):
        inventory.checked("inventory/topology.toml")


def test_what_the_router_would_refuse_is_refused_before_connecting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """R1 with file and table, R3 as a warning, all while the inventory loads (operations.md 4)."""
    file = tmp_path / "t.toml"
    monkeypatch.setenv("ANVIL_TOPOLOGY", str(file))
    text = EXAMPLE.read_text()
    file.write_text(text.replace("exhaustion_status", "exhaustion_statsu"))
    with pytest.raises(PyinfraError, match=r"t\.toml: router\.settings: .*exhaustion_statsu.*\(R1\)"):
        inventory.checked("inventory/topology.toml")
    file.write_text(text.replace("trust_remote_code = true", 'trust_remote_code = true\nextra_args = ["--no-such"]'))
    assert inventory.checked("inventory/topology.toml").topology.serves["fast"].extra_args == ("--no-such",)
    assert "WARN" in (said := capsys.readouterr().err)
    assert f"{file}: serves.fast: --no-such is not a flag of the engine release" in said


def test_a_host_that_fails_ends_the_run_without_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """P7; pyinfra's own command would ask, and go on with facts that are None."""
    running = SimpleNamespace(should_raise_failed_hosts=lambda _: False)
    monkeypatch.setenv("ANVIL_TOPOLOGY", str(EXAMPLE))
    with ctx_state.use(running):
        inventory.checked("inventory/topology.toml")
    assert running.should_raise_failed_hosts is None


def test_a_password_that_nobody_can_type_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connectors, "getpass", connectors.getpass)
    monkeypatch.setattr("pyinfra.is_cli", True)
    monkeypatch.setattr("sys.argv", ["pyinfra", "inventory/hosts.py", "deploy/status.py"])
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setenv("ANVIL_TOPOLOGY", str(EXAMPLE))
    inventory.checked("inventory/topology.toml")
    with pytest.raises(PyinfraError, match=r"^\[forge\] sudo password is wanted and nobody can type it"):
        connectors.getpass("\x1b[0m[\x1b[1mforge\x1b[0m] sudo password: ")


def test_a_key_that_is_not_there_is_named_with_its_table(tmp_path: Path) -> None:
    text = TEXT.format(fast="a", heavy="b").replace('known_hosts = "/etc/known"', f'key = "{tmp_path}/id"')
    found = inventory.Checked(load.loads(text, {}, "t.toml"), "t.toml")
    with pytest.raises(PyinfraError, match=r"t\.toml: machines\.forge\.ssh\.key: .*/id: no such file"):
        inventory.over_ssh(found)
    (tmp_path / "id").write_text(openssh(b"none"))
    assert inventory.over_ssh(found)["machines"][0][1]["ssh_key"] == f"{tmp_path}/id"


def openssh(cipher: bytes) -> str:
    body = b"openssh-key-v1\0" + len(cipher).to_bytes(4, "big") + cipher + b"x" * 80
    lines = base64.encodebytes(body).decode()
    return f"-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}-----END OPENSSH PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("text", "locked"),
    [
        (openssh(b"none"), False),
        (openssh(b"aes256-ctr"), True),
        ("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", True),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", True),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n", False),
    ],
)
def test_a_key_with_a_password_is_refused_rather_than_asked_for(text: str, locked: bool, tmp_path: Path) -> None:
    (tmp_path / "id").write_text(text)
    whole = TEXT.format(fast="a", heavy="b").replace('known_hosts = "/etc/known"', f'key = "{tmp_path}/id"')
    found = inventory.Checked(load.loads(whole, {}, "t.toml"), "t.toml")
    if not locked:
        assert inventory.over_ssh(found)
        return
    with pytest.raises(PyinfraError, match=r"t\.toml: machines\.forge\.ssh\.key: .*: has a password.*ssh-add"):
        inventory.over_ssh(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ssh-ed25519 AAAA me@here\n", "is a public key; name the private one"),
        ("ecdsa-sha2-nistp256 AAAA\n", "is a public key"),
        ("PuTTY-User-Key-File-3: ssh-ed25519\n", "is no private key of OpenSSH"),
        ("", "is no private key"),
    ],
)
def test_what_is_no_private_key_is_named_rather_than_shown_in_a_traceback(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "id").write_text(text)
    whole = TEXT.format(fast="a", heavy="b").replace('known_hosts = "/etc/known"', f'key = "{tmp_path}/id"')
    with pytest.raises(PyinfraError, match=rf"t\.toml: machines\.forge\.ssh\.key: .*/id: {said}"):
        inventory.over_ssh(inventory.Checked(load.loads(whole, {}, "t.toml"), "t.toml"))


@pytest.mark.parametrize(
    ("words", "value", "refusal"),
    [
        ("inventory/hosts.py deploy/full.py -y", None, "no value for ANVIL_ROUTER_TOKEN"),
        ("inventory/hosts.py deploy/promote.py --data settings=x", None, "no value for ANVIL_ROUTER_TOKEN"),
        ("inventory/hosts.py deploy/full.py --data mode=nope", "t" * 24, "mode 'nope' is not declared"),
        ("inventory/hosts.py deploy/full.py", "t" * 23, "at least 24 characters"),
        ("inventory/hosts.py deploy/full.py", "t" * 24, ""),
        ("inventory/hosts.py deploy/full.py --limit mini", None, ""),  # judged host by host
        ("inventory/hosts.py deploy/status.py", None, ""),  # writes no secret
        ("", None, ""),  # not pyinfra's own command
    ],
)
def test_missing_secrets_are_refused_while_the_inventory_loads(
    words: str, value: str | None, refusal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "t.toml"
    published = '[router]\npublish = "10.0.0.1"\ntoken = ["ANVIL_ROUTER_TOKEN"]'
    text = TEXT.format(fast="a", heavy="b").replace("[router]", published)
    file.write_text(text.replace(':1"\n', f':1@sha256:{"0" * 64}"\n'))
    monkeypatch.setenv("ANVIL_TOPOLOGY", str(file))
    monkeypatch.setenv("HOME", str(tmp_path))  # no env file of a real person
    monkeypatch.delenv("ANVIL_ROUTER_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("ANVIL_ROUTER_TOKEN", value)
    monkeypatch.setattr("pyinfra.is_cli", bool(words))
    monkeypatch.setattr("sys.argv", ["pyinfra", *words.split()])
    if not refusal:
        inventory.checked("inventory/topology.toml")
        return
    with pytest.raises(PyinfraError, match=refusal):
        inventory.checked("inventory/topology.toml")


@pytest.mark.parametrize(
    ("key", "deploy", "message"),
    [
        ("onyl", "serves", "did you mean only"),
        ("xyzzy", "serves", "unknown key; known: adopt"),
        ("only", "full", "full.py does not use it; it belongs to serves"),
        ("only", "serves", ""),
        ("only", "", ""),
        ("mode", "full", ""),
        ("ssh_user", "full", ""),
        ("_sudo", "full", ""),
        ("ssh_usr", "full", "did you mean ssh_user"),
        ("_sudoo", "full", "unknown key; did you mean _sudo"),
    ],
)
def test_data_keys(key: str, deploy: str, message: str) -> None:
    if not message:
        options.refuse_unknown([key], deploy)
        return
    with pytest.raises(PyinfraError, match=message):
        options.refuse_unknown([key], deploy)


@pytest.mark.parametrize("value", ["", " ", ",", " , "])
def test_a_key_that_names_nothing_is_refused(value: str) -> None:
    with pytest.raises(PyinfraError, match="--data only=: names nothing"):
        options.refuse_empty({"only": value, "ssh_user": ""})
    options.refuse_empty({"only": "fast", "ssh_user": "", "tail": 0})


def test_values_are_taken_as_they_were_typed() -> None:
    """pyinfra reads JSON in them: this id would become a float, this name lose its zero."""
    words = [
        "x.py",
        "--data",
        "release=12e4567890123456",
        "--data=served=1.10",
        "--data",
        "served=1.20",
        "--data",
        "odd",
    ]
    assert options.as_typed(words) == {"release": "12e4567890123456", "served": "1.20"}


# operations.md 8.1: key, and the deploys that take it.
ROWS: dict[str, str] = {
    "only": "serves serves_down weights status logs", "recreate": "serves full", "adopt": "serves adopt",
    "retire": "serves full retire", "image": "router promote", "profile": "promote router full",
    "settings": "promote", "release": "rollback", "reload": "promote", "wait": "serves full", "timeout": "serves full",
    "preflight": "serves full", "vram": "serves", "allow_rewrite": "harness_sync", "restart": "harness_sync",
    "overwrite": "harness_sync", "confirm": "retire harness_sync", "allow_drift": "harness_sync",
    "overwrite_url": "harness_sync", "drop_secret": "full serves router weights", "refresh": "weights",
    "messages": "harness_verify", "model": "experiment", "gpu": "experiment", "port": "experiment",
    "served": "experiment", "context": "experiment", "memory": "experiment", "extra_args": "experiment",
    "present": "experiment", "execute": "cache_prune", "protect": "cache_prune", "include_servable": "cache_prune",
    "out": "calibrate", "tiers": "calibrate", "classes": "calibrate", "max_tokens": "calibrate", "name": "logs retire",
    "tail": "logs", "since": "logs",
}  # fmt: skip


def test_every_key_of_the_contract_is_taken_where_it_says_and_nowhere_unknown() -> None:
    files = {path.stem for path in (Path(__file__).parents[3] / "deploy").glob("*.py")}
    for key, deploys in ROWS.items():
        for deploy in files:
            if deploy in deploys.split():
                options.refuse_unknown([key], deploy)
            elif deploy not in (options.USED_BY[key] or ()):
                with pytest.raises(PyinfraError, match=f"--data {key}: {deploy}.py does not use it; it belongs to"):
                    options.refuse_unknown([key], deploy)
    for deploy in files:
        options.refuse_unknown(["mode", "env_file"], deploy)
    assert options.USED_BY.keys() == {*ROWS, "mode", "env_file"}


def test_every_deploy_file_that_an_option_belongs_to_exists() -> None:
    files = {path.stem for path in (Path(__file__).parents[3] / "deploy").glob("*.py")}
    assert {user for users in options.USED_BY.values() for user in users or ()} <= files


def test_serves_by_name_or_container() -> None:
    assert selection.serves(topology(), "only", ["c-heavy", "fast"]) == ("heavy", "fast")
    with pytest.raises(PyinfraError, match="no serve has this name; there are: fast, heavy"):
        selection.serves(topology(), "only", ["fast", "nope"])
    with pytest.raises(PyinfraError, match="means fast and heavy"):
        selection.serves(topology(fast="heavy"), "only", ["heavy"])


def test_containers_to_remove() -> None:
    assert selection.containers(topology(), ["fast", "c-fast", "leftover"]) == ("c-fast", "leftover")
    with pytest.raises(PyinfraError, match="nothing was removed"):
        selection.containers(topology(fast="heavy"), ["heavy"])
    with pytest.raises(PyinfraError, match="confirm=router"):
        selection.containers(topology(), ["anvil-router"])
    with pytest.raises(PyinfraError, match="is the router"):
        selection.containers(topology(), ["anvil-router-socket"])
    assert selection.containers(topology(), ["anvil-router"], "router") == ("anvil-router",)
    place = Multiplexer(machine="forge", port=8100, docker_socket=True, container="swapper")
    swapping = msgspec.structs.replace(topology(), multiplexer=place)
    assert selection.containers(swapping, ["multiplexer", "swapper"]) == ("swapper",)


@pytest.mark.parametrize(
    ("live", "wanted", "said"),
    [
        (None, {"image": "a"}, ""),
        ({"image": "a"}, {"image": "b"}, "image: a -> b"),
        ({"command": ["--a", "1", "x"]}, {"command": ["--a", "2", "x"]}, "--a 1 -> 2"),
        ({"argv": ["--a", "1", "--b"]}, {"argv": ["--a", "1"]}, "--b -> nothing"),
        ({"command": ["x"]}, {"command": ["x", "--new"]}, "command: nothing -> --new"),
        ({"environment": {"A": "1", "B": "2"}}, {"environment": {"A": "1", "B": "3"}}, "environment: B"),
        ({"labels": {"anvil.revision": "a"}}, {"labels": {"anvil.revision": "b"}}, ""),
        ({}, {"image": "b"}, ""),
        ({"ports": None, "image": "a"}, {"ports": ["1:1"], "image": "a"}, "ports"),
    ],
)
def test_what_differs_in_words(live: dict[str, Any] | None, wanted: dict[str, Any], said: str) -> None:
    assert differing(live, wanted) == said


def test_secrets_come_from_the_environment_first(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("A='file'\nexport B=\"also file\"\n# comment\n")
    held = secrets.held(["A", "B", "C"], {"A": "environment"}, file)
    assert held.plain() == {"A": "environment", "B": "also file"}
    assert held.sources == {"A": "the environment", "B": str(file)}
    assert "environment" not in repr(held.values)
    file.write_text("A=fine\nB=$(id)\n")
    with pytest.raises(PyinfraError, match="line 2"):
        secrets.held(["A"], {}, file)
    with pytest.raises(PyinfraError, match="no such file"):
        secrets.file_of(str(tmp_path / "gone"))
    assert secrets.file_of("none") is None


def test_the_env_file_is_the_first_that_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S1; `~/.anvil_env` may be a folder of something else."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert secrets.file_of("") is None
    (tmp_path / ".env").write_text("A=1\n")
    (tmp_path / ".anvil_env").mkdir()
    assert secrets.file_of("") == tmp_path / ".env"
    (tmp_path / ".anvil_env").rmdir()
    (tmp_path / ".anvil_env").write_text("A=2\n")
    assert secrets.file_of("") == tmp_path / ".anvil_env"
    assert secrets.file_of("~/.env") == tmp_path / ".env"


def test_a_redeploy_does_not_lose_a_secret() -> None:
    assert would_be_lost(["A", "B", "OLD"], ["A", "B"], ["A"]) == ["B"]
    assert would_be_lost(["A", "B"], ["A", "B"], ["A"], dropped=["B"]) == []


def test_a_dropped_secret_has_no_value_left() -> None:
    held = secrets.held(["ANVIL_ROUTER_TOKEN"], {"ANVIL_ROUTER_TOKEN": "t"}, None)
    assert secrets.without(held, ["ANVIL_ROUTER_TOKEN"]) == secrets.Held({}, {})
    assert secrets.without(held, []) == held


KNOWN = (logs.Service("a", "fast", "c-fast"), logs.Service("a", "slow", "fast-2"), logs.Service("b", "fast-2", "x"))


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ((), "needs --data name=CONTAINER; there are: fast, slow"),
        (("fast", "slow"), "one container, not 2: fast, slow"),
        (("nope",), "no service is called so; there are: fast"),
        (("fast-2",), "means slow on a and fast-2 on b"),
    ],
)
def test_one_log_at_a_time(words: tuple[str, ...], refusal: str) -> None:
    with pytest.raises(PyinfraError, match=refusal):
        logs.one(words, KNOWN)
    assert logs.one(("c-fast",), KNOWN) == logs.one(("fast",), KNOWN) == KNOWN[0]


def release() -> Release:
    return render(topology(), Secrets(digests={"ANVIL_ROUTER_TOKEN": "0" * 64})).release


def said(release: Release) -> dict[str, Any]:
    config = release.config
    keys = ("id", "model", "context_limit", "privacy", "dialect")
    return {
        "mapping_version": config.mapping_version,
        "tiers": [{key: getattr(tier, key) for key in keys} for tier in config.tiers],
        "presets": {name: [{"tier": tier} for tier in order] for name, order in config.presets.items()},
    }


def test_a_loader_that_reads_the_release_otherwise() -> None:
    made = release()
    assert disagreement(said(made), made) == ""
    other = said(made)
    other["tiers"][0]["context_limit"] = 1
    assert disagreement(other, made).startswith("tiers: ")
    assert disagreement({**said(made), "presets": {}}, made).startswith("presets: ")
    assert disagreement({}, made).startswith("mapping_version: ")
