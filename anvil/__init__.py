"""anvil: declarative deploys for GPU hosts and a quality-gated LLM router."""

__version__ = "0.1.0"
