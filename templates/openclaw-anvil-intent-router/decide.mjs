// Which preset a turn belongs to. Pure: no clock, no network, no files.

const LONG_CHARS = 24_000;
const MANY_ATTACHMENTS = 4;
const MEDIA_KINDS = new Set(["image", "video", "audio", "document"]);
const MEDIA_TYPES = ["image/", "video/", "audio/", "application/", "text/"];

export const CLASS_PRESET = {
  chat: "chat",
  "bounded-edit": "quick-edit",
  "multi-file-refactor": "review",
  planning: "planning",
  review: "review",
  "long-context": "long-context",
};

/** The text of a prompt, whatever its form. */
export function promptText(prompt) {
  if (typeof prompt === "string") return prompt;
  const parts = Array.isArray(prompt) ? prompt : [];
  const texts = parts.map((part) => (typeof part === "string" ? part : part?.text));
  return texts.filter((text) => typeof text === "string").join("\n");
}

/** {workClass, preset, plain}: plain = decided by the words alone, so the router may see it another way. */
export function classify(prompt, attachments, keywords) {
  const bySize = sizeClass(prompt, Array.isArray(attachments) ? attachments : []);
  const workClass = bySize ?? wordClass(prompt, keywords);
  return { workClass, preset: CLASS_PRESET[workClass] ?? "chat", plain: bySize === null };
}

function sizeClass(prompt, attachments) {
  if (prompt.length >= LONG_CHARS || attachments.length >= MANY_ATTACHMENTS) return "long-context";
  return attachments.some(isMedia) ? "review" : null;
}

function isMedia(attachment) {
  const type = typeof attachment?.mimeType === "string" ? attachment.mimeType.toLowerCase() : "";
  return MEDIA_KINDS.has(attachment?.kind) || MEDIA_TYPES.some((prefix) => type.startsWith(prefix));
}

function wordClass(prompt, keywords) {
  const text = prompt.toLowerCase();
  return keywords.find(([, words]) => words.test(text))?.[0] ?? "chat";
}

/** Whether the gateway's own choice stands: another provider's turn, or a preset that somebody picked. */
export function isChosen(context, { provider, primaryPreset, scope }) {
  const theirs = context?.modelProviderId;
  if (theirs !== provider) return scope === "anvil" && Boolean(theirs);
  const preset = bare(context.modelId, provider);
  return Boolean(preset) && preset !== primaryPreset;
}

function bare(model, provider) {
  const text = typeof model === "string" ? model : "";
  return text.startsWith(`${provider}/`) ? text.slice(provider.length + 1) : text;
}

/** What the router is asked: no model, so it classifies the words itself. Estimates are tokens. */
export function question(prompt, local) {
  const signals = { token_estimate: Math.ceil(prompt.length / 3) };
  if (!local.plain) signals.work_class = local.workClass;
  return { messages: [{ role: "user", content: prompt }], signals };
}

/** The router's answer ({status, body} or null) joined with what was found here. `native`: no preset of ours. */
export function judged(answer, local) {
  const here = { ...local, native: false, authoritative: false, reason: "classify" };
  const routed = { ...here, authoritative: true, reason: "route" };
  if (answer?.status === 503 || answer?.status === 413) return { ...routed, native: true };
  if (answer?.status !== 200) return here;
  const { tier, work_class: workClass } = answer.body ?? {};
  if (tier === "cloud") return { ...routed, native: true };
  if (tier !== "local" || !Object.hasOwn(CLASS_PRESET, workClass)) return here;
  return { ...routed, workClass, preset: CLASS_PRESET[workClass] };
}

/** Work that the operator gives to the native provider, by preset or by work class. */
export function keptNative(verdict, cloudClasses) {
  if (verdict.native || !(cloudClasses.has(verdict.preset) || cloudClasses.has(verdict.workClass))) return verdict;
  return { ...verdict, native: true, reason: "cloud-class" };
}

/**
 * The override of a verdict. Work of the native provider needs one only where the gateway's own choice would be ours:
 * then it is the first fallback of the gateway's document that is not ours. {} lets the gateway's choice stand.
 */
export function overrideOf(verdict, context, { provider, primaryPreset }, document) {
  if (!verdict.preset) return {};
  if (verdict.native) return context?.modelProviderId === provider ? nativeModel(document, provider) : {};
  const preset = [verdict.preset, primaryPreset].find((name) => isOffered(name, document, provider));
  return preset ? { providerOverride: provider, modelOverride: preset } : {};
}

// A router may have fewer presets than there are work classes: an override to a missing one would end the turn.
function isOffered(preset, document, provider) {
  const models = document?.models?.providers?.[provider]?.models;
  return !Array.isArray(models) || models.some((model) => model?.id === preset);
}

function nativeModel(document, provider) {
  const listed = document?.agents?.defaults?.model?.fallbacks;
  const parts = (Array.isArray(listed) ? listed : []).map((reference) => /^([^/]+)\/(.+)$/.exec(reference));
  const found = parts.find((part) => part !== null && part[1] !== provider);
  return found ? { providerOverride: found[1], modelOverride: found[2] } : {};
}
