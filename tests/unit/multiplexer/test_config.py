"""multiplexer.toml: what is read, and what is refused with which sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from anvil.cli.multiplexer import multiplexer
from anvil.multiplexer.config import parse
from anvil.router.config import ConfigError

ROW = '[[registry]]\nname = "a"\ncontainer = "c-a"\nport = 30001\n'
SECOND = '[[registry]]\nname = "b"\ncontainer = "c-b"\nport = 30002\n'


def test_defaults_are_the_contracts() -> None:
    config = parse(ROW, "f")
    assert config.address == ("127.0.0.1", 8000)
    assert (config.drain_timeout_s, config.min_resident_s, config.ram_cap_gb) == (30, 20, None)
    assert config.registry[0].start_timeout_s == 600
    assert config.base_url(config.registry[0]) == "http://c-a:30001"


def test_processes_listen_on_loopback_and_a_row_may_say_otherwise() -> None:
    text = 'runtime = "process"\n' + ROW + 'command = ["x"]\n' + SECOND + 'command = ["y"]\nhost = "::1"\n'
    config = parse(text, "f")
    assert [config.base_url(row) for row in config.registry] == ["http://127.0.0.1:30001", "http://[::1]:30002"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("registry = []", "registry"),
        ("listen = 3\n" + ROW, "f: listen: Expected `str`"),
        ("lisen = 'x'\n" + ROW, 'unknown key "lisen"'),
        (ROW + "prt = 3\n", 'f: registry[0]: unknown key "prt"'),
        (ROW + ROW, '[[registry]]: name "a" is there 2 times'),
        ("listen = '0.0.0.0:8000'\n" + ROW, "auth_env: listening on 0.0.0.0 needs a token"),
        ("listen = '[::]:8000'\n" + ROW, "auth_env: listening on :: needs a token"),
        ("listen = 'localhost:8000'\n" + ROW, "use 127.0.0.1"),
        ("listen = '127.0.0.1'\n" + ROW, "an address and a port"),
        ("listen = '127.0.0.1:99999'\n" + ROW, "an address and a port"),
        ("runtime = 'process'\n" + ROW, "needs a command"),
        (ROW + "command = ['x']\n", "belong to runtime"),
        (ROW.replace("c-a", "../x"), "no container name"),
        ("drain_timeout_s = -1\n" + ROW, "drain_timeout_s"),
        ("= 3", "not valid TOML"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f")
    assert said in str(caught.value)
    assert all(line.startswith("f: ") for line in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        (None, {}, "cannot be read"),
        ("listen = '0.0.0.0:1'\n" + ROW, {}, "needs a token"),
        ("auth_env = ['ANVIL_T']\n" + ROW, {"ANVIL_T": " "}, "auth_env: ANVIL_T is not set"),
    ],
)
def test_the_command_refuses_with_2(tmp_path: Path, text: str | None, environ: dict[str, str], said: str) -> None:
    file = tmp_path / "multiplexer.toml"
    if text is not None:
        file.write_text(text)
    result = CliRunner().invoke(multiplexer, ["--config", str(file)], env=environ)
    assert result.exit_code == 2
    assert said in result.output
