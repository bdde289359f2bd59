"""``anvil serve --echo``: no configuration, no tier; every dialect answers "You said: ..." (contract 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anvil.router import dialects
from anvil.router.backends import Binding
from anvil.router.config import RouterConfig, config_hash
from anvil.router.exchange import Exchange, Plain
from anvil.router.gate import unfold
from anvil.router.loading import Loaded
from anvil.router.profile import Profile
from anvil.router.turn import Answer, Finish, Text, Usage

if TYPE_CHECKING:
    from anvil.router.runtime import Runtime


def loaded() -> Loaded:
    """A configuration without tiers, marked as echo."""
    config = RouterConfig(mapping_version="echo", tiers=())
    return Loaded(
        config=config,
        profile=Profile.seed(config),
        binding=Binding({}, {}, []),
        config_hash=config_hash(config, ""),
        release=None,
        mode=None,
        tokens=(),
        notes=[],
        echo=True,
    )


async def answer(runtime: Runtime, exchange: Exchange) -> Plain | None:
    """What the caller said, rendered like any tier's answer."""
    turn = exchange.turn
    assert turn is not None
    said = turn.signals.user_text.strip()
    text = f"You said: {said}" if said else "You said: (no user message)"
    usage = Usage(turn.signals.words, len(text.split()), estimated=True)
    spoken = Answer([Text(text)], Finish("stop"), usage)
    module = dialects.caller(turn.dialect)
    reply = runtime.reply(turn.model or module.DEFAULT_MODEL, turn.signals.words, False)
    exchange.committed = True
    if not turn.stream:
        return Plain(200, module.render(spoken, turn, reply, exchange.lossy))
    writer = module.writer(turn, reply)
    frames = [writer.start(), *map(writer.write, unfold(spoken)), writer.finish()]
    await runtime.start_stream(exchange, None)
    await exchange.outlet.send(b"".join(frames))
    return None
