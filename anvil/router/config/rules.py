"""What one value of router.toml may be. A rule takes the decoded TOML value and returns the value to keep.

Rules raise ValueError with the rest of a sentence that begins with the key: "must be ..., not ...".
"""

from __future__ import annotations

import ipaddress
import math
import re
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

Rule = Callable[[object], object]

ENV_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_ACCESS_KEY = re.compile(r"(AKIA|ASIA)[0-9A-Z]{16}")
_OBSERVER = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*")
_MAX_INT = 2**63 - 1


def shown(value: object) -> str:
    """A value as a message may quote it: TOML words, cut short."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def wanted(what: str, value: object) -> ValueError:
    return ValueError(f"must be {what}, not {shown(value)}")


def boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise wanted("true or false", value)


def integer(low: int, high: int | None = None) -> Rule:
    what = f"a whole number >= {low}" if high is None else f"a whole number from {low} to {high}"

    def rule(value: object) -> int:
        if type(value) is int and low <= value <= (_MAX_INT if high is None else high):
            return value
        raise wanted(what, value)

    return rule


def number(low: float, high: float | None = None, *, above: bool = False) -> Rule:
    """A finite int or float, kept as float; ``above`` excludes ``low`` itself."""
    bound = f"> {low:g}" if above else f">= {low:g}"
    what = f"a number {bound}" if high is None else f"a number from {low:g} to {high:g}"

    def rule(value: object) -> float:
        if type(value) not in (int, float):
            raise wanted(what, value)
        found = _finite(value, what)
        if found < low or (above and found == low) or (high is not None and found > high):
            raise wanted(what, value)
        return found

    return rule


def _finite(value: object, what: str) -> float:
    try:
        found = float(value)  # type: ignore[arg-type]  # the caller has checked for int or float
    except OverflowError:
        raise wanted(what, value) from None
    if not math.isfinite(found):
        raise wanted(f"{what} (finite)", value)
    return found


def zero_or(rule: Rule, what: str) -> Rule:
    def either(value: object) -> object:
        if type(value) in (int, float) and value == 0:
            return 0.0
        try:
            return rule(value)
        except ValueError:
            raise wanted(what, value) from None

    return either


def text(value: object) -> str:
    """A string with something in it."""
    if isinstance(value, str) and value.strip():
        return value
    raise wanted("a non-empty string", value)


def optional_text(value: object) -> str | None:
    """A string; an empty one means "not set"."""
    if isinstance(value, str):
        return value if value.strip() else None
    raise wanted("a string", value)


def any_text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise wanted("a string", value)


def one_of(*words: str) -> Rule:
    what = " or ".join([f'"{word}"' for word in words])

    def rule(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise wanted(what, value)

    return rule


def env_name(value: object) -> str:
    """The name of an environment variable. A value that looks like a secret is not repeated."""
    if not isinstance(value, str):
        raise ValueError("must be the name of one environment variable, in quotes")
    if ENV_NAME.fullmatch(value) and not _ACCESS_KEY.fullmatch(value):
        return value
    raise ValueError(
        "must be the NAME of an environment variable (capitals, digits, _; a letter first), never a secret itself"
    )


def env_names(value: object) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    if not 1 <= len(names) <= 8:
        raise ValueError(f"must be one name or a list of 1 to 8 names, not {len(names)}; leave the key out for no auth")
    found = tuple([env_name(name) for name in names])
    if len(set(found)) < len(found):
        raise ValueError("names a variable twice")
    return found


def strings(value: object) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise wanted("a list of strings", value)


def observer(value: object) -> str:
    if isinstance(value, str) and _OBSERVER.fullmatch(value):
        return value
    raise wanted('"module:name"', value)


def json_table(value: object) -> dict[str, object]:
    """An inline table that JSON can hold. TOML dates and non-finite numbers cannot be written as JSON."""
    if not isinstance(value, dict):
        raise wanted("an inline table", value)
    _require_json(value, "")
    return value


def _require_json(value: object, where: str) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _require_json(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _require_json(inner, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"holds a number that is not finite at {where}")
    elif type(value) is int and abs(value) > _MAX_INT:
        raise ValueError(f"holds a number beyond 64 bits at {where}")
    elif not isinstance(value, str | int | float):
        raise ValueError(f"holds {shown(value)} at {where}, which JSON cannot express; write it as a string")


def base_url(value: object) -> str:
    """An http(s) address of a tier without user info, query or fragment, and never a link-local one."""
    address = _http_url(value)
    host = _host(address)
    if _link_local(host):
        raise ValueError(f"must not be a link-local address ({host})")
    return address


def public_url(value: object) -> str:
    address = _http_url(value)
    _host(address)
    if urlsplit(address).path not in ("", "/"):
        raise ValueError('must be an http(s) URL without a path beyond "/"')
    return address


def _http_url(value: object) -> str:
    if not isinstance(value, str):
        raise wanted("an http(s) URL", value)
    # the value itself may hold a password, so messages never quote it
    if any(char.isspace() or not char.isprintable() for char in value):
        raise ValueError("must be an http(s) URL without blanks or control characters")
    if not value.isascii():
        raise ValueError("must be ASCII; write the host in punycode and escape the path")
    if "?" in value or "#" in value:
        raise ValueError("must not have a query or a fragment")
    return value


def _host(address: str) -> str:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a valid URL; check host and port") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError('must begin with "http://" or "https://"')
    if "@" in parts.netloc:
        raise ValueError("must not hold user info; name the credential's variable in auth_env")
    if not host or port == 0:
        raise ValueError("must name a host" if not host else "has port 0")
    return host


def _link_local(host: str) -> bool:
    """Also for the spellings inet_aton knows (one number, hexadecimal) and for IPv4 inside IPv6."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host)).is_link_local
        except OSError:
            return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_link_local or (mapped is not None and mapped.is_link_local)
