import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fireHook } from "./fires.mjs";

const CANARY = "canary-of-the-text";

function log() {
  return join(mkdtempSync(join(tmpdir(), "fires-")), "logs", "fires.jsonl");
}

function lines(path) {
  return readFileSync(path, "utf8").trimEnd().split("\n").map((line) => JSON.parse(line));
}

test("a call is one private line without the text, and the gateway's choice stands", async () => {
  const path = log();
  const hook = fireHook(path, () => 0);
  assert.deepEqual(await hook({ prompt: CANARY }, { runId: "r1", sessionKey: "s1" }), {});
  assert.deepEqual(lines(path), [
    {
      ts: "1970-01-01T00:00:00.000Z",
      runId: "r1",
      sessionKey: "s1",
      userMessageIndex: 0,
      prompt_chars: CANARY.length,
      modelOverride: null,
    },
  ]);
  assert.ok(!readFileSync(path, "utf8").includes(CANARY));
  assert.equal(statSync(path).mode & 0o777, 0o600);
});

test("messages are numbered per session by their runs", async () => {
  const path = log();
  const hook = fireHook(path);
  for (const [runId, sessionKey] of [["a", "s"], ["a", "s"], ["b", "s"], ["c", "t"], [undefined, "t"], [undefined, "t"]]) {
    await hook({ prompt: "x" }, { runId, sessionKey });
  }
  assert.deepEqual(lines(path).map((line) => line.userMessageIndex), [0, 0, 1, 0, 1, 2]);
});

test("nothing breaks a turn: no context, no prompt, no log", async () => {
  const path = log();
  assert.deepEqual(await fireHook(path)(undefined, undefined), {});
  assert.deepEqual(lines(path)[0].prompt_chars, 0);
  assert.deepEqual(await fireHook("/dev/null/fires.jsonl")({ prompt: "x" }, {}), {});
  assert.deepEqual(await fireHook(undefined)({ prompt: "x" }, {}), {});
});
