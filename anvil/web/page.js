// The dashboard: asks for the token, keeps it for this tab only, shows readiness, follows decisions and explains them.
const $ = (id) => document.getElementById(id);
const KEY = "anvil-token";
const EVERY_MS = 5000;
const SHOWN = 100;
const DECISION = /^dec_[0-9a-f]{24}$/;

class Refused extends Error {}

let visit = new AbortController(); // ends every request and loop of one token
let newest = null; // id of the last decision shown, from where a broken stream resumes

const token = () => sessionStorage.getItem(KEY) || "";
const say = (text) => { $("state").textContent = text; };
const dollars = (usd) => `$${Number(usd.toFixed(6))}`;
const pause = () => new Promise((resolve) => setTimeout(resolve, EVERY_MS));

async function ask(path, headers = {}) {
  if (token()) headers.authorization = `Bearer ${token()}`;
  const answer = await fetch(path, { headers, signal: visit.signal });
  if (answer.status === 401) throw new Refused();
  return answer;
}

function row(body, cells, { bad = false, top = false } = {}) {
  const line = document.createElement("tr");
  for (const cell of cells) {
    const field = document.createElement("td");
    field.append(cell ?? "-");
    line.append(field);
  }
  if (bad) line.className = "bad";
  top ? body.prepend(line) : body.append(line);
}

function link(text, id) {
  const made = document.createElement("a");
  made.href = `#${id}`;
  made.textContent = text;
  return made;
}

async function refresh() {
  const health = await (await ask("/health")).json();
  const ready = await (await ask("/readyz")).json();
  const body = $("tiers").tBodies[0];
  body.replaceChildren();
  for (const tier of ready.tiers || []) {
    const breaker = tier.resting_s > 0 ? `${tier.breaker}, ${Math.ceil(tier.resting_s)} s of rest` : tier.breaker;
    row(body, [tier.id, tier.model, tier.bound ? "yes" : "no", breaker, tier.in_flight, tier.waiting],
      { bad: tier.breaker !== "closed" || !tier.bound });
  }
  const readiness = health.status === "ok" ? ready.status.replace("_", " ") : health.status;
  say(`${readiness}, release ${health.release ?? "none"}, configuration ${health.config_hash}`);
  $("login").hidden = true;
  document.querySelector("main").hidden = false;
}

function showDecision(record) {
  newest = record.id;
  const body = $("decisions").tBodies[0];
  const attempts = record.attempts.map((a) => `${a.tier_id} ${a.outcome}`).join(", ");
  const bad = !["served", "advised", "counted"].includes(record.outcome);
  row(body, [link(record.ts.slice(0, 19).replace("T", " "), record.id), record.intent?.preset, record.work_class,
    record.served_tier, record.outcome, attempts || null, Math.round(record.duration_ms)], { bad, top: true });
  while (body.rows.length > SHOWN) body.deleteRow(-1);
}

async function follow() {
  if (!newest) (await (await ask("/v1/decisions?limit=50")).json()).data.reverse().forEach(showDecision);
  // without any record yet, those made since the question are part of the stream's start
  const answer = newest ? await ask("/v1/decisions?follow=1", { "last-event-id": newest })
    : await ask("/v1/decisions?follow=1&limit=50");
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    events.forEach(takeEvent);
  }
}

function takeEvent(event) {
  const data = event.split("\n").find((line) => line.startsWith("data: "));
  if (!data) return;
  const value = JSON.parse(data.slice(6));
  if (event.startsWith("event: decision")) showDecision(value);
  if (event.startsWith("event: gap")) {
    row($("decisions").tBodies[0], [`${value.missed} decisions missed`], { bad: true, top: true });
  }
}

// What the record says, in its own words; `anvil explain` tells the same as prose.
function* reasons(record) {
  yield ["asked", [`${record.endpoint} in ${record.dialect}${record.stream ? ", streamed" : ""}`,
    `model ${record.caller_model ?? "not named"}`]];
  const intent = record.intent;
  if (intent) {
    const signals = intent.signals;
    yield ["intent", [`preset ${intent.preset ?? "none"}, work class ${record.work_class ?? "none"}`,
      `${intent.source}, confidence ${intent.confidence}${intent.ambiguous ? ", ambiguous" : ""}`,
      `${signals.token_estimate} words, thinking ${signals.thinking_enabled ? "on" : "off"}, ` +
      (signals.has_tools ? "tools offered" : "no tools") +
      (signals.matched_keywords.length ? `, matched ${signals.matched_keywords.join(", ")}` : "")]];
  }
  yield ["candidates", record.requested_tiers];
  yield ["dropped", Object.entries(record.dropped).filter(([, ids]) => ids.length)
    .map(([step, ids]) => `${step}: ${ids.join(", ")}`)];
  yield ["quality gate", record.gate_note ? [record.gate_note] : []];
  yield ["attempts", record.attempts.map(attempted)];
  yield ["outcome", [`${record.outcome}${record.served_tier ? ` by ${record.served_tier}` : ""}` +
    `${record.fell_back ? ", after falling back" : ""}, HTTP ${record.status}, ${Math.round(record.duration_ms)} ms`]];
  yield ["lossy", record.lossy];
  yield ["cost", [`${dollars(record.cost_usd)}, wasted ${dollars(record.wasted_cost_usd)}`]];
}

function attempted(attempt) {
  const check = attempt.verifier_passed === null ? attempt.verify_reason
    : attempt.verifier_passed ? "checks passed" : `failed check ${attempt.verify_reason}`;
  return [`${attempt.tier_id}: ${attempt.outcome}`, attempt.verdict && `verdict ${attempt.verdict}`,
    attempt.failure_class, check, attempt.upstream_status && `tier answered ${attempt.upstream_status}`,
    `${attempt.prompt_tokens} + ${attempt.completion_tokens} tokens`, `${Math.round(attempt.duration_ms)} ms`]
    .filter(Boolean).join(", ");
}

async function explain() {
  const id = location.hash.slice(1);
  $("why").hidden = true;
  if (!DECISION.test(id)) return;
  const answer = await ask(`/v1/decisions/${id}`);
  const found = answer.ok ? [...reasons(await answer.json())] : [["answer", [`no record, status ${answer.status}`]]];
  if (id !== location.hash.slice(1)) return; // another one was chosen meanwhile
  const list = $("why").querySelector("dl");
  list.replaceChildren();
  for (const [name, values] of found) {
    if (!values.length) continue;
    const term = document.createElement("dt");
    term.textContent = name;
    list.append(term);
    for (const value of values) {
      const line = document.createElement("dd");
      line.textContent = value;
      list.append(line);
    }
  }
  $("which").textContent = id;
  $("why").hidden = false;
}

function lock() {
  visit.abort();
  say(token() ? "this token is not accepted" : "a token is needed");
  sessionStorage.removeItem(KEY);
  for (const body of [$("tiers").tBodies[0], $("decisions").tBodies[0], $("why").querySelector("dl")]) {
    body.replaceChildren();
  }
  newest = null;
  document.querySelector("main").hidden = true;
  $("login").hidden = false;
  $("token").focus();
}

async function attempt(step) {
  const { signal } = visit;
  try {
    await step();
  } catch (error) {
    if (signal.aborted) return;
    error instanceof Refused ? lock() : say("no answer from the router, asking again");
  }
}

async function repeat(step) {
  const { signal } = visit;
  while (!signal.aborted) {
    await attempt(step);
    await pause();
  }
}

function start() {
  visit.abort();
  visit = new AbortController();
  repeat(refresh);
  repeat(follow);
  attempt(explain);
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = $("token").value.trim();
  $("token").value = "";
  if (!/^[\x21-\x7e]+$/.test(given)) return say("a token is one word of printable ASCII");
  sessionStorage.setItem(KEY, given);
  start();
});
window.addEventListener("hashchange", () => attempt(explain));
start();
