// The dashboard: asks for the token, keeps it for this tab only, shows readiness and follows decisions.
const $ = (id) => document.getElementById(id);
const token = () => sessionStorage.getItem("anvil-token") || "";
const ask = (path, more = {}) =>
  fetch(path, { ...more, headers: { ...(token() ? { authorization: `Bearer ${token()}` } : {}), ...(more.headers || {}) } });

function row(body, cells, bad, top) {
  const line = document.createElement("tr");
  for (const cell of cells) {
    const field = document.createElement("td");
    field.textContent = cell ?? "-";
    line.append(field);
  }
  if (bad) line.className = "bad";
  top ? body.prepend(line) : body.append(line);
}

async function showTiers() {
  const answer = await ask("/readyz");
  const found = await answer.json();
  const body = $("tiers").tBodies[0];
  body.replaceChildren();
  for (const tier of found.tiers || []) {
    row(body, [tier.id, tier.model, tier.bound ? "yes" : "no", tier.breaker, tier.in_flight], tier.breaker !== "closed");
  }
}

function showDecision(record) {
  const body = $("decisions").tBodies[0];
  const attempts = record.attempts.map((a) => `${a.tier_id} ${a.outcome}`).join(", ");
  row(body, [record.ts, record.intent?.preset, record.work_class, record.served_tier, record.outcome, attempts,
    Math.round(record.duration_ms)], record.outcome !== "served", true);
  while (body.rows.length > 100) body.deleteRow(-1);
}

async function follow() {
  const answer = await ask("/v1/decisions?follow=1");
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (event.startsWith("event: decision") && data) showDecision(JSON.parse(data.slice(6)));
    }
  }
}

async function start() {
  const answer = await ask("/health");
  if (answer.status === 401) { $("state").textContent = "a token is needed"; return; }
  const health = await answer.json();
  $("state").textContent = `${health.status}, release ${health.release ?? "none"}, configuration ${health.config_hash}`;
  $("login").hidden = true;
  document.querySelector("main").hidden = false;
  const past = await (await ask("/v1/decisions?limit=50")).json();
  past.data.reverse().forEach(showDecision);
  await showTiers();
  setInterval(showTiers, 5000);
  follow();
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("anvil-token", $("token").value.trim());
  start();
});
start();
