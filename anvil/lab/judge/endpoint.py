"""An OpenAI-compatible endpoint as a judge (lab contract 6.3)."""

from __future__ import annotations

from anvil.lab.evaluation.ask import AskFailed, ask
from anvil.lab.judge import JudgeFailed, Opinion, Sample, prompt, reply
from anvil.lab.judge.family import families
from anvil.router.config import RouterConfig, TierConfig

# enough for a judge that thinks before it answers
MAX_TOKENS = 4096
# The endpoint's window is not known; clipped prompts stay far below this.
WINDOW = 131_072
ANSWER_S = 180.0


class EndpointJudge:
    """Asks ``model`` at ``url``; ``key`` is sent as a bearer token when given."""

    def __init__(self, url: str, model: str, key: str | None = None) -> None:
        self.name = model
        self.families = families((model,))
        self._key = key
        self._tier = TierConfig(
            id="judge",
            base_url=url,
            dialect="openai",
            context_limit=WINDOW,
            privacy="cloud",
            tool_support=False,
            auth_env="",
            model=model,
            timeout=ANSWER_S,
        )
        self._config = RouterConfig(mapping_version="judge", tiers=(self._tier,))

    def opinion(self, sample: Sample) -> Opinion:
        """Raises JudgeFailed, ProtocolError."""
        try:
            return reply.read(ask(self._config, self._tier, self._key, prompt.build(sample), MAX_TOKENS).text)
        except AskFailed as error:
            raise JudgeFailed(f"the judge gave no answer: {error}") from None
