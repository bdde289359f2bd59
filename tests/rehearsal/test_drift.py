"""What somebody changed on the host by hand: a dry run names it, the next run repairs exactly that."""

from __future__ import annotations

import json

import pytest

from tests.rehearsal.lab import ROUTER, Lab, Run

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

SERVES = ("llamacpp-fast", "llamacpp-heavy")
ROUTERS = ("anvil-router",)
NOWHERE = "0123456789abcdef"  # a release that is not on the host
EDITS = """cd /srv/anvil
echo '# by hand' >> compose.yaml
sed -i 's/rehearsal-token/some-other-token/' secrets.env
echo '# by hand' >> router/go-live.sh
sed -i 's/rehearsal/by-hand/' router/current/router.toml
docker exec anvil-router sh -c 'kill -s HUP 1'
"""


def started(lab: Lab, *containers: str) -> list[str]:
    return [str(lab.inspect(container)["State"]["StartedAt"]) for container in containers]


def links(lab: Lab) -> list[str]:
    return lab.ssh("forge", "cd /srv/anvil && sudo sh -c 'readlink router/current router/previous' || true").split()


def health(lab: Lab) -> dict[str, str]:
    status, text = lab.ask("/healthz")
    assert status == 200, text
    told = json.loads(text)
    return {key: told[key] for key in ("status", "release", "config_hash")}


def answers(lab: Lab) -> bool:
    body = {"model": "chat", "messages": [{"role": "user", "content": "Say hello"}], "max_tokens": 8}
    return lab.ask("/v1/chat/completions", body)[0] == 200


def repaired(lab: Lab, *expected: str) -> None:
    """The next run changes exactly this, beside waiting for a serve, and the one after it nothing."""
    run = lab.deploy("full.py", "-y")
    assert run.code == 0, run.story
    assert {name for name in run.changed if "| Ready " not in name} == set(expected)
    assert lab.deploy("full.py", "-y").changed == []


def test_files_and_links_changed_by_hand_are_put_back(lab: Lab, second: Run) -> None:
    """The router was even made to read an edited release, and still names it as the one that was promoted."""
    before, pointed, running = health(lab), links(lab), started(lab, *SERVES, *ROUTERS)
    lab.ssh("forge", f"sudo sh -ec \"$(cat <<'EDITS'\n{EDITS}EDITS\n)\"")
    lab.wait("forge", f"! curl -fs {ROUTER}/healthz | grep {before['config_hash']}", 30)
    lab.ssh("forge", f"sudo ln -sfn releases/{NOWHERE} /srv/anvil/router/current")
    dry = lab.deploy("full.py", "--dry")
    for named in (
        "/srv/anvil/compose.yaml: content",
        "/srv/anvil/secrets.env: content",
        "/srv/anvil/router/go-live.sh: content",
        f"release {before['release']}: staged and validated",
        f"release {NOWHERE} -> {before['release']}",
    ):
        assert named in dry.story
    release = before["release"]
    files = ("Machine | Compose file", "Machine | Secrets", "Router | Go-live script")
    repaired(lab, *files, f"Router | Stage {release}", f"Router | Live {release}")
    assert (health(lab), links(lab), started(lab, *SERVES, *ROUTERS)) == (before, pointed, running)


def test_a_router_that_reads_an_edited_release_is_made_to_read_the_right_one(lab: Lab, second: Run) -> None:
    """The files were put back by hand; only what answers is still wrong."""
    before, running = health(lab), started(lab, *SERVES, *ROUTERS)
    path = f"/srv/anvil/router/releases/{before['release']}/router.toml"
    edit = f"sudo cp -p {path} /tmp/kept; sudo sed -i 's/rehearsal/by-hand/' {path}; docker exec anvil-router sh -c 'kill -s HUP 1'"
    lab.ssh("forge", edit)
    lab.wait("forge", f"! curl -fs {ROUTER}/healthz | grep {before['config_hash']}", 30)
    lab.ssh("forge", f"sudo cp -p /tmp/kept {path}; sudo rm /tmp/kept")
    assert "with files that were changed by hand" in lab.deploy("full.py", "--dry").story
    repaired(lab, f"Router | Live {before['release']}")
    assert (health(lab), started(lab, *SERVES, *ROUTERS)) == (before, running)


def test_a_router_that_was_removed_comes_back(lab: Lab, second: Run) -> None:
    """A serve was killed at the same time; the other serve is left alone."""
    before, running = health(lab), started(lab, "llamacpp-heavy")
    lab.ssh("forge", "docker rm -f anvil-router; docker kill llamacpp-fast")
    dry = lab.deploy("full.py", "--dry").story
    assert "fast: exited" in dry
    assert f"release {before['release']} -> {before['release']}" in dry
    repaired(lab, "Serves | Up fast", f"Router | Live {before['release']}")
    assert health(lab) == before
    assert started(lab, "llamacpp-heavy") == running


def test_docker_still_restarts_a_router_that_was_reloaded(lab: Lab, second: Run) -> None:
    """As a deploy reloads it: with `docker kill`, whatever the signal, it would count as stopped by hand."""
    before = lab.inspect("anvil-router")["RestartCount"]
    lab.ssh("forge", "docker exec anvil-router sh -c 'kill -s HUP 1'")
    pid = lab.inspect("anvil-router")["State"]["Pid"]
    lab.ssh("forge", f"sudo kill -9 {pid}")
    lab.wait("forge", f"curl -fs {ROUTER}/healthz", 60)
    assert lab.inspect("anvil-router")["RestartCount"] == before + 1
    assert lab.deploy("full.py", "-y").changed == []


def test_containers_without_their_network_are_made_anew(lab: Lab, second: Run) -> None:
    """Docker calls them healthy; nobody reaches them."""
    before = health(lab)
    release = f"Router | Live {before['release']}"
    everything = ("Machine | Network", "Serves | Up fast", "Serves | Up heavy", release)
    off = "".join(f"docker network disconnect -f anvil {each}; " for each in (*SERVES, *ROUTERS))
    lab.ssh("forge", f"{off} docker network rm anvil")
    dry = lab.deploy("full.py", "--dry").story
    for named in (
        "network anvil: ",
        "fast: its network is gone",
        "heavy: its network is gone",
        "anvil-router has lost its network",
    ):
        assert named in dry
    repaired(lab, *everything)
    assert (health(lab), answers(lab)) == (before, True)
    lab.ssh("forge", f"docker stop -t 2 {' '.join((*SERVES, *ROUTERS))}; docker network rm anvil")
    repaired(lab, *everything)
    assert (health(lab), answers(lab)) == (before, True)


def test_containers_left_under_another_name_get_their_own(lab: Lab, second: Run) -> None:
    """As after a host that died while compose replaced them: the old one is gone, the new one not yet named."""
    before, running = health(lab), started(lab, "llamacpp-heavy")
    for each in ("llamacpp-fast", "anvil-router"):
        lab.ssh("forge", f"docker rename {each} 0123456789ab_{each}; docker stop -t 2 0123456789ab_{each}")
    assert "fast: is called 0123456789ab_llamacpp-fast" in lab.deploy("full.py", "--dry").story
    repaired(lab, "Serves | Up fast", f"Router | Live {before['release']}")
    assert (health(lab), started(lab, "llamacpp-heavy")) == (before, running)
    assert "0123456789ab" not in lab.ssh("forge", "docker ps -a --format '{{.Names}}'")
