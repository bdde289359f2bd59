// The before_model_resolve hook: {} lets the gateway's own choice stand, otherwise provider and model together.
import { ask as askRouter } from "./advice.mjs";
import { classify, isChosen, judged, keptNative, overrideOf, promptText, question } from "./decide.mjs";
import { loadKeywords } from "./keywords.mjs";
import { DecisionLog } from "./log.mjs";
import { Seen } from "./seen.mjs";
import { settings } from "./settings.mjs";

const WARN_EVERY_MS = 60 * 60 * 1000;
const STANDS = { workClass: null, native: true, authoritative: false };

/**
 * The handler `(event, context) -> Promise<override or {}>`. It never throws and waits for the router alone.
 * `document` tells the gateway's own document as it is now.
 */
export function intentHook(given) {
  const { config, env = process.env, now = Date.now, warn = () => {}, document = () => undefined } = given;
  const chosen = settings(config, env);
  const log = given.log ?? new DecisionLog(chosen.log);
  const parts = { chosen, env, ask: given.ask ?? askRouter, keywords: loadKeywords() };
  Object.assign(parts, { seen: given.seen ?? new Seen(now), rejected: hourly(warn, now) });
  return async (event, context) => {
    let prompt = "";
    let verdict = { ...STANDS, reason: "error" };
    let override = {};
    try {
      prompt = promptText(event?.prompt);
      const found = await decide(prompt, event, context, parts);
      override = overrideOf(found, context, chosen, document());
      verdict = found;
    } catch {
      // The turn goes on with the gateway's own choice.
    }
    try {
      log.write(record(verdict, override, context, prompt, now(), chosen.provider));
    } catch {
      // A turn is worth more than its record.
    }
    return override;
  };
}

async function decide(prompt, event, context, { chosen, env, ask, keywords, seen, rejected }) {
  if (seen.again(context, prompt)) return { ...STANDS, reason: "again" };
  if (isChosen(context, chosen)) return { ...STANDS, reason: "chosen" };
  const local = classify(prompt, event?.attachments, keywords);
  const asked = chosen.endpoint !== null;
  const token = env[chosen.tokenEnv];
  const answer = asked ? await ask(chosen.endpoint, token, question(prompt, local), chosen.deadlineMs) : null;
  if (answer?.status === 401 || answer?.status === 403) rejected();
  return keptNative(judged(answer, local), chosen.cloudClasses);
}

function hourly(warn, now) {
  let next = -Infinity;
  return () => {
    if (now() < next) return;
    next = now() + WARN_EVERY_MS;
    warn("anvil router: token rejected; turns are classified by the plugin itself");
  };
}

function record(verdict, override, context, prompt, time, provider) {
  return {
    ts: new Date(time).toISOString(),
    runId: context?.runId ?? null,
    sessionKey: context?.sessionKey ?? null,
    source: "openclaw",
    intent: verdict.workClass,
    destination: override.providerOverride === provider ? "anvil" : "native",
    providerOverride: override.providerOverride ?? null,
    modelOverride: override.modelOverride ?? null,
    authoritative: verdict.authoritative,
    reason: verdict.reason,
    prompt_chars: prompt.length,
  };
}
