import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { CLASS_PRESET, classify, isChosen, judged, keptNative, overrideOf, promptText, question } from "../decide.mjs";
import { EMBEDDED, loadKeywords } from "../keywords.mjs";

const KEYWORDS = loadKeywords();
const of = (prompt, attachments) => classify(prompt, attachments, KEYWORDS);

test("labelled turns cover all five presets", () => {
  const rows = [
    ["hello there", "chat", "chat"],
    ["what time is it in Lima?", "chat", "chat"],
    ["Fix the off-by-one in pager.py", "bounded-edit", "quick-edit"],
    ["please add a test for it", "bounded-edit", "quick-edit"],
    ["refactor the storage layer", "multi-file-refactor", "review"],
    ["rename across all modules", "multi-file-refactor", "review"],
    ["Review my change", "review", "review"],
    ["give me FEEDBACK on this design", "review", "review"],
    ["plan the migration, step by step", "planning", "planning"],
    ["break down the work and fix it", "planning", "planning"],
    ["x".repeat(24_000), "long-context", "long-context"],
  ];
  for (const [prompt, workClass, preset] of rows) {
    const found = of(prompt);
    assert.deepEqual([found.workClass, found.preset], [workClass, preset], prompt.slice(0, 60));
  }
  assert.deepEqual(new Set(rows.map((row) => row[2])), new Set(Object.values(CLASS_PRESET)));
});

test("words are bounded, in any alphabet", () => {
  for (const text of ["the explanation", "prefixed", "planet", "auditorium", "übereditë", "plan9", "_plan"]) {
    assert.equal(of(text).workClass, "chat", text);
  }
  assert.equal(of("(plan)").workClass, "planning");
  assert.equal(of("plan.").workClass, "planning");
});

test("size decides before words, one below it does not", () => {
  assert.equal(of(`plan ${"x".repeat(23_995)}`).workClass, "long-context");
  assert.equal(of(`plan ${"x".repeat(23_994)}`).workClass, "planning");
});

test("attachments: four are a long context, one of media is a review", () => {
  const other = { kind: "other", mimeType: "x-thing/y" };
  const rows = [
    [Array(4).fill(other), "long-context"],
    [Array(3).fill(other), "planning"],
    [[{ kind: "image" }], "review"],
    [[{ kind: "video" }], "review"],
    [[{ kind: "audio" }], "review"],
    [[{ kind: "document" }], "review"],
    [[other, { mimeType: "IMAGE/png" }], "review"],
    [[{ mimeType: "application/pdf" }], "review"],
    [[{ kind: "other" }], "planning"],
    [[null, {}], "planning"],
    [[], "planning"],
    [undefined, "planning"],
    ["odd", "planning"],
  ];
  for (const [attachments, expected] of rows) assert.equal(of("plan it", attachments).workClass, expected);
});

test("a prompt is a string, joined text parts, or nothing", () => {
  const rows = [
    ["as it is", "as it is"],
    [["a", { type: "text", text: "b" }, { type: "image" }, null, 7], "a\nb"],
    [undefined, ""],
    [{ text: "no list" }, ""],
    [7, ""],
  ];
  for (const [prompt, expected] of rows) assert.equal(promptText(prompt), expected);
});

test("envelope markers are words like any other", () => {
  assert.equal(of("[Mon 2026-11-23 06:43 UTC] plan it").workClass, "planning");
  assert.equal(of("<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>> hello").workClass, "chat");
});

test("the embedded words are those of keywords.json", () => {
  const { _comment, ...file } = JSON.parse(readFileSync(new URL("../keywords.json", import.meta.url), "utf8"));
  assert.deepEqual(EMBEDDED, file);
  assert.deepEqual(Object.keys(EMBEDDED), Object.keys(file));
});

test("keys that start with _ are ignored; an unreadable file means the embedded words", () => {
  const folder = mkdtempSync(join(tmpdir(), "anvil-plugin-"));
  try {
    const file = join(folder, "keywords.json");
    const compiled = loadKeywords();
    assert.deepEqual(loadKeywords(file), compiled);
    for (const text of ["", "[", "null", '{"review": 7}', '{"review": [7]}']) {
      writeFileSync(file, text);
      assert.deepEqual(loadKeywords(file), compiled, text);
    }
    writeFileSync(file, '{"_note": ["hello"], "planning": ["Ponder"]}');
    assert.equal(classify("hello", [], loadKeywords(file)).workClass, "chat");
    assert.equal(classify("ponder this", [], loadKeywords(file)).workClass, "planning");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("what somebody chose stands", () => {
  const all = { provider: "anvil", primaryPreset: "chat", scope: "all" };
  const rows = [
    [all, { modelProviderId: "anvil", modelId: "chat" }, false],
    [all, { modelProviderId: "anvil", modelId: "anvil/chat" }, false],
    [all, { modelProviderId: "anvil", modelId: "planning" }, true],
    [all, { modelProviderId: "anvil", modelId: "anvil/planning" }, true],
    [all, { modelProviderId: "anvil" }, false],
    [all, { modelProviderId: "openai", modelId: "planning" }, false],
    [all, {}, false],
    [all, undefined, false],
    [{ ...all, scope: "anvil" }, { modelProviderId: "openai", modelId: "gpt" }, true],
    [{ ...all, scope: "anvil" }, { modelProviderId: "anvil", modelId: "chat" }, false],
    [{ ...all, scope: "anvil" }, {}, false],
    [{ ...all, primaryPreset: "review" }, { modelProviderId: "anvil", modelId: "chat" }, true],
  ];
  for (const [settings, context, expected] of rows) {
    assert.equal(isChosen(context, settings), expected, JSON.stringify([settings, context]));
  }
});

test("the router is asked without a model, and told a class only when no word decided it", () => {
  assert.deepEqual(question("plan it", of("plan it")), {
    messages: [{ role: "user", content: "plan it" }],
    signals: { token_estimate: 3 },
  });
  assert.equal(question("plan it", of("plan it", [{ kind: "image" }])).signals.work_class, "review");
  assert.equal(question("", of("", Array(4).fill({}))).signals.work_class, "long-context");
});

test("the router's answer is read, or what was found here stays", () => {
  const here = of("fix it");
  const local = (workClass) => ({ status: 200, body: { tier: "local", work_class: workClass } });
  const rows = [
    [local("planning"), "planning", false, "route"],
    [local("bounded-edit"), "quick-edit", false, "route"],
    [local("review"), "review", false, "route"],
    [local("multi-file-refactor"), "review", false, "route"],
    [local("chat"), "chat", false, "route"],
    [local("long-context"), "long-context", false, "route"],
    [local("toString"), "quick-edit", false, "classify"],
    [local(""), "quick-edit", false, "classify"],
    [{ status: 200, body: { tier: "cloud", work_class: "chat" } }, "quick-edit", true, "route"],
    [{ status: 503, body: null }, "quick-edit", true, "route"],
    [{ status: 413, body: null }, "quick-edit", true, "route"],
    [{ status: 200, body: { tier: "moon", work_class: "chat" } }, "quick-edit", false, "classify"],
    [{ status: 200, body: null }, "quick-edit", false, "classify"],
    [{ status: 200, body: "text" }, "quick-edit", false, "classify"],
    [{ status: 401, body: null }, "quick-edit", false, "classify"],
    [{ status: 500, body: null }, "quick-edit", false, "classify"],
    [null, "quick-edit", false, "classify"],
  ];
  for (const [answer, preset, native, reason] of rows) {
    const found = judged(answer, here);
    const seen = [found.preset, found.native, found.reason, found.authoritative];
    assert.deepEqual(seen, [preset, native, reason, reason === "route"], JSON.stringify(answer));
  }
});

test("cloud classes are presets or work classes", () => {
  const rows = [
    ["plan it", ["planning"], true],
    ["fix it", ["quick-edit"], true],
    ["fix it", ["bounded-edit"], true],
    ["refactor it", ["multi-file-refactor"], true],
    ["review it", ["multi-file-refactor"], false],
    ["plan it", [], false],
    ["hello", ["planning"], false],
  ];
  for (const [prompt, classes, native] of rows) {
    const found = keptNative(judged(null, of(prompt)), new Set(classes));
    assert.deepEqual([found.native, found.reason], [native, native ? "cloud-class" : "classify"], prompt);
  }
});

test("native work leaves our provider for the first fallback that is not ours", () => {
  const native = { preset: "planning", native: true };
  const ours = { modelProviderId: "anvil", modelId: "chat" };
  const listing = (...fallbacks) => ({ agents: { defaults: { model: { primary: "anvil/chat", fallbacks } } } });
  const big = { providerOverride: "openrouter", modelOverride: "house/big" };
  const rows = [
    [native, ours, listing("anvil/review", "alias", "openrouter/house/big", "other/model"), big],
    [native, ours, listing("anvil/review", "alias", "/x", 7), {}],
    [native, ours, { agents: { defaults: { model: "anvil/chat" } } }, {}],
    [native, ours, undefined, {}],
    [native, { modelProviderId: "openai" }, listing("native/big"), {}],
    [native, undefined, listing("native/big"), {}],
    [{ native: true }, ours, listing("native/big"), {}],
    [{ preset: "chat", native: false }, ours, listing("native/big"), { providerOverride: "anvil", modelOverride: "chat" }],
  ];
  for (const [verdict, context, document, expected] of rows) {
    assert.deepEqual(overrideOf(verdict, context, { provider: "anvil", primaryPreset: "chat" }, document), expected, JSON.stringify([context, document]));
  }
});

test("only presets that the gateway's document holds are asked for", () => {
  const holding = (...ids) => ({ models: { providers: { anvil: { models: ids.map((id) => ({ id })) } } } });
  const rows = [
    [holding("chat", "quick-edit"), "quick-edit"],
    [holding("chat", "planning"), "chat"],
    [holding("planning"), undefined],
    [holding(), undefined],
    [{ models: { providers: {} } }, "quick-edit"],
    [undefined, "quick-edit"],
  ];
  for (const [document, expected] of rows) {
    const settings = { provider: "anvil", primaryPreset: "chat" };
    const found = overrideOf({ preset: "quick-edit", native: false }, {}, settings, document);
    assert.deepEqual(found, expected ? { providerOverride: "anvil", modelOverride: expected } : {});
  }
});
