// The words that name a work class. keywords.json is a copy of the router's own vocabulary.
import { readFileSync } from "node:fs";

/** Used when keywords.json cannot be read; a test keeps the two equal. */
export const EMBEDDED = {
  review: ["review", "critique", "feedback", "audit"],
  planning: ["plan", "plans", "planning", "design", "architect", "decompose", "break down", "step by step", "roadmap"],
  "multi-file-refactor": ["refactor", "rename across", "across the codebase", "migrate the"],
  "bounded-edit": ["edit", "fix", "change", "add a", "update the", "implement", "patch"],
};

/** [work class, pattern] in order of priority. Never throws. */
export function loadKeywords(file = new URL("./keywords.json", import.meta.url)) {
  try {
    return compiled(JSON.parse(readFileSync(file, "utf8")));
  } catch {
    return compiled(EMBEDDED);
  }
}

function compiled(words) {
  return Object.entries(words)
    .filter(([name]) => !name.startsWith("_"))
    .map(([name, listed]) => [name, pattern(listed)]);
}

// The boundaries are those of the router: a word goes on in any letter, not only in ASCII.
function pattern(listed) {
  const words = listed.map((word) => word.toLowerCase().replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`(?<![\\p{L}\\p{N}_])(?:${words.join("|")})(?![\\p{L}\\p{N}_])`, "u");
}
