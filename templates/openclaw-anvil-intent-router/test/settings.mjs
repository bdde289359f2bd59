import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { settings } from "../settings.mjs";

const HOME = "/h/op";
const of = (config, env = {}) => settings(config, env, HOME);
const DEFAULT_LOG = "/h/op/.openclaw/logs/anvil-decisions.jsonl";

test("without anything set, turns are classified here and logged", () => {
  const { cloudClasses, ...others } = of(undefined);
  assert.deepEqual([...cloudClasses], ["planning"]);
  assert.deepEqual(others, {
    endpoint: null,
    tokenEnv: "ANVIL_ROUTER_TOKEN",
    deadlineMs: 250,
    provider: "anvil",
    primaryPreset: "chat",
    scope: "all",
    log: DEFAULT_LOG,
  });
});

test("every key of the config is taken", () => {
  const config = { tokenEnv: "T", deadlineMs: 900, provider: "p", primaryPreset: "review", scope: "anvil" };
  const { endpoint, cloudClasses, log, ...others } = of(config);
  assert.deepEqual(others, config);
});

test("the router's address, from its base or in the old whole form", () => {
  const rows = [
    [{ routerUrl: "http://127.0.0.1:8000" }, {}, "http://127.0.0.1:8000/v1/route"],
    [{ routerUrl: "http://127.0.0.1:8000/" }, {}, "http://127.0.0.1:8000/v1/route"],
    [{ routerUrl: "https://r.example/v1/" }, {}, "https://r.example/v1/route"],
    [{ routerUrl: "http://a:1" }, { ANVIL_ROUTE_ENDPOINT: "http://b:2/v1/route" }, "http://a:1/v1/route"],
    [{}, { ANVIL_ROUTE_ENDPOINT: " http://b:2/v1/route " }, "http://b:2/v1/route"],
    [{}, { ANVIL_ROUTE_ENDPOINT: "" }, null],
    [{}, { ANVIL_ROUTE_ENDPOINT: "not a url" }, null],
    [{ routerUrl: "ftp://a:1" }, {}, null],
    [{ routerUrl: "http://a:1", route: "off" }, { ANVIL_ROUTE_ENDPOINT: "http://b:2/v1/route" }, null],
    [{ routerUrl: "http://a:1", route: "advise" }, {}, "http://a:1/v1/route"],
  ];
  for (const [config, env, expected] of rows) assert.equal(of(config, env).endpoint, expected, JSON.stringify([config, env]));
});

test("the deadline stays within its bounds", () => {
  const rows = [[1, 50], [50, 50], [2000, 2000], [60_000, 2000], [undefined, 250], [Number.NaN, 250]];
  for (const [asked, expected] of rows) assert.equal(of({ deadlineMs: asked }).deadlineMs, expected);
});

test("cloud classes: config, else environment, else planning", () => {
  const rows = [
    [{ cloudClasses: ["review"] }, "chat", ["review"]],
    [{ cloudClasses: [] }, "chat", []],
    [{}, " chat , review ,", ["chat", "review"]],
    [{}, "  ", ["planning"]],
    [{}, "none", []],
    [{}, undefined, ["planning"]],
  ];
  for (const [config, value, expected] of rows) {
    assert.deepEqual([...of(config, { ANVIL_CLOUD_CLASSES: value }).cloudClasses], expected);
  }
});

test("the log: config, else environment, else the home folder; empty is off", () => {
  const rows = [
    [{ decisionLog: "~/d.jsonl" }, "/tmp/e", "/h/op/d.jsonl"],
    [{ decisionLog: "" }, "/tmp/e", null],
    [{}, "/tmp/e", "/tmp/e"],
    [{}, "", null],
    [{}, undefined, DEFAULT_LOG],
  ];
  for (const [config, value, expected] of rows) assert.equal(of(config, { ANVIL_DECISION_LOG: value }).log, expected);
});

test("the manifest declares exactly the keys that are read, and no other", () => {
  const manifest = JSON.parse(readFileSync(new URL("../openclaw.plugin.json", import.meta.url), "utf8"));
  const read = new Set();
  const spy = new Proxy({}, { get: (_, key) => void read.add(key) });
  settings(spy, {}, HOME);
  assert.deepEqual(Object.keys(manifest.configSchema.properties).sort(), [...read].sort());
  assert.equal(manifest.configSchema.additionalProperties, false);
  assert.equal(manifest.activation.onStartup, true);
});
