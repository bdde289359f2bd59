import assert from "node:assert/strict";
import { test } from "node:test";
import { intentHook } from "../hook.mjs";
import { Seen } from "../seen.mjs";
import { answering, withRouter } from "./router.mjs";

/** A hook with its records in a list; every turn is a run of its own unless the context says otherwise. */
function hooked(config = {}, more = {}) {
  const records = [];
  const warnings = [];
  const log = { write: (record) => records.push(record) };
  const hook = intentHook({ config, env: {}, log, warn: (text) => warnings.push(text), ...more });
  let runs = 0;
  const turn = (prompt, context = {}, attachments = undefined) =>
    hook({ prompt, attachments }, { runId: `run-${(runs += 1)}`, ...context });
  return { hook, turn, records, warnings };
}

const override = (preset) => ({ providerOverride: "anvil", modelOverride: preset });

test("labelled turns go to all five presets and to both destinations", async () => {
  const { turn, records } = hooked({ cloudClasses: ["planning"] });
  const rows = [
    ["hello", override("chat")],
    ["fix it", override("quick-edit")],
    ["review it", override("review")],
    ["x".repeat(24_000), override("long-context")],
    ["plan it", {}],
  ];
  for (const [prompt, expected] of rows) assert.deepEqual(await turn(prompt), expected, prompt.slice(0, 20));
  assert.deepEqual(await hooked({ cloudClasses: [] }).turn("plan it"), override("planning"));
  assert.deepEqual(new Set(records.map((record) => record.destination)), new Set(["anvil", "native"]));
});

test("the override names the provider that the config names", async () => {
  const expected = { providerOverride: "house", modelOverride: "quick-edit" };
  assert.deepEqual(await hooked({ provider: "house" }).turn("fix it"), expected);
});

test("the second call for a run leaves the gateway's candidate alone", async () => {
  const { turn, records } = hooked();
  const context = { runId: "same" };
  assert.deepEqual(await turn("fix it", context), override("quick-edit"));
  const retried = "[Retry after the previous model attempt failed or timed out]\n\nfix it";
  assert.deepEqual(await turn(retried, { ...context, modelProviderId: "native", modelId: "big" }), {});
  assert.deepEqual(await turn("fix it", { runId: "other" }), override("quick-edit"));
  assert.deepEqual(records.map((record) => record.reason), ["classify", "again", "classify"]);
});

test("two calls at once for one run give one override", async () => {
  const { turn } = hooked({ routerUrl: "http://127.0.0.1:1" }, { ask: async () => null });
  const found = await Promise.all([turn("fix it", { runId: "r" }), turn("fix it", { runId: "r" })]);
  assert.deepEqual(found, [override("quick-edit"), {}]);
});

test("without a run id, session and prompt tell a retry, for five minutes", async () => {
  let time = 1_000_000;
  const { turn } = hooked({}, { now: () => time });
  const context = { runId: undefined, sessionKey: "s" };
  assert.deepEqual(await turn("fix it", context), override("quick-edit"));
  time += 299_000;
  assert.deepEqual(await turn("[Retry after the previous model attempt failed or timed out]\n\nfix it", context), {});
  assert.deepEqual(await turn("fix that", context), override("quick-edit"));
  assert.deepEqual(await turn("fix it", { ...context, sessionKey: "t" }), override("quick-edit"));
  time += 301_000;
  assert.deepEqual(await turn("fix it", context), override("quick-edit"));
});

test("the memory of runs is bounded, and forgets the oldest", () => {
  const seen = new Seen(Date.now, 3);
  for (const run of ["a", "b", "c"]) assert.equal(seen.again({ runId: run }, ""), false);
  assert.equal(seen.again({ runId: "a" }, ""), true);
  assert.equal(seen.again({ runId: "d" }, ""), false);
  assert.equal(seen.again({ runId: "a" }, ""), true);
  assert.equal(seen.again({ runId: "b" }, ""), false);
  assert.equal(seen.until.size, 3);
  const usual = new Seen();
  for (let run = 0; run < 600; run += 1) usual.again({ runId: run + 1 }, "");
  assert.equal(usual.until.size, 512);
});

test("a chosen preset and, in scope anvil, another provider's turn stand", async () => {
  const { turn, records } = hooked();
  assert.deepEqual(await turn("fix it", { modelProviderId: "anvil", modelId: "planning" }), {});
  assert.equal(records[0].reason, "chosen");
  assert.deepEqual(await turn("fix it", { modelProviderId: "openai" }), override("quick-edit"));
  assert.deepEqual(await hooked({ scope: "anvil" }).turn("fix it", { modelProviderId: "openai" }), {});
});

test("the router's advice decides", async () => {
  const rows = [
    [answering(200, { tier: "local", work_class: "review" }), override("review"), "route"],
    [answering(200, { tier: "local", work_class: "planning" }), {}, "cloud-class"],
    [answering(200, { tier: "cloud", work_class: "bounded-edit" }), {}, "route"],
    [answering(503, {}), {}, "route"],
    [answering(413, {}), {}, "route"],
    [answering(404, {}), override("quick-edit"), "classify"],
    [answering(200, "garbage"), override("quick-edit"), "classify"],
    [() => {}, override("quick-edit"), "classify"],
  ];
  for (const [answer, expected, reason] of rows) {
    await withRouter(answer, async (base, asked) => {
      const { turn, records } = hooked({ routerUrl: base, deadlineMs: 150, cloudClasses: ["planning"] });
      assert.deepEqual(await turn("fix it"), expected);
      assert.equal(records[0].reason, reason);
      assert.deepEqual(JSON.parse(asked[0].text).messages, [{ role: "user", content: "fix it" }]);
    });
  }
});

test("a slow router costs the deadline and no more", async () => {
  await withRouter(() => {}, async (base) => {
    const { turn } = hooked({ routerUrl: base, deadlineMs: 100 });
    const began = performance.now();
    await turn("fix it");
    assert.ok(performance.now() - began < 1000);
  });
});

test("route off asks nobody", async () => {
  await withRouter(answering(503, {}), async (base, asked) => {
    assert.deepEqual(await hooked({ routerUrl: base, route: "off" }).turn("fix it"), override("quick-edit"));
    assert.equal(asked.length, 0);
  });
});

test("a rejected token is said once an hour, and never shown", async () => {
  await withRouter(answering(401, {}), async (base, asked) => {
    let time = 0;
    const more = { env: { HOUSE_TOKEN: "canary-token" }, now: () => time };
    const { turn, records, warnings } = hooked({ routerUrl: base, tokenEnv: "HOUSE_TOKEN" }, more);
    for (const at of [0, 60_000, 3_599_999]) {
      time = at;
      assert.deepEqual(await turn("fix it"), override("quick-edit"));
    }
    assert.equal(warnings.length, 1);
    time = 3_600_000;
    await turn("fix it");
    assert.equal(warnings.length, 2);
    assert.match(warnings[0], /token rejected/);
    assert.equal(asked[0].headers.authorization, "Bearer canary-token");
    assert.doesNotMatch(JSON.stringify([records, warnings]), /canary/);
  });
});

test("native work goes to the gateway's fallback at once when its own choice is ours", async () => {
  const fallbacks = ["native/big"];
  const document = () => ({ agents: { defaults: { model: { fallbacks } } } });
  const { turn, records } = hooked({}, { document });
  const ours = { modelProviderId: "anvil", modelId: "chat" };
  const big = { providerOverride: "native", modelOverride: "big" };
  assert.deepEqual(await turn("plan it", ours), big);
  assert.deepEqual(await turn("plan it", { modelProviderId: "openai", modelId: "gpt" }), {});
  assert.deepEqual(await turn("plan it", { ...ours, modelId: "planning" }), {});
  assert.deepEqual(await turn("plan it", { ...ours, runId: "run-1" }), {});
  const { ts, runId, sessionKey, ...first } = records[0];
  const told = { source: "openclaw", intent: "planning", destination: "native", ...big };
  assert.deepEqual(first, { ...told, authoritative: false, reason: "cloud-class", prompt_chars: 7 });
  fallbacks[0] = "other/model";
  assert.deepEqual(await turn("plan it", ours), { providerOverride: "other", modelOverride: "model" });
});

test("whatever breaks, the gateway's choice stands", async () => {
  const broken = () => {
    throw new Error("broken");
  };
  const asking = { routerUrl: "http://127.0.0.1:1" };
  const { turn, records } = hooked(asking, { ask: broken });
  assert.deepEqual(await turn("fix it"), {});
  assert.equal(records[0].reason, "error");
  assert.deepEqual(await hooked(asking, { ask: () => Promise.reject(new Error("broken")) }).turn("fix it"), {});
  assert.deepEqual(await hooked({}, { seen: { again: broken } }).turn("fix it"), {});
  assert.deepEqual(await hooked({}, { document: broken }).turn("fix it"), {});
  assert.deepEqual(await hooked({}, { log: { write: broken } }).turn("fix it"), override("quick-edit"));
  const { hook } = hooked();
  for (const event of [undefined, null, {}, { prompt: 7 }]) {
    assert.deepEqual(await hook(event, undefined), event === undefined ? override("chat") : {});
  }
  assert.deepEqual(await hook({ get prompt() { return broken(); } }, {}), {});
});

test("a record tells the decision and never the text", async () => {
  const { turn, records } = hooked({}, { now: () => Date.UTC(2026, 10, 24) });
  await turn("fix the canary text", { runId: "r", sessionKey: "s" });
  assert.deepEqual(records, [
    {
      ts: "2026-11-24T00:00:00.000Z",
      runId: "r",
      sessionKey: "s",
      source: "openclaw",
      intent: "bounded-edit",
      destination: "anvil",
      providerOverride: "anvil",
      modelOverride: "quick-edit",
      authoritative: false,
      reason: "classify",
      prompt_chars: 19,
    },
  ]);
});
