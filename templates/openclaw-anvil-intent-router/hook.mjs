// The before_model_resolve hook: {} lets the gateway's own choice stand, otherwise provider and model together.
import { ask as askRouter } from "./advice.mjs";
import { classify, isChosen, judged, keptNative, promptText, question } from "./decide.mjs";
import { loadKeywords } from "./keywords.mjs";
import { DecisionLog } from "./log.mjs";
import { Seen } from "./seen.mjs";
import { settings } from "./settings.mjs";

const WARN_EVERY_MS = 60 * 60 * 1000;
const STANDS = { workClass: null, native: true, authoritative: false };

/** The handler `(event, context) -> Promise<override or {}>`. It never throws and waits for the router alone. */
export function intentHook({ config, env = process.env, warn = () => {}, now = Date.now, log, seen, ask = askRouter }) {
  const chosen = settings(config, env);
  const parts = { chosen, env, ask, keywords: loadKeywords(), seen: seen ?? new Seen(now), rejected: hourly(warn, now) };
  const written = log ?? new DecisionLog(chosen.log);
  return async (event, context) => {
    let prompt = "";
    let verdict = { ...STANDS, reason: "error" };
    try {
      prompt = promptText(event?.prompt);
      verdict = await decide(prompt, event, context, parts);
    } catch {
      // The turn goes on with the gateway's own choice.
    }
    const override = verdict.native ? {} : { providerOverride: chosen.provider, modelOverride: verdict.preset };
    try {
      written.write(record(verdict, override, context, prompt, now()));
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

function record(verdict, override, context, prompt, time) {
  return {
    ts: new Date(time).toISOString(),
    runId: context?.runId ?? null,
    sessionKey: context?.sessionKey ?? null,
    source: "openclaw",
    intent: verdict.workClass,
    destination: verdict.native ? "native" : "anvil",
    providerOverride: override.providerOverride ?? null,
    modelOverride: override.modelOverride ?? null,
    authoritative: verdict.authoritative,
    reason: verdict.reason,
    prompt_chars: prompt.length,
  };
}
