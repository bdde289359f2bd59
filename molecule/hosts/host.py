"""One throw-away systemd host: an overlay over the cached root, booted by systemd-nspawn in its own namespace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import base
import cgroups
import network
import nvidia
from shell import Refusal, eventually, quiet, run, say

FILES = Path(__file__).resolve().parent / "files"
BOOT_SECONDS = 60
KILL_SECONDS = 10
CGROUPS = "[Service]\nExecStartPre=/usr/local/sbin/cgroup-rw\n"


@dataclass(frozen=True)
class Host:
    """A host's name, its number in the lab's network 10.231.<lab>.0/24, and whether it has cards and Docker.

    `shown`: folders of this machine that it sees read-only, as "PATH:PATH-THERE".
    """

    name: str
    number: int = 0
    gpus: bool = False
    docker: bool = True
    shown: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return base.hosts() / self.name

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"


def up(host: Host) -> None:
    """Boot the host and return once its services run; a leftover of the same name is removed first."""
    lower, compose, key = base.ensure_root(base.HOST), base.ensure_compose(), base.ensure_key()
    down(host)
    try:
        mount(host, lower)
        furnish(host, key, compose)
        boot(host, network.connect(host.name, host.number))
        meet(host, key)
    except BaseException:
        say(console_tail(host))
        down(host)
        raise


def mount(host: Host, lower: Path) -> None:
    for part in ("upper", "work", "root", "docker"):
        (host.folder / part).mkdir(parents=True)
    layers = f"lowerdir={lower},upperdir={host.folder / 'upper'},workdir={host.folder / 'work'}"
    run("mount", "-t", "overlay", "overlay", "-o", layers, host.root)


def furnish(host: Host, key: Path, compose: Path) -> None:
    """Name, keys, user and tools. The empty resolv.conf keeps sudo from waiting for a name server."""
    etc = host.root / "etc"
    (etc / "hostname").write_text(f"{host.name}\n")
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {host.name}\n")
    (etc / "resolv.conf").unlink(missing_ok=True)
    (etc / "resolv.conf").write_text("")
    furnish_ssh(host, key)
    if host.docker:
        furnish_docker(host, compose)
    else:
        for unit in ("docker.service", "docker.socket", "containerd.service"):
            (etc / "systemd/system" / unit).symlink_to("/dev/null")
        (host.root / "usr/bin/docker").unlink()
    if host.gpus:
        nvidia.install(host.root)


def furnish_ssh(host: Host, key: Path) -> None:
    root, etc = host.root, host.root / "etc"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", host.folder / "hostkey")
    for old in (etc / "ssh").glob("ssh_host_*"):
        old.unlink()
    shutil.copy(host.folder / "hostkey", etc / "ssh/ssh_host_ed25519_key")
    shutil.copy(host.folder / "hostkey.pub", etc / "ssh/ssh_host_ed25519_key.pub")
    run("chroot", root, "useradd", "-m", "-s", "/bin/bash", "-G", "sudo,docker", "anvil")
    for home in ("home/anvil", "root"):
        run("install", "-d", "-m", "700", root / home / ".ssh")
        run("install", "-m", "600", key.with_suffix(".pub"), root / home / ".ssh/authorized_keys")
    run("chroot", root, "chown", "-R", "anvil:", "/home/anvil/.ssh")
    (etc / "sudoers.d/anvil").write_text("anvil ALL=(ALL) NOPASSWD:ALL\n")
    (etc / "sudoers.d/anvil").chmod(0o440)


def furnish_docker(host: Host, compose: Path) -> None:
    run("install", "-D", "-m", "755", compose, host.root / "usr/libexec/docker/cli-plugins/docker-compose")
    run("install", "-D", "-m", "755", FILES / "cgroup-rw", host.root / "usr/local/sbin/cgroup-rw")
    drop_in = host.root / "etc/systemd/system/docker.service.d/cgroup-rw.conf"
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text(CGROUPS)


def boot(host: Host, space: Path) -> None:
    """Start nspawn detached from this terminal and session. /var/lib/docker is a plain folder: overlay2 needs one."""
    argv = [
        "systemd-nspawn",
        "-q",
        "-M",
        base.tag(host.name),
        "-D",
        str(host.root),
        "--register=no",
        "--keep-unit",
    ]
    argv += [f"--network-namespace-path={space}", "--boot", "--console=pipe"]
    argv += ["--capability=all", "--system-call-filter=add_key keyctl bpf"]
    argv += [f"--bind={host.folder / 'docker'}:/var/lib/docker"]
    argv += [f"--bind-ro={each}" for each in host.shown]
    environment = os.environ | {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1"}
    with (host.folder / "console.log").open("wb") as console:
        process = subprocess.Popen(
            cgroups.launcher(host.name) + argv,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            env=environment,
            start_new_session=True,
        )
    (host.folder / "nspawn.pid").write_text(f"{process.pid}\n")


def meet(host: Host, key: Path) -> None:
    """Wait for SSH, accept the key we made and no other, write what clients need, wait for the services."""
    where, known = network.address(host.number), host.folder / "known_hosts"
    expected = " ".join((host.folder / "hostkey.pub").read_text().split()[:2])
    scan = ("ssh-keyscan", "-T", "1", "-t", "ed25519", where)

    def answers() -> bool:
        done = subprocess.run(scan, capture_output=True, text=True, check=False)
        known.write_text(done.stdout)
        return bool(done.stdout.strip())

    if not eventually(answers, BOOT_SECONDS):
        raise Refusal(f"{host.name} did not answer on {where}:22 within {BOOT_SECONDS} s")
    if known.read_text().split(maxsplit=1)[1].strip() != expected:
        raise Refusal(f"{where}:22 answers with another host key: something else owns that address")
    host.ssh_config.write_text(ssh_config(host, key, known))
    state = subprocess.run(ssh(host, "systemctl is-system-running --wait"), capture_output=True, text=True, check=False)
    if state.stdout.strip() != "running":
        failed = subprocess.run(
            ssh(host, "systemctl --failed --no-legend"), capture_output=True, text=True, check=False
        )
        raise Refusal(f"{host.name} is {state.stdout.strip() or 'silent'}: {failed.stdout.strip()}")


def ssh(host: Host, command: str) -> list[str]:
    return ["ssh", "-F", str(host.ssh_config), host.name, command]


def ssh_config(host: Host, key: Path, known: Path) -> str:
    return (
        f"Host {host.name}\n  HostName {network.address(host.number)}\n  User anvil\n  IdentityFile {key}\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {known}\n  StrictHostKeyChecking yes\n  BatchMode yes\n"
        "  ConnectTimeout 10\n"
    )


def down(host: Host) -> None:
    """End the host and remove every trace; safe to repeat, and after a run that was killed anywhere."""
    if pid := running(host):
        kill(pid)
    if os.path.ismount(host.root) and not quiet("umount", host.root):
        quiet("umount", "-l", host.root)
    network.disconnect(host.name)
    if os.path.ismount(host.root):
        raise Refusal(f"{host.root} is still mounted: unmount it by hand, nothing was deleted")
    shutil.rmtree(host.folder, ignore_errors=True)
    cgroups.remove(host.name)


def running(host: Host) -> int | None:
    """The pid of this host's nspawn; a recycled pid or another program is not it."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"systemd-nspawn") and str(host.root).encode() in words:
            return int(command.parent.name)
    return None


def kill(pid: int) -> None:
    """End nspawn and its PID 1, whose death takes every process of the host along: nothing there needs saving."""
    leaders = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    for process in (*leaders, pid):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    if not eventually(lambda: gone(pid) and all(map(gone, leaders)), KILL_SECONDS):
        raise Refusal(f"pid {pid} (systemd-nspawn) outlived SIGKILL for {KILL_SECONDS} s")


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def console_tail(host: Host) -> str:
    log = host.folder / "console.log"
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.is_file() else ""
