"""The files of a supervisord that runs a machine's services as plain processes. Pure text.

What varies lives in one shell launcher per program, where quoting is safe; supervisord's own format cuts values at ` ;`
and expands `%`, so it only ever sees fixed words and checked paths.
"""

from __future__ import annotations

import re
import shlex

from anvil.hosts.shell import Struct

SOCKET_PATH_BYTES = 95  # A socket address holds 104 bytes on macOS; supervisord first binds the path plus ".<pid>".
# A supervisord that was killed leaves nothing running: orphans would hold their ports against the next one's services.
_BOUND = "bound=; ! setpriv --pdeathsig TERM true 2>/dev/null || bound='setpriv --pdeathsig TERM'"
_PLAIN = re.compile(r"^[A-Za-z0-9._/-]+$")

SUPERVISORD_CONF = """\
; Written by anvil; a deploy overwrites it.
[unix_http_server]
file=%(here)s/sock
chmod=0700

[supervisord]
logfile=%(here)s/logs/supervisord.log
logfile_maxbytes=5MB
logfile_backups=2
pidfile=%(here)s/supervisord.pid
umask=027

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://%(here)s/sock

[include]
files=programs/*.conf
"""


class Program(Struct, frozen=True, kw_only=True):
    """One process as it should run. `secrets` are names read from `<root>/secrets.env` and exported to it alone.

    A process that ends within `steady_s` of its start counts as failed to start. `restart` is docker's word for it.
    """

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    secrets: tuple[str, ...] = ()
    stop_timeout_s: int = 60
    steady_s: int = 1
    restart: str = "unless-stopped"


def folder_of(root: str) -> str:
    return f"{root}/supervisor"


def usable_root(root: str) -> str:
    """Why supervisord cannot live under `root`, or ""."""
    if not _PLAIN.fullmatch(root):
        return f"{root}: only letters, digits and . _ / - are allowed in the root of a process machine"
    if len(f"{folder_of(root)}/sock") > SOCKET_PATH_BYTES:
        return f"{root}: is too long for a socket address, choose a root of at most {SOCKET_PATH_BYTES - 16} characters"
    return ""


def program_conf(root: str, program: Program) -> str:
    """supervisord's section: restarted like a container with a restart policy, started only when a deploy says so."""
    folder = folder_of(root)
    again = {"no": "false", "on-failure": "unexpected"}.get(program.restart, "true")
    return f"""\
; Written by anvil; a deploy overwrites it.
[program:{program.name}]
command=/bin/sh {folder}/programs/{program.name}.sh
directory={folder}
autostart=false
autorestart={again}
startsecs={program.steady_s}
startretries=10
stopsignal=TERM
stopwaitsecs={program.stop_timeout_s}
killasgroup=true
redirect_stderr=true
stdout_logfile={folder}/logs/{program.name}.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=3
"""


def launcher(root: str, program: Program, revision: str, env_digest: str) -> str:
    """The script that becomes the process: notes what it starts (revision, env digest, starts so far), then execs."""
    marker = f"{folder_of(root)}/run/{program.name}"
    secrets = f"export {' '.join(program.secrets)}\n" if program.secrets else ""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(program.env.items()))
    return f"""\
#!/bin/sh
# Written by anvil; a deploy overwrites it.
umask 027
starts=0
[ ! -f {marker} ] || read -r _ _ starts < {marker}
printf '%s %s %s\\n' {revision or "-"} {env_digest or "-"} "$((starts + 1))" > {marker}.new || exit 1
mv -f {marker}.new {marker}
[ ! -f {root}/secrets.env ] || . {root}/secrets.env
{secrets}{exports}cd {shlex.quote(program.cwd)} || exit 1
{_BOUND}
exec $bound {shlex.join(program.argv)}
"""


def argv_of(text: str) -> list[str]:
    """The command line of a launcher, [] when it has none."""
    words = text.partition("\nexec $bound ")[2]
    try:
        return shlex.split(words)
    except ValueError:
        return []
