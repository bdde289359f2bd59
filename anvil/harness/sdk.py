"""Any program built on an SDK: base URL, token and model ids as variables."""

from __future__ import annotations

from anvil.harness.model import Document, File, Harness, Router
from anvil.harness.quoting import quoted

PATH = "the environment"


def openai(router: Router, version: str) -> Document:
    del version
    return _variables(router, "OPENAI", "OPENAI_API_KEY", f"{router.base_url}/v1")


def anthropic(router: Router, version: str) -> Document:
    """The SDK adds /v1 itself."""
    del version
    return _variables(router, "ANTHROPIC", "ANTHROPIC_AUTH_TOKEN", router.base_url)


def _variables(router: Router, prefix: str, key: str, url: str) -> Document:
    env = {f"{prefix}_BASE_URL": url, key: f"${{{router.token_env}}}", f"{prefix}_MODEL": router.pick("chat")}
    text = "".join(f"export {name}={_in_shell(value)}\n" for name, value in env.items())
    models = ", ".join(model.id for model in router.models)
    return Document(env, (File(PATH, "env", "env", env, text),), (f"Model ids: {models}.",))


def _in_shell(value: str) -> str:
    """In double quotes a reference to a variable still works; nothing else in the text may."""
    if value.startswith("${"):
        return f'"{value}"'
    return quoted(value).replace("$", "\\$").replace("`", "\\`")


OPENAI = Harness("openai", "env", PATH, openai)
ANTHROPIC = Harness("anthropic", "env", PATH, anthropic)
