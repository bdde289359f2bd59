"""A scripted docker, curl, nvidia-smi and ss: containers are rows of state/containers.json, nothing ever runs.

Lies as `bin/docker` (and so on) in a machine's folder, with its state in `state` beside it: `containers.json`, the lists
`images`, `network`, `volume` and `weights`, nvidia-smi's tables `gpus` and `processes`, `ports` as `ss` prints them, and
`down` (the daemon does not answer), `calls`, every request to docker that changes something.
"""

import json  # It is started about a hundred times a deploy: what few of its callers need is imported where it is.
import os
import sys
import time

STATE = os.path.join(os.path.dirname(os.path.dirname(sys.argv[0])), "state")
STAMP = "%Y-%m-%dT%H:%M:%S.000000000Z"
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"


def text(name):
    """A file of the state, None when there is none."""
    try:
        with open(f"{STATE}/{name}") as file:
            return file.read()
    except FileNotFoundError:
        return None


def rows():
    return json.loads(text("containers.json") or "{}")


def keep(found):
    with open(f"{STATE}/containers.json", "w") as file:
        json.dump(found, file)


def add(name, value):
    with open(f"{STATE}/{name}", "a") as file:
        file.write(f"{value}\n")


def note(words):
    add("calls", json.dumps(words))


def listed(name):
    return (text(name) or "").split()


def gone(what, name):
    sys.exit(f"Error response from daemon: No such {what}: {name}")


def after(words, flag, default=""):
    return words[words.index(flag) + 1] if flag in words else default


def inspected(row):
    return {
        "Name": "/" + row["name"],
        "Image": "sha256:" + row["image"][-12:],
        "RestartCount": row.get("restarts", 0),
        "Created": row["created"],
        "State": {
            "Status": row["status"],
            "StartedAt": row["started"],
            "Pid": row["pid"],
            "ExitCode": row.get("exit", 0),
            **({"Health": {"Status": row["health"]}} if row.get("health") else {}),
        },
        "Config": {"Image": row["image"], "Labels": row["labels"], "Cmd": row["command"]},
    }


def compose(words):
    if words[0] == "version":
        print("2.40.3")
        return
    note(["compose", *words])
    project, file, service, found = after(words, "-p"), after(words, "-f"), words[-1], rows()
    mine = {PROJECT: project, SERVICE: service}
    name = next((name for name, row in found.items() if mine.items() <= row["labels"].items()), None)
    if "stop" in words:
        if name:
            found[name]["status"] = "exited"
    else:
        row = made(found, name, file, mine, "--force-recreate" in words)
        found[row["name"]] = row
    keep(found)


def made(found, name, file, mine, force):
    """The service's row after an up; another definition is another container."""
    sys.path += listed("packages")
    import yaml

    with open(file) as document:
        wanted = yaml.safe_load(document)["services"][mine[SERVICE]]
    called = wanted["container_name"]
    if wanted["image"] not in listed("images"):
        gone("image", wanted["image"])
    if called in found and name != called:
        sys.exit(f"Error response from daemon: Conflict. The container name {called} is already in use")
    now = time.strftime(STAMP, time.gmtime())
    row = found.pop(name, None)
    if row is None or row["definition"] != wanted or force:
        pid = 5000 + len(listed("pids"))
        add("pids", pid)
        published = (wanted.get("ports") or [":0:0"])[0].rpartition(":")[0]
        command = [*wanted.get("entrypoint", []), *wanted.get("command", [])]
        row = {"name": called, "image": wanted["image"], "definition": wanted, "created": now, "pid": pid}
        row |= {"command": command, "labels": {**wanted["labels"], **mine}, "published": published}
        row["port"] = int(published.rpartition(":")[2])
    return {**row, "status": "running", "started": now}


def ran(words):
    """`docker run`: the programs that a deploy asks for inside an image."""
    entry, at = after(words, "--entrypoint"), words.index("--entrypoint") + 2
    while words[at].startswith("-"):
        at += 2
    image, rest = words[at], words[at + 1 :]
    if image not in listed("images"):
        sys.exit(f"Unable to find image '{image}' locally")
    volume = after(words, "-v").split(":")[0] if "-v" in words else "/"
    if not volume.startswith("/") and volume not in listed("volume"):  # docker makes one that is not there
        note(["volume", "made by run", volume])
        add("volume", volume)
    if entry == "anvil" and rest[0] == "preflight":
        note(["preflight", after(rest, "--model")])
        print(
            json.dumps({"schema": "anvil.preflight/v1", "passed": True, "tests": [{"name": "smoke", "passed": True}]})
        )
    elif entry == "hf":
        note(["hf", rest[1]])
        add("weights", rest[1].replace("/", "--"))
    elif entry == "sh" and "look" in rest:
        there = rest[rest.index("look") + 1] in listed("weights")
        print("commit c0ffee\nbytes 4\nfile x" if there else "")
    elif entry == "python3":
        print("missing 4")
    else:
        sys.exit(f"the scripted docker runs no {entry} {rest}")


def inspect(words):
    names = [word for word in words if not word.startswith("-") and word not in ("container", after(words, "-f"))]
    found = rows()
    print(json.dumps([inspected(found.get(name) or gone("container", name)) for name in names]))


def ps(words):
    project, shape = after(words, "--filter").rpartition("=")[2], after(words, "--format")
    for name, row in rows().items():
        if (project and row["labels"].get(PROJECT) != project) or (
            not {"-a", "-aq"} & {*words} and row["status"] != "running"
        ):
            continue
        address = row["published"].rpartition(":")[0]
        port = f"{address}:{row['port']}->{row['port']}/tcp" if row.get("port") else ""
        print(f"{name}|{port}" if "Ports" in shape else name)


def image(words):
    name = words[-1]
    if name not in listed("images"):
        gone("image", name)
    print(json.dumps([{"Id": "sha256:" + name[-12:], "RepoDigests": []}]))


def thing(kind):
    """`docker network` and `docker volume`."""

    def asked(words):
        if words[0] == "create":
            note([kind, *words])
            add(kind, words[-1])
        elif words[0] == "ls":
            print("\n".join(listed(kind)))
        else:
            print(words[-1] if words[-1] in listed(kind) else gone(kind, words[-1]))

    return asked


def pull(words):
    note(["pull", *words])
    add("images", words[-1])


def info(_):
    runtimes = {"runc": {}, "nvidia": {}}
    print(json.dumps({"ServerVersion": "28.1", "Runtimes": runtimes, "DockerRootDir": STATE, "CgroupVersion": "2"}))


def rm(words):
    note(["rm", *words])
    found = rows()
    for name in words[1:]:
        found.pop(name, None) or gone("container", name)
    keep(found)


def unpause(words):
    note(["unpause", *words])
    found = rows()
    found[words[-1]]["status"] = "running"
    keep(found)


def logs(words):
    print(f"log of {words[-1]}" if words[-1] in rows() else gone("container", words[-1]))


def top(words):
    print("PID")
    print(rows()[words[0]]["pid"])


def exec_(words):
    gone("container", words[0])


def docker(words):
    if text("down") is not None:
        sys.exit("Cannot connect to the Docker daemon. Is the docker daemon running?")
    known = (compose, inspect, ps, image, pull, info, rm, unpause, logs, top)
    verbs = {each.__name__: each for each in known}
    verbs |= {"network": thing("network"), "volume": thing("volume"), "run": ran, "exec": exec_}
    verbs[words[0]](words[1:])


def curl(words):
    import re

    place = re.fullmatch(r"http://(\[?[0-9a-f.:]+\]?):(\d+)(/.*)", words[-1])
    row = next((r for r in rows().values() if r.get("port") == int(place[2]) and r["status"] == "running"), None)
    if row is None:
        print("\n000")
        sys.exit(7)
    model, window = after(row["command"], "--served-model-name"), int(after(row["command"], "--max-model-len", "0"))
    body = json.dumps({"data": [{"id": model, "max_model_len": window}]}) if place[3].endswith("/models") else ""
    print(f"{body}\n200")


def nvidia_smi(words):
    print(text("gpus" if "--query-gpu" in words[0] else "processes") or "", end="")


def ss(words):
    print(text("ports") or "", end="")


{"docker": docker, "curl": curl, "nvidia-smi": nvidia_smi, "ss": ss}[os.path.basename(sys.argv[0])](sys.argv[1:])
