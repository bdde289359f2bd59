"""A recipe as a serve: the engine gets the recipe's flags, and another set is shown (lab contract 7, B8)."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anvil.lab.recipes import apply, flags, registry
from anvil.lab.recipes.model import Measured, Recipe, ServeRecipe
from anvil.render import argv
from anvil.topology import load
from anvil.topology.model import Serve
from tests.unit.lab.recipes.samples import DIGEST, ROOT, topology

SHIPPED = registry.read(ROOT / "inventory/recipes.toml").recipes
FORGE = apply.Wanted("forge", "pro", 31000, "extra")


def recipe(engine: str, *groups: str, family: str | None = None, **serve: Any) -> Recipe:
    made = ServeRecipe(engine=engine, flags=groups, **{"context_tokens": 4096, **serve})  # type: ignore[arg-type] # the test says which
    return Recipe(model="a/b", status="parked", family=family, serve=made)


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda each: each.model)
def test_every_shipped_recipe_gives_the_engine_its_flags(shipped: Recipe) -> None:
    made = apply.applied(shipped, FORGE, topology())
    assert made.difference == ((), ())
    whole = (ROOT / "inventory/topology.toml").read_text() + "\n" + made.text
    serve = load.loads(whole, {}, "t.toml").serves["extra"]
    assert serve.port == 31000
    assert serve.volume == "weights"


VLLM = st.fixed_dictionaries(
    {"engine": st.just("vllm"), "context": st.integers(1, 10**6), "gpu_memory": st.sampled_from([0.5, 0.88, 0.915])},
    optional={
        "quantization": st.sampled_from(["fp8", "modelopt_fp4"]),
        "kv_cache_dtype": st.just("fp8"),
        "tool_parser": st.sampled_from(["", "openai", "hermes"]),
        "reasoning_parser": st.sampled_from(["", "qwen3"]),
        "trust_remote_code": st.booleans(),
        "language_only": st.booleans(),
        "max_concurrent": st.integers(1, 64),
        "revision": st.sampled_from(["main", "abc"]),
        "speculative": st.fixed_dictionaries({"algorithm": st.just("ngram"), "draft_tokens": st.integers(1, 8)}),
        "extra_args": st.sampled_from([["--block-size", "32"], ["--enable-prefix-caching"], ["--seed=-1"]]),
        "family": st.sampled_from(["qwen3", "gpt-oss", "unheard-of"]),
    },
)
SGLANG = st.fixed_dictionaries(
    {"engine": st.just("sglang"), "context": st.integers(1, 10**6)},
    optional={
        "quantization": st.just("awq"),
        "tool_parser": st.sampled_from(["", "qwen3_coder"]),
        "language_only": st.booleans(),
        "speculative": st.fixed_dictionaries(
            {"algorithm": st.just("NEXTN"), "steps": st.just(3), "topk": st.just(1), "draft_tokens": st.just(4)}
        ),
        "extra_args": st.just(["--attention-backend", "triton", "--cuda-graph-max-bs-decode", "8"]),
        "family": st.sampled_from(["qwen3", "glm"]),
    },
)
LLAMACPP = st.fixed_dictionaries(
    {"engine": st.just("llamacpp"), "model_file": st.just("m.gguf"), "context": st.integers(1, 9999)},
    optional={"parallel": st.integers(1, 8), "threads": st.integers(1, 8), "extra_args": st.just(["-ngl", "99"])},
)


@settings(max_examples=60)
@given(st.one_of(VLLM, SGLANG, LLAMACPP))
def test_any_serves_flags_survive_a_recipe(keys: dict[str, Any]) -> None:
    named = {} if keys["engine"] == "llamacpp" else {"repo": "a/b"}
    serve: Serve = msgspec.convert({**keys, **named, "machine": "forge", "served_model": "b", "port": 2000}, Serve)
    words = list(argv.command(serve, argv.Place("0.0.0.0", 2000, None)).args)
    groups = flags.grouped(words[2:] if keys["engine"] == "vllm" else words)
    kept = [group for group in groups if not group.startswith("--model-path ")]
    made = apply.applied(
        recipe(keys["engine"], *kept, family=keys.get("family")), FORGE._replace(gpu="pro"), topology()
    )
    assert made.difference == ((), ())


def test_what_the_serve_would_not_say_is_shown() -> None:
    made = apply.applied(recipe("vllm", "--enable-auto-tool-choice", "--max-model-len 4096"), FORGE, topology())
    assert made.difference.missing == ("--enable-auto-tool-choice",)
    assert made.difference.added == ("--served-model-name b", "--gpu-memory-utilization 0.90")


def test_card_variables_go_and_the_measured_image_is_pinned() -> None:
    shipped = msgspec.structs.replace(
        recipe("vllm", env=("CUDA_VISIBLE_DEVICES=GPU-x", "VLLM_A=1=2"), image="v:1"),
        measured=Measured(image_digest=DIGEST),
    )
    text = apply.applied(shipped, FORGE, topology()).text
    assert f'image = "v:1@{DIGEST}"' in text
    assert 'VLLM_A = "1=2"' in text
    assert "CUDA_VISIBLE_DEVICES" not in text


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        (FORGE._replace(machine="forgee"), "no machine 'forgee'; did you mean \"forge\"?"),
        (FORGE._replace(gpu="prp"), "machine forge has no gpu 'prp'"),
        (FORGE._replace(name="fast"), "serves.fast is there already"),
        (FORGE._replace(volume="nope"), "no volume 'nope'"),
    ],
)
def test_a_place_that_is_not_there_is_refused(wanted: apply.Wanted, problem: str) -> None:
    with pytest.raises(apply.NotApplicable) as caught:
        apply.applied(SHIPPED[0], wanted, topology())
    assert problem in str(caught.value)


def test_a_name_made_of_the_model_is_not_taken_twice() -> None:
    unnamed = FORGE._replace(name=None)
    name = apply.applied(SHIPPED[0], unnamed, topology()).name
    taken = msgspec.structs.replace(topology(), serves={**topology().serves, name: topology().serves["fast"]})
    with pytest.raises(apply.NotApplicable, match=f"serves.{name} is there already; give another --name"):
        apply.applied(SHIPPED[0], unnamed, taken)


def test_a_recipe_without_a_window_is_refused() -> None:
    with pytest.raises(apply.NotApplicable, match=r"serve\.context_tokens: missing"):
        apply.applied(recipe("vllm", context_tokens=None), FORGE, None)


def test_the_run_line_is_one_quoted_command() -> None:
    spicy = recipe(
        "vllm", '--hf-overrides {"a": "it\'s"}', env=("VLLM_A=x y",), image="v:1", shm_size="16g", port=31234
    )
    words = shlex.split(apply.run_line(spicy))
    assert words[:3] == ["docker", "run", "--rm"]
    assert "VLLM_A=x y" in words
    assert words[words.index("--ipc") + 1] == "host"
    assert words[words.index("--entrypoint") :] == [
        "--entrypoint", "vllm", "v:1", "serve", "a/b", "--hf-overrides", '{"a": "it\'s"}', "--host", "0.0.0.0",
        "--port", "31234",
    ]  # fmt: skip
    assert "--ipc" not in shlex.split(apply.run_line(recipe("sglang")))
