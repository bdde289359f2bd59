import assert from "node:assert/strict";
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { intentHook } from "../hook.mjs";
import { DecisionLog } from "../log.mjs";

async function inFolder(run) {
  const folder = await mkdtemp(join(tmpdir(), "anvil-plugin-"));
  try {
    return await run(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function lines(path) {
  return (await readFile(path, "utf8")).trim().split("\n").map((line) => JSON.parse(line));
}

test("records are appended in order to a private file", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "logs", "d.jsonl");
    const log = new DecisionLog(path);
    for (let turn = 0; turn < 20; turn += 1) log.write({ turn });
    await log.settled();
    assert.deepEqual((await lines(path)).map((record) => record.turn), [...Array(20).keys()]);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
  });
});

test("a full file is moved aside, two are kept", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "d.jsonl");
    const log = new DecisionLog(path, 40);
    for (let turn = 0; turn < 12; turn += 1) log.write({ turn });
    await log.settled();
    assert.deepEqual((await readdir(folder)).sort(), ["d.jsonl", "d.jsonl.1"]);
    const kept = [...(await lines(`${path}.1`)), ...(await lines(path))].map((record) => record.turn);
    assert.deepEqual(kept, [6, 7, 8, 9, 10, 11]);
    assert.ok((await stat(path)).size <= 40);
  });
});

test("the usual limit is ten mebibytes", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "d.jsonl");
    const log = new DecisionLog(path);
    await writeFile(path, "x".repeat(10 * 1024 * 1024 - 5));
    log.write({ turn: 1 });
    await log.settled();
    assert.deepEqual(await lines(path), [{ turn: 1 }]);
    await writeFile(path, "1\n".repeat(100));
    log.write({ turn: 2 });
    await log.settled();
    assert.equal((await lines(path)).length, 101);
  });
});

test("a place that cannot be written, and no log at all, cost nothing", async () => {
  await inFolder(async (folder) => {
    await writeFile(join(folder, "file"), "");
    const log = new DecisionLog(join(folder, "file", "d.jsonl"));
    log.write({});
    await log.settled();
    const off = new DecisionLog(null);
    off.write({});
    await off.settled();
    assert.deepEqual(await readdir(folder), ["file"]);
  });
});

test("the hook's own log holds no token and no text", async () => {
  await inFolder(async (folder) => {
    const log = new DecisionLog(join(folder, "d.jsonl"));
    const env = { ANVIL_ROUTER_TOKEN: "canary-token" };
    const hook = intentHook({ config: { routerUrl: "http://127.0.0.1:1" }, env, log });
    await hook({ prompt: "fix the canary text" }, { runId: "r" });
    await log.settled();
    const text = await readFile(log.path, "utf8");
    assert.match(text, /"modelOverride":"quick-edit"/);
    assert.doesNotMatch(text, /canary/);
  });
});
