"""router.toml (contract 4)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.router.config import ConfigError, RouterConfig, Silence, config_hash, load, silence, warnings
from anvil.router.config.rules import base_url

TIER = """
[[router.tiers]]
id = "small"
base_url = "http://127.0.0.1:7001/v1"
model = "tiny"
dialect = "openai"
context_limit = 32768
privacy = "local"
tool_support = true
auth_env = "SMALL_KEY"
"""
PAID = """
[[router.tiers]]
id = "paid"
base_url = "https://api.example.com"
model = "frontier-x"
dialect = "anthropic"
context_limit = 200000
privacy = "cloud"
tool_support = true
auth_env = "PAID_KEY"
"""
HEAD = '[router]\nmapping_version = "v1"\n'


Read = Callable[..., RouterConfig]


class NoDenials:
    def verdict(self, tier: object, work_class: str | None) -> str:
        return "allow"


class Denials:
    def verdict(self, tier: object, work_class: str | None) -> str:
        return "deny"


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def reader(text: str, **environ: str) -> RouterConfig:
        file = tmp_path / "router.toml"
        file.write_text(text)
        return load(file, environ=environ)

    return reader


def problems(read: Read, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, **environ)
    return [line.split(": ", 1)[1] for line in caught.value.problems]


EXAMPLE = (
    """
[server]
auth_env = ["ROUTER_TOKEN", "ROUTER_TOKEN_NEXT"]
[router]
mapping_version   = "2026-08-a"
metered_cloud     = ["planning"]
exhaustion_status = 503
[router.breaker]
cooldown_s = 30
"""
    + TIER
    + 'role = "fast"\nmax_concurrency = 4\nextra_body_defaults = { reasoning_effort = "low" }\n'
    + "extra_body = { chat_template_kwargs = { enable_thinking = false } }\n"
    + PAID
    + "cost_input_per_mtok = 3.0\ncost_output_per_mtok = 15\ntimeout = 90\n"
    + """
[router.presets]
chat         = ["small"]
quick-edit   = ["small", "paid"]
planning     = ["PAID"]
nightly      = ["small"]
[router.preset_classes]
Nightly = "bounded-edit"
"""
)


def test_the_example_of_the_contract(read: Read) -> None:
    config = read(EXAMPLE)
    assert config.presets["planning"] == ("paid",)
    assert config.preset_classes == {"nightly": "bounded-edit"}
    assert config.server.auth_env == ("ROUTER_TOKEN", "ROUTER_TOKEN_NEXT")
    assert config.breaker.cooldown_s == 30.0
    assert config.limits.max_attempts == 3
    assert config.tiers[0].extra_body == {"chat_template_kwargs": {"enable_thinking": False}}
    assert warnings(config, NoDenials()) == []


def test_tier_defaults_depend_on_privacy_and_dialect(read: Read) -> None:
    local, cloud = read(HEAD + TIER + PAID).tiers
    assert (local.role, local.vision, local.documents, local.stable_prefix) == (None, None, False, True)
    assert (local.reasoning_field, cloud.reasoning_field) == ("reasoning_content", "")
    assert (cloud.vision, cloud.documents, cloud.stable_prefix) == (True, True, False)
    openai_cloud, anthropic_local = read(
        HEAD + PAID.replace("anthropic", "openai") + TIER.replace('"openai"', '"anthropic"')
    ).tiers
    assert (openai_cloud.documents, openai_cloud.reasoning_field) == (False, "")
    assert (anthropic_local.documents, anthropic_local.reasoning_field) == (False, "")


@pytest.mark.parametrize(("tier_id", "role"), [("fast-local", "fast"), ("Heavy-Local", "heavy"), ("cloudy", None)])
def test_role_from_the_id(read: Read, tier_id: str, role: str | None) -> None:
    assert read(HEAD + TIER.replace("small", tier_id)).tiers[0].role == role


def test_written_values_win_over_derived_ones(read: Read) -> None:
    extra = 'vision = false\nstable_prefix = false\nreasoning_field = ""\ndocuments = true\nmodel = ""\n'
    tier = read(HEAD + TIER.replace('model = "tiny"\n', "") + extra).tiers[0]
    assert (tier.vision, tier.stable_prefix, tier.reasoning_field, tier.documents) == (False, False, "", True)
    assert tier.model is None


def test_all_problems_together(read: Read) -> None:
    text = """
    colour = 1
    [server]
    max_concurency = 3
    max_body_bytes = true
    [router]
    exhaustion_status = 200
    metered_cloud = ["quick-edit", "plannning"]
    [[router.tiers]]
    id = "a"
    base_url = "ftp://h"
    context_limit = nan
    [[router.tiers]]
    id = "A"
    base_url = "http://h"
    dialect = "openai"
    context_limit = 1
    privacy = "local"
    tool_support = 1
    auth_env = "sk-secret"
    [router.presets]
    chat = ["a", "A", "nope"]
    Chat = []
    """
    found = problems(read, text)
    assert found == [
        'top level: unknown key "colour"; remove it',
        '[server]: unknown key "max_concurency"; did you mean "max_concurrency"?',
        "[server]: max_body_bytes must be a whole number from 1024 to 1073741824, not true",
        "[router]: exhaustion_status must be a whole number from 400 to 599, not 200",
        "[router]: mapping_version is missing; give this mapping a label",
        '[[router.tiers]] "a": base_url must begin with "http://" or "https://"',
        '[[router.tiers]] "a": context_limit must be a whole number >= 1, not nan',
        '[[router.tiers]] "a": missing: dialect, privacy, tool_support, auth_env',
        '[[router.tiers]] "A": tool_support must be true or false, not 1',
        '[[router.tiers]] "A": auth_env must be the NAME of an environment variable (capitals, digits, _; a letter '
        "first), never a secret itself",
        '[[router.tiers]]: the id "a" is used 2 times; ids ignore letter case',
        '[router.presets]: "chat" lists "A" twice',
        '[router.presets]: "chat" names the unknown tier "nope"',
        '[router.presets]: "Chat" and "chat" are the same name; presets ignore letter case',
        '[router.presets]: "Chat" lists no tier; list one or remove the preset',
        '[router]: metered_cloud: "quick-edit" is a preset, its work class is bounded-edit',
        '[router]: metered_cloud: "plannning" is not a work class; did you mean "planning"?; work classes: chat, '
        "bounded-edit, multi-file-refactor, planning, review, long-context",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "max_body_bytes = 1023",
        "max_body_bytes = 1.5e6",
        "max_concurrency = 0",
        "max_concurrency = 4097",
        "max_per_client = -1",
        "header_timeout_s = 0.5",
        "header_timeout_s = true",
        "header_timeout_s = inf",
        "header_timeout_s = nan",
        'body_deadline_s = "60"',
        "idle_timeout_s = 9",
        "drain_timeout_s = 3601",
        "dashboard = 1",
        'auth_env = "lower"',
        "auth_env = []",
        'auth_env = ["A", "A"]',
        'auth_env = ["A","B","C","D","E","F","G","H","I"]',
        'auth_env = "AKIAABCDEFGHIJKLMNOP"',
        "auth_env = 3",
        'public_url = "http://h/v1"',
        'public_url = "h"',
    ],
)
def test_server_rules(read: Read, line: str) -> None:
    (problem,) = problems(read, f"[server]\n{line}\n" + HEAD + TIER)
    assert problem.startswith(f"[server]: {line.split(' ')[0]}")


def test_server_edges(read: Read) -> None:
    text = 'auth_env = "A"\nmax_body_bytes = 1024\nheader_timeout_s = 60\nidle_timeout_s = 60\ndrain_timeout_s = 0\n'
    server = read(f'[server]\n{text}public_url = "https://r.example/"\n' + HEAD + TIER).server
    assert (server.auth_env, server.header_timeout_s, server.public_url) == (("A",), 60.0, "https://r.example/")


@pytest.mark.parametrize("value", ['["sk-secret"]', '{ key = "sk-secret" }', '"sk-secret"'])
def test_a_secret_where_a_name_belongs_is_never_repeated(read: Read, value: str) -> None:
    told = problems(read, HEAD + TIER.replace('auth_env = "SMALL_KEY"', f"auth_env = {value}"))
    told += problems(read, f"[server]\nauth_env = {value}\n" + HEAD + TIER)
    assert len(told) == 2
    assert all("auth_env must be" in line and "sk-secret" not in line for line in told)


@pytest.mark.parametrize("text", ["server = 1\n", "server = [1]\n"])
def test_server_not_a_table(read: Read, text: str) -> None:
    assert problems(read, text + HEAD + TIER)[0].startswith("[server]: must be a table")


@pytest.mark.parametrize(
    "line",
    [
        'mapping_version = " "',
        "cost_sync = 0",
        "relay_timeout = 0",
        "relay_timeout = inf",
        'profile_path = ""',
        "hold_ping_s = 0.5",
        "hold_ping_s = 61",
        "swap_idle_s = -1",
        'observer = "module"',
        "pins = 0",
        "limits = 1",
        "limits = { max_attempts = 21 }",
        "limits = { max_atempts = 2 }",
        "limits = { token_ceiling = true }",
        "breaker = { threshold = 0 }",
        "breaker = { cooldown_s = 0 }",
        "decisions = { ring_size = 0 }",
        "presets = { chat = 'small' }",
        "presets = 1",
        "metered_cloud = 'planning'",
        "preset_classes = { chat = 'chat' }",
        "preset_classes = { nightly = 'chat' }",
        "preset_classs = 1",
    ],
)
def test_router_rules(read: Read, line: str) -> None:
    version = "" if line.startswith("mapping") else 'mapping_version = "v"\n'
    (problem,) = problems(read, "[router]\n" + version + line + "\n" + TIER)
    assert problem.startswith(("[router", "[router."))
    assert line.split(" ")[0] in problem


@pytest.mark.parametrize(
    "line",
    [
        'role = "heavyy"',
        'role = "cloud"',
        "vision = 1",
        'tokenizer = "tiktoken"',
        "image_tokens = 0",
        'late_system = "developer"',
        "reasoning_field = 1",
        'max_tokens_field = "max"',
        "cost_input_per_mtok = -1",
        "cost_input_per_mtok = inf",
        "extra_body = 1",
        "extra_body = { a = 2026-01-01 }",
        "extra_body = { a = [ { b = nan } ] }",
        f"params = {{ a = {2**70} }}",
        "timeout = 0",
        "max_concurrency = 0",
        'colour = "red"',
    ],
)
def test_tier_rules(read: Read, line: str) -> None:
    (problem,) = problems(read, HEAD + TIER + line + "\n")
    assert problem.startswith('[[router.tiers]] "small": ')
    assert line.split(" ")[0] in problem


def test_cloud_contradictions(read: Read) -> None:
    found = problems(read, HEAD + PAID + 'role = "fast"\nswap_group = "g"\n')
    assert [line.split('"paid": ')[1][:10] for line in found] == ['role "fast', "swap_group"]


@pytest.mark.parametrize(
    "url",
    [
        "http://h/ü/v1",
        "http://hö.example/v1",
        "http://169.254.169.254/latest",
        "http://2852039166/",
        "http://0xa9fea9fe",
        "http://[fe80::1]:80",
        "http://[fe80::1%25eth0]/",
        "http://[::ffff:169.254.1.1]/",
        "http://u:p@h",
        "http://@h",
        "http://h?x=1",
        "http://h#f",
        "http://",
        "http:///v1",
        "//h",
        "h:80",
        "file:///etc",
        "http://h:99999",
        "http://h:0",
        "http://h\n",
        "http://h x",
        "http://[::1",
        7,
    ],
)
def test_refused_addresses(url: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        base_url(url)


@pytest.mark.parametrize("url", ["HTTP://Host:80/v1/", "https://api.example.com", "http://[::1]:8/v1", "http://serve"])
def test_accepted_addresses(url: str) -> None:
    assert base_url(url) == url


def test_passwords_in_addresses_are_not_repeated(read: Read) -> None:
    (problem,) = problems(read, HEAD + TIER.replace("127.0.0.1", "u:hunter2@h"))
    assert "hunter2" not in problem


def test_environment_overrides(read: Read) -> None:
    text = "[server]\nmax_concurrency = 7\n" + HEAD + TIER
    config = read(text, ANVIL_MAX_BODY_BYTES=" 2048 ", ANVIL_MAX_CONCURRENCY="9")
    assert (config.server.max_body_bytes, config.server.max_concurrency) == (2048, 9)
    assert read(text, ANVIL_MAX_CONCURRENCY=" ").server.max_concurrency == 7


@pytest.mark.parametrize("value", ["0", "1e6", "-5", "many", "1_000", "9" * 30])
def test_bad_environment_overrides(read: Read, value: str) -> None:
    (problem,) = problems(read, HEAD + TIER, ANVIL_MAX_CONCURRENCY=value)
    assert "ANVIL_MAX_CONCURRENCY" in problem


def test_keys_of_other_tools_are_ignored(read: Read) -> None:
    assert read('claude_logs = 1\nmodel_dirs = ["a"]\n[modes]\nx = 1\n' + HEAD + TIER).mapping_version == "v1"


@pytest.mark.parametrize("text", ["", "[router]\n", "router = 1", "[router]\ntiers = []", "[router]\ntiers = [1]"])
def test_nothing_to_route_to(read: Read, text: str) -> None:
    assert problems(read, text)


@pytest.mark.parametrize("data", [b"\xff", b"a = ", b"a = 1\na = 2", b"a = " + b"[" * 5000])
def test_unreadable_text(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "router.toml").write_bytes(data)
    with pytest.raises(ConfigError, match=r"router\.toml"):
        load(tmp_path / "router.toml", environ={})


def test_missing_file_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read"):
        load(tmp_path / "absent.toml", environ={})
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "router.toml").write_text(HEAD + TIER)
    assert load(Path("~/router.toml"), environ={}).mapping_version == "v1"


# ------------------------------------------------------------------------------------------------ silence


def test_silence_defaults(read: Read) -> None:
    config = read(HEAD + TIER + PAID)
    assert silence(config, config.tiers[0]) == Silence(120, 20, 300)
    assert silence(config, config.tiers[1]) == Silence(120, 120, 300)


def test_an_old_relay_timeout_keeps_its_meaning(read: Read) -> None:
    config = read(HEAD + "relay_timeout = 40\n" + TIER + PAID)
    assert silence(config, config.tiers[0]) == Silence(40, 40, 40)
    assert silence(config, config.tiers[1]) == Silence(120, 120, 120)


def test_relay_timeout_beside_another_limit_bounds_the_gap_only(read: Read) -> None:
    config = read(HEAD + "relay_timeout = 40\nhead_timeout_s = 200\n" + TIER)
    assert silence(config, config.tiers[0]) == Silence(200, 40, 300)


def test_a_tiers_timeout_overrides_all_three(read: Read) -> None:
    config = read(HEAD + TIER + "timeout = 7\n" + PAID + "timeout = 8\n")
    assert [silence(config, tier) for tier in config.tiers] == [Silence(7, 7, 7), Silence(8, 8, 8)]


# ------------------------------------------------------------------------------------- warnings and hash


def test_warnings(read: Read) -> None:
    text = (
        HEAD
        + TIER.replace("127.0.0.1", "localhost").replace('model = "tiny"\n', "")
        + 'swap_group = "g"\n'
        + PAID.replace("https", "http")
        + 'max_tokens_field = "max_completion_tokens"\n'
        + '[router.presets]\nnightly = ["paid"]\nplanning = ["paid"]\nchat = ["small"]\n"anvil/x" = ["small"]\n'
    )
    found = warnings(read(text), NoDenials())
    for part in ("localhost", "no model", "plain http", "max_tokens_field", "one member"):
        assert sum(part in line for line in found) == 1
    assert [line for line in found if "no tier may serve" in line and "planning" in line]
    assert len(found) == 10


def test_a_mistyped_preset_names_the_nearest(read: Read) -> None:
    (line,) = warnings(read(HEAD + TIER + '[router.presets]\nCaht = ["small"]\n'), NoDenials())
    assert line.endswith('did you mean "chat"?')
    (line,) = warnings(read(HEAD + TIER + '[router.presets]\nnightly = ["small"]\n'), NoDenials())
    assert "did you mean" not in line


def test_a_profile_that_denies_makes_a_preset_unservable(read: Read) -> None:
    config = read(HEAD + TIER + '[router.presets]\nchat = ["small"]\n')
    assert warnings(config, NoDenials()) == []
    (line,) = warnings(config, Denials())
    assert "class chat: the profile denies" in line


def test_hash_sees_meaning_not_spelling(read: Read) -> None:
    plain = config_hash(read(HEAD + TIER), "")
    assert len(plain) == 16
    assert int(plain, 16) >= 0
    assert config_hash(read("[server]\nidle_timeout_s = 120\n# note\n" + HEAD + "pins = true\n" + TIER), "") == plain
    assert config_hash(read(HEAD + "pins = false\n" + TIER), "") != plain
    assert config_hash(read(HEAD + TIER), "ab") != plain
    assert config_hash(read(HEAD + TIER + PAID), "") != config_hash(read(HEAD + PAID + TIER), "")


tokens = st.sampled_from(
    ["1", "-1", "0", "nan", "inf", "true", '""', '"x"', "[]", "{}", '["a"]', "2026-01-01", "1e400"]
)
keys = st.sampled_from(
    [
        *("mapping_version", "tiers", "presets", "preset_classes", "metered_cloud", "limits", "breaker", "decisions"),
        *("relay_timeout", "hold_ping_s", "observer", "profile_path", "server", "colour"),
    ]
)


@given(st.dictionaries(keys, tokens, max_size=5))
def test_no_document_escapes_as_another_exception(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, str]
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.toml"
    file.write_text("[router]\n" + "".join([f"{key} = {value}\n" for key, value in values.items()]))
    with pytest.raises(ConfigError):
        load(file, environ={})
