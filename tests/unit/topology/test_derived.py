"""D1-D8: values that follow from several tables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anvil.harness.model import max_output
from anvil.topology import derived, hazards, schema
from anvil.topology.check import check
from anvil.topology.hazards import Checkpoint
from anvil.topology.rules_models import hazards_of
from tests.unit.topology.example import CLOUD, EXAMPLE, GONE, LOCAL, ROOT, topology

PAID = {"tiers/cloud": CLOUD, "presets/planning": ["heavy-local", "cloud"]}
METERED = {**PAID, "router/settings/metered_cloud": ["planning"]}


def test_the_address_of_a_tier_follows_runtime_and_multiplexer() -> None:
    example, local = topology(), topology(file=LOCAL)
    assert derived.base_url(example, example.tiers["fast-local"]) == "http://fast:30003/v1"
    assert derived.base_url(local, local.tiers["fast-local"]) == "http://127.0.0.1:30101/v1"
    swapped = topology(
        {
            "serves/heavy/swap_group": "big",
            "multiplexer": {"machine": "forge", "port": 8100, "docker_socket": True},
        }
    )
    assert derived.base_url(swapped, swapped.tiers["heavy-local"]) == "http://anvil-multiplexer:8100/v1"
    assert derived.auth_env(swapped, "heavy-local") == "ANVIL_ROUTER_TOKEN"
    assert derived.base_url(swapped, swapped.tiers["fast-local"]) == "http://fast:30003/v1"


def test_a_custom_engine_may_listen_elsewhere_inside() -> None:
    custom = {
        "machine": "forge",
        "engine": "custom",
        "argv": ["/serve"],
        "image": "x:1",
        "served_model": "x",
        "port": 30009,
        "container_port": 80,
        "context": 4096,
    }
    made = topology({"serves/x": custom, "tiers/x": {"serve": "x"}})
    assert derived.base_url(made, made.tiers["x"]) == "http://x:80/v1"


def test_a_tier_narrows_its_serve() -> None:
    made = topology({"tiers/fast-local/context_limit": 8000})
    assert derived.context_limit(made, made.tiers["fast-local"]) == 8000
    assert derived.context_limit(made, made.tiers["heavy-local"]) == 131072
    assert derived.model(made, made.tiers["heavy-local"]) == "gpt-oss-120b"
    assert derived.labels(made, made.tiers["fast-local"]) == ("vllm", "modelopt_fp4")


def test_thinking_off_is_merged_under_the_tiers_own_body() -> None:
    switch = {"chat_template_kwargs": {"enable_thinking": False}}
    example = topology()
    assert derived.extra_body(example, example.tiers["fast-local"]) == switch
    assert derived.extra_body(example, example.tiers["heavy-local"]) is None
    own = topology({"tiers/fast-local/extra_body": {"chat_template_kwargs": {"x": 1}, "y": 2}})
    assert derived.extra_body(own, own.tiers["fast-local"]) == {
        "chat_template_kwargs": {"enable_thinking": False, "x": 1},
        "y": 2,
    }


def test_the_window_counts_only_tiers_the_router_may_use() -> None:
    assert derived.window(topology(), "chat") == 131072
    assert derived.window(topology(PAID), "planning") == 131072
    assert derived.window(topology(METERED), "planning") == 200000
    assert derived.window(topology(METERED), "planning", {("cloud", "planning")}) == 131072
    only = topology({"tiers/cloud": CLOUD, "presets/review": ["cloud"]})
    assert derived.window(only, "review") is None
    assert derived.window(topology(), "chat", {("heavy-local", "chat")}) == 32768


def test_a_custom_preset_without_a_class_counts_every_tier() -> None:
    nightly = {"tiers/cloud": CLOUD, "presets/nightly": ["fast-local", "cloud"]}
    assert derived.window(topology(nightly), "nightly") == 200000
    classed = {**nightly, "router/settings/preset_classes": {"nightly": "chat"}}
    assert derived.window(topology(classed), "nightly") == 32768


def test_a_preset_without_a_local_tier_is_cloud_only() -> None:
    assert not derived.is_cloud_only(topology(METERED), "planning")
    assert derived.is_cloud_only(topology({"tiers/cloud": CLOUD, "presets/review": ["cloud"]}), "review")


@pytest.mark.parametrize(
    ("preset", "window", "cap"),
    [
        ("planning", 131072, 32000),
        ("review", 131072, 16000),
        ("long-context", 131072, 16000),
        ("quick-edit", 131072, 8192),
        ("chat", 131072, 8192),
        ("nightly", 131072, 8192),
        ("planning", 4096, 4096),
    ],
)
def test_output_caps(preset: str, window: int, cap: int) -> None:
    assert derived.max_tokens(preset, window) == cap
    assert max_output(preset, window) == cap  # the client projections say the same


def test_images_need_a_usable_tier_that_takes_them() -> None:
    assert not derived.takes_images(topology(), "chat")
    assert derived.takes_images(topology({"tiers/heavy-local/vision": True}), "chat")
    assert not derived.takes_images(topology(PAID), "planning")
    assert derived.takes_images(topology(METERED), "planning")
    blind = {"tiers/cloud": {**CLOUD, "vision": False}, "presets/planning": ["cloud"], "router/settings/metered_cloud": ["planning"]}  # fmt: skip
    assert not derived.takes_images(topology(blind), "planning")


def test_the_mode_decides_what_is_active() -> None:
    example = topology()
    agentic = derived.in_mode(example, "agentic")
    assert derived.active(example).serves == ("heavy", "fast")
    assert derived.active(agentic).serves == ("heavy",)
    assert derived.active(agentic).tiers == ("heavy-local",)
    assert derived.active(agentic).presets["chat"] == ("heavy-local",)
    assert derived.in_mode(example, None) is example
    with pytest.raises(ValueError, match="'night' is not declared; known: flexibility, agentic"):
        derived.in_mode(example, "night")


def test_a_mode_that_leaves_a_serve_out_leaves_its_tiers_out() -> None:
    implied = topology({"modes/agentic/tiers": GONE, "mode": "agentic"})
    assert derived.active(implied).tiers == ("heavy-local",)
    assert check(implied) == []


def test_without_modes_everything_is_active() -> None:
    plain = topology({"mode": GONE, "modes": GONE, "serves/fast/state": "down"})
    assert derived.active(plain).tiers == ("fast-local", "heavy-local")


def test_secret_names_per_machine() -> None:
    made = topology(METERED)
    assert derived.secret_names(made, "forge") == (
        ("ANVIL_CLOUD_KEY", "ANVIL_ROUTER_TOKEN"),
        ("ANVIL_FAST_LOCAL_KEY", "ANVIL_HEAVY_LOCAL_KEY", "HF_TOKEN"),
    )
    assert derived.secret_names(made, "mini").all() == ()
    agentic = derived.in_mode(topology(), "agentic")
    assert derived.router_secret_names(agentic).optional == ("ANVIL_HEAVY_LOCAL_KEY",)


def test_roles_variables_and_needs() -> None:
    made = topology({"tiers/a.b-c": {"serve": "fast", "role": "heavy"}})
    assert derived.role("fast-local", made.tiers["fast-local"]) == "fast"
    assert derived.role("a.b-c", made.tiers["a.b-c"]) == "heavy"
    assert derived.auth_env(made, "a.b-c") == "ANVIL_A_B_C_KEY"
    assert derived.memory_need_gb(made, made.serves["heavy"]) == pytest.approx(0.88 * 96)
    assert derived.needle_tokens(made.serves["heavy"]) == 126976
    assert derived.needle_tokens(made.serves["fast"]) == 28672
    small = topology({"serves/fast/context": 4096})
    assert derived.needle_tokens(small.serves["fast"]) == 2048


_settings = st.lists(st.sampled_from(derived.WORK_CLASSES), unique=True)
_windows = st.integers(1024, 300_000)


@given(
    _settings,
    _windows,
    _windows,
    st.lists(st.sampled_from(["fast-local", "heavy-local", "cloud"]), min_size=1, unique=True),
)
def test_declared_windows_are_those_of_usable_tiers(metered: list[str], fast: int, cloud: int, pool: list[str]) -> None:
    """A12: declared == max over the usable tiers, and no tier admits more than its engine's window."""
    made = topology(
        {
            "serves/fast/context": fast,
            "tiers/cloud": {**CLOUD, "context_limit": cloud},
            "router/settings/metered_cloud": metered,
            "presets/planning": pool,
        }
    )
    limits = {"fast-local": fast, "heavy-local": 131072, "cloud": cloud}
    usable = [limits[tier] for tier in pool if tier != "cloud" or "planning" in metered]
    assert derived.window(made, "planning") == max(usable, default=None)
    assert derived.context_limit(made, made.tiers["fast-local"]) <= made.serves["fast"].context


def test_canonical_json() -> None:
    assert derived.canonical({"b": 1, "a": ["ä", 1.5, None]}) == '{"a":["ä",1.5,null],"b":1}'.encode()
    with pytest.raises(ValueError, match="JSON"):
        derived.canonical(float("inf"))


HAZARDS: list[tuple[dict[str, Any], str]] = [
    ({"name": "nvidia/Qwen3.6-27B-NVFP4"}, "modelopt-needs-its-name"),
    ({"name": "RedHatAI/X-NVFP4", "quantization": "compressed-tensors"}, "compressed-tensors-names-itself"),
    ({"name": "nvidia/X-32B-NVFP4", "quantization": "modelopt_fp4", "compute": "12.0"}, "nvfp4-dense-good"),
    ({"name": "nvidia/X-30B-A3B-NVFP4", "quantization": "modelopt_fp4", "compute": "12.0"}, "nvfp4-moe-immature"),
    ({"name": "o/122B-A10B-MXFP4", "quantization": "compressed-tensors", "compute": "12.0"}, "mxfp4-misread-as-w4a4"),
    ({"name": "x/Y-30B-A3B-FP8", "compute": "12.0"}, "fp8-moe-hangs"),
    ({"name": "x/Y-FP8-block", "compute": "12.0"}, "fp8-block-slow"),
    ({"name": "x/Y-AWQ"}, "awq-fine"),
]  # fmt: skip


@pytest.mark.parametrize(("checkpoint", "hazard"), HAZARDS)
def test_each_hazard_meets_its_checkpoint(checkpoint: dict[str, Any], hazard: str) -> None:
    assert [found.id for found in hazards.matching(Checkpoint(**checkpoint))] == [hazard]


@pytest.mark.parametrize(
    "checkpoint",
    [
        {"name": "nvidia/Qwen3.6-27B-NVFP4", "quantization": "modelopt_fp4", "compute": "9.0"},
        {"name": "nvidia/Qwen3.6-27B-NVFP4", "engine": "sglang"},
        {"name": "RedHatAI/X-NVFP4"},
        {"name": "nvidia/X-NVFP4", "image": "vllm/vllm-openai:v0.8.5"},
        {
            "name": "x/Y-MXFP4",
            "quantization": "compressed-tensors",
            "compute": "12.0",
            "prestart": ("rm -rf /usr/lib/python3/dist-packages/flashinfer/cute_dsl",),
        },
        {"name": "openai/gpt-oss-120b", "compute": "12.0"},
    ],
)
def test_hazards_stay_silent_otherwise(checkpoint: dict[str, Any]) -> None:
    assert hazards.matching(Checkpoint(**checkpoint)) == ()


def test_every_hazard_has_a_source_a_version_range_and_a_case() -> None:
    known = hazards.hazards()
    assert all(hazard.source.startswith("https://") and hazard.sentence for hazard in known)
    assert all(hazards._inside("x:v99.0", hazard.versions) for hazard in known)
    assert {hazard.id for hazard in known} == {hazard for _, hazard in HAZARDS}


def test_the_fast_serve_of_the_example_is_known_to_be_good() -> None:
    example = topology()
    assert [hazard.id for hazard in hazards_of(example, example.serves["fast"])] == ["nvfp4-dense-good"]


def test_the_schema_file_is_current() -> None:
    """Regenerate: python -c "from anvil.topology import schema; print(schema.text(), end='')" >
    inventory/topology.schema.json"""
    assert (ROOT / "inventory" / "topology.schema.json").read_text(encoding="utf-8") == schema.text()
    assert EXAMPLE.read_text(encoding="utf-8").startswith("#:schema ./topology.schema.json\n")
    tiers = schema.schema()["$defs"]["Topology"]["properties"]["tiers"]["additionalProperties"]
    assert [each["$ref"].rsplit("/", 1)[1] for each in tiers["anyOf"]] == ["ServeTier", "LocalTier", "CloudTier"]
    assert all("form" not in schema.schema()["$defs"][name]["properties"] for name in ("ServeTier", "CloudTier"))
