"""What multiplexer.toml means (contract lab.md 11, operations.md 16); the render reads its own text back with this."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from anvil.router.config import ConfigError

Text = Annotated[str, Meta(min_length=1, max_length=256)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(ge=0)]
Gigabytes = Annotated[float, Meta(gt=0)]
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_UNKNOWN = re.compile(r"Object contains unknown field `(.+?)`")


class Row(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[[registry]]`: one model. Sizes in 10^9 bytes, None when unknown.

    container: docker runtime: the container that compose created; process runtime: a name for messages.
    host: where its port is; default the container's name (docker) or 127.0.0.1 (process).
    command, environment: process runtime only; environment is added to the multiplexer's own.
    """

    name: Text
    container: str
    port: Port
    host: Text | None = None
    est_weight_gb: Gigabytes | None = None
    vram_gb: Gigabytes | None = None
    start_timeout_s: Annotated[float, Meta(gt=0)] = 600
    command: tuple[str, ...] = ()
    environment: dict[str, str] = {}


class MultiplexerConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole file. ``gpu`` is the index or UUID nvidia-smi is asked about; needed where it sees several cards."""

    registry: Annotated[tuple[Row, ...], Meta(min_length=1)]
    listen: str = "127.0.0.1:8000"
    auth_env: tuple[Text, ...] = ()
    ram_cap_gb: Gigabytes | None = None
    drain_timeout_s: Seconds = 30
    min_resident_s: Seconds = 20
    runtime: Literal["docker", "process"] = "docker"
    docker_socket: Text = "/var/run/docker.sock"
    gpu: Text | None = None

    @property
    def address(self) -> tuple[str, int]:
        return split_listen(self.listen)

    def base_url(self, row: Row) -> str:
        """Where a model's engine listens, without a path."""
        host = row.host or (row.container if self.runtime == "docker" else "127.0.0.1")
        return f"http://[{host}]:{row.port}" if ":" in host else f"http://{host}:{row.port}"


def load(path: Path) -> MultiplexerConfig:
    """Raises ConfigError with every problem found, each naming file, table, key and a fix."""
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}; check the path"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None
    return parse(text, str(path))


def parse(text: str, file: str) -> MultiplexerConfig:
    """Raises ConfigError."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError([f"{file}: is not valid TOML: {error}"]) from None
    try:
        config = msgspec.convert(document, MultiplexerConfig)
    except msgspec.ValidationError as error:
        raise ConfigError([f"{file}: {_sentence(str(error))}"]) from None
    problems = [f"{file}: {problem}" for problem in _problems(config)]
    if problems:
        raise ConfigError(problems)
    return config


def tokens(config: MultiplexerConfig, environ: Mapping[str, str]) -> tuple[bytes, ...]:
    """Values of the auth_env variables. Raises ConfigError naming each that is missing or blank."""
    missing = [name for name in config.auth_env if not environ.get(name, "").strip()]
    if missing:
        raise ConfigError([f"auth_env: {name} is not set; export it or drop it from the list" for name in missing])
    return tuple(environ[name].strip().encode() for name in config.auth_env)


def split_listen(listen: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``. Raises ValueError."""
    host, _, port = listen.rpartition(":")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f'listen "{listen}" must be an address and a port, like "127.0.0.1:8000"')
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f'listen "{listen}": {host or "nothing"} is not an IP address; use 127.0.0.1') from None
    return host, int(port)


def _problems(config: MultiplexerConfig) -> Iterator[str]:
    try:
        host, _ = config.address
    except ValueError as error:
        yield str(error)
    else:
        if not config.auth_env and not ipaddress.ip_address(host).is_loopback:
            yield f'auth_env: listening on {host} needs a token; name its variable, like auth_env = ["ANVIL_TOKEN"]'
    yield from _doubled(config)
    for row in config.registry:
        yield from _row_problems(row, config.runtime)


def _doubled(config: MultiplexerConfig) -> Iterator[str]:
    columns: dict[str, list[Any]] = {
        "name": [row.name for row in config.registry],
        "container": [row.container for row in config.registry],
    }
    for key, values in columns.items():
        for value, count in Counter(values).items():
            if count > 1:
                yield f'[[registry]]: {key} "{value}" is there {count} times; each row needs its own'


def _row_problems(row: Row, runtime: str) -> Iterator[str]:
    where = f'[[registry]] "{row.name}"'
    if not _CONTAINER.fullmatch(row.container):
        yield f'{where}: container "{row.container}" is no container name'
    if runtime == "process" and not row.command:
        yield f'{where}: runtime "process" needs a command, like ["llama-server", "--port", "{row.port}"]'
    if runtime == "docker" and (row.command or row.environment):
        yield f'{where}: command and environment belong to runtime = "process"; remove them or set it'


def _sentence(message: str) -> str:
    """msgspec's message with the path in front: ``registry[0].port: Expected `int`, got `str```."""
    what, _, path = message.partition(" - at `$")
    where = path.rstrip("`").lstrip(".")
    what = _UNKNOWN.sub(r'unknown key "\1"; correct or remove it', what)
    return f"{where}: {what}" if where else what
