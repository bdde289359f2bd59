// The decisions, one JSON line each. Nothing here may hold up or break a turn.
import { appendFile, mkdir, rename, stat } from "node:fs/promises";
import { dirname } from "node:path";

const MOST_BYTES = 10 * 1024 * 1024;

/** Appends in order, behind the caller's back; two files are kept: `path` and `path.1`. */
export class DecisionLog {
  constructor(path, most = MOST_BYTES) {
    this.path = path;
    this.most = most;
    this.last = Promise.resolve();
  }

  write(record) {
    if (this.path === null) return;
    const line = `${JSON.stringify(record)}\n`;
    this.last = this.last.then(() => this.#append(line)).catch(() => {});
  }

  /** Resolves when everything written so far is on disk. */
  settled() {
    return this.last;
  }

  async #append(line) {
    await mkdir(dirname(this.path), { recursive: true, mode: 0o700 });
    const held = await stat(this.path).then((found) => found.size, () => 0);
    if (held > 0 && held + line.length > this.most) await rename(this.path, `${this.path}.1`);
    await appendFile(this.path, line, { mode: 0o600 });
  }
}
