// Which runs have been decided. The gateway calls the hook again for every fallback candidate of a run.
import { createHash } from "node:crypto";

const MOST_RUNS = 512;
const UNNAMED_MS = 5 * 60 * 1000;
const RETRY_NOTE = /^\[Retry after the previous model attempt[^\]]*\]\s*/;

/** A bounded memory of runs, the least recently seen forgotten first. */
export class Seen {
  constructor(now = Date.now, most = MOST_RUNS) {
    this.now = now;
    this.most = most;
    this.until = new Map();
  }

  /** Whether this run was seen before; it has been from now on. */
  again(context, prompt) {
    const key = context?.runId ? `run ${context.runId}` : `prompt ${digest(context, prompt)}`;
    const known = (this.until.get(key) ?? 0) > this.now();
    this.until.delete(key);
    this.until.set(key, context?.runId ? Infinity : this.now() + UNNAMED_MS);
    if (this.until.size > this.most) this.until.delete(this.until.keys().next().value);
    return known;
  }
}

// The note in front of a retried prompt is the gateway's: it is the same turn.
function digest(context, prompt) {
  const session = context?.sessionKey ?? context?.sessionId ?? "";
  return createHash("sha256").update(`${session}\n${prompt.replace(RETRY_NOTE, "")}`).digest("hex");
}
