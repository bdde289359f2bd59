// One JSON line per call of the hook. It never chooses a model, never throws and never writes what was said.
import { appendFileSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";

const MOST_MESSAGES = 4096;

/** The handler: `path` is the log, `now` the clock. Calls of one run belong to one message, as fallbacks do. */
export function fireHook(path, now = Date.now) {
  const messages = new Messages();
  return async (event, context) => {
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      appendFileSync(path, `${JSON.stringify(record(event, context, messages, now()))}\n`, { mode: 0o600 });
    } catch {
      // A turn is worth more than its record.
    }
    return {};
  };
}

function record(event, context, messages, time) {
  const session = context?.sessionKey ?? context?.sessionId ?? null;
  const prompt = typeof event?.prompt === "string" ? event.prompt : "";
  return {
    ts: new Date(time).toISOString(),
    runId: context?.runId ?? null,
    sessionKey: session,
    userMessageIndex: messages.index(session, context?.runId ?? null),
    prompt_chars: prompt.length,
    modelOverride: null,
  };
}

/** Numbers the messages of each session from 0 by their runs. A call without a run is a message of its own. */
class Messages {
  constructor() {
    this.sessions = new Map();
  }

  index(session, run) {
    const known = this.sessions.get(session) ?? { runs: new Map(), next: 0 };
    this.sessions.set(session, known);
    if (run !== null && known.runs.has(run)) return known.runs.get(run);
    if (run !== null) known.runs.set(run, known.next);
    if (known.runs.size > MOST_MESSAGES) known.runs.delete(known.runs.keys().next().value);
    known.next += 1;
    return known.next - 1;
  }
}
