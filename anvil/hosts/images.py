"""Images on a docker host: present by the digest the topology names, or pulled where people can watch."""

from __future__ import annotations

from typing import Literal

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host

from anvil.hosts.announce import announce
from anvil.hosts.compose import UP_SECONDS
from anvil.hosts.docker import ask, classify, documents, locked
from anvil.hosts.services import failing
from anvil.hosts.shell import COMMAND_SECONDS, Answer, Commands, reading


class ImageAnswer(Answer, frozen=True, kw_only=True):
    image_id: str = ""
    repo_digests: tuple[str, ...] = ()


class ImagePresent(FactBase[ImageAnswer]):
    """One image by reference; "absent" when this host does not hold it."""

    def command(self, reference: str) -> StringCommand:
        return ask(f'limited {COMMAND_SECONDS} docker image inspect "$1"', reference)

    def process(self, output: list[str]) -> ImageAnswer:
        got = reading(output)
        status, error = classify(got)
        found = documents(got.text) if status == "ok" else []
        if not found:
            return ImageAnswer(status="absent" if status == "ok" else status, error=error)
        return ImageAnswer(
            status="ok", image_id=found[0].get("Id", ""), repo_digests=tuple(found[0].get("RepoDigests") or ())
        )


@operation()
def image_present(reference: str, root: str, pull: Literal["missing", "never"] = "missing") -> Commands:
    """
    Have the image on the host before anything that needs it is touched.

    + pull: "never" for images that are built or loaded by hand
    """
    answer = host.get_fact(ImagePresent, reference)
    if answer.ok:
        host.noop(f"{reference} is present")
        return
    announce(f"{reference}: {'not on this host' if answer.status == 'absent' else answer.error}")
    if answer.status != "absent":
        yield failing(f"{reference}: {answer.error}")
    elif pull == "never":
        yield failing(f'{reference} is not on this host and pull = "never": load it with `docker load`')
    else:
        # Nobody waits for a pull whose operator has gone; the next one resumes it.
        yield locked(root, "docker", "pull", reference, seconds=UP_SECONDS, finish=False)
