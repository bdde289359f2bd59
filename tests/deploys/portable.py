"""A PATH as macOS gives it: POSIX tools and BSD ones, without timeout, flock, sha256sum or GNU stat."""

from __future__ import annotations

import shutil
from pathlib import Path

# What POSIX or macOS has under this name and with the options that our scripts use.
POSIX = (
    "sh", "cat", "chmod", "chown", "cp", "cut", "dirname", "find", "grep", "head", "ls", "mkdir", "mktemp", "mv", "rm",
    "sed", "sleep", "tail", "touch", "tr", "curl", "env",
)  # fmt: skip
DIGESTS = ("shasum", "openssl")
# BSD tools differ where it hurts: no `-c`, no `-f` of readlink, counts with blanks before them, base64 in one line.
BSD = {
    "stat": """#!{sh}
[ "$1" = -f ] || {{ echo "stat: illegal option -- ${{1#-}}" >&2; exit 1; }}
format=$2
shift 2
[ "$1" != -- ] || shift
[ "$format" = '%Lp %Su:%Sg %u:%g' ] || {{ echo "stat: no such format in this imitation: $format" >&2; exit 1; }}
exec {stat} -c '%a %U:%G %u:%g' "$1"
""",
    "readlink": """#!{sh}
case $1 in -*) echo "readlink: illegal option" >&2; exit 1 ;; esac
exec {readlink} "$1"
""",
    "wc": """#!{sh}
printf '%8s\\n' "$({wc} "$@")"
""",
    "base64": """#!{sh}
[ $# -eq 0 ] || {{ echo "base64: unrecognized option" >&2; exit 64; }}
exec {base64} -w 0
""",
}


def portable(folder: Path, digest: str) -> Path:
    """A folder that is the whole PATH; `digest` is the one tool that makes SHA-256 sums."""
    folder.mkdir()
    for name in (*POSIX, digest):
        found = shutil.which(name)
        assert found is not None, name
        (folder / name).symlink_to(found)
    real = {name: shutil.which(name) for name in ("sh", *BSD)}
    for name, text in BSD.items():
        (folder / name).write_text(text.format(**real))
        (folder / name).chmod(0o755)
    return folder
