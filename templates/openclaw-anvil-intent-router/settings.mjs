// What the operator set: the plugin's config wins over the environment.
import { homedir } from "node:os";
import { join } from "node:path";

const DEADLINE_MS = { least: 50, usual: 250, most: 2000 };
const CLOUD_CLASSES = ["planning"];

/**
 * Everything the hook needs, checked. `endpoint` is the full URL of the router's advice, null = classify here;
 * `log` is an absolute path, null = no log.
 */
export function settings(config, env = process.env, home = homedir()) {
  const given = config ?? {};
  return {
    endpoint: given.route === "off" ? null : endpoint(given.routerUrl, env.ANVIL_ROUTE_ENDPOINT),
    tokenEnv: given.tokenEnv ?? "ANVIL_ROUTER_TOKEN",
    deadlineMs: bounded(given.deadlineMs),
    cloudClasses: new Set(given.cloudClasses ?? listed(env.ANVIL_CLOUD_CLASSES) ?? CLOUD_CLASSES),
    provider: given.provider ?? "anvil",
    primaryPreset: given.primaryPreset ?? "chat",
    scope: given.scope ?? "all",
    log: expanded(given.decisionLog ?? env.ANVIL_DECISION_LOG ?? "~/.openclaw/logs/anvil-decisions.jsonl", home),
  };
}

function endpoint(base, whole) {
  const text = base ? `${base.replace(/\/+$/, "").replace(/\/v1$/, "")}/v1/route` : (whole ?? "").trim();
  const url = URL.canParse(text) ? new URL(text) : null;
  return url && ["http:", "https:"].includes(url.protocol) ? url.href : null;
}

function bounded(milliseconds) {
  const asked = Number.isFinite(milliseconds) ? milliseconds : DEADLINE_MS.usual;
  return Math.min(DEADLINE_MS.most, Math.max(DEADLINE_MS.least, asked));
}

function listed(text) {
  if (!text?.trim()) return undefined;
  if (text.trim() === "none") return [];
  return text.split(",").map((name) => name.trim()).filter(Boolean);
}

function expanded(path, home) {
  if (path === "") return null;
  return path === "~" || path.startsWith("~/") ? join(home, path.slice(1)) : path;
}
