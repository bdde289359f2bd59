// One question to the router, within one deadline from the connection to the last byte.
import { request as plain } from "node:http";
import { request as secure } from "node:https";

const MOST_BYTES = 64 * 1024;

/** {status, body}; body is null unless the status is 200 and it is JSON. null: no answer in time. Never rejects. */
export function ask(endpoint, token, question, deadlineMs) {
  return new Promise((resolve) => {
    let sent = null;
    const done = (answer) => {
      clearTimeout(timer);
      sent?.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => done(null), deadlineMs);
    try {
      sent = send(endpoint, token, JSON.stringify(question), done);
    } catch {
      done(null);
    }
  });
}

// No proxy and no redirect: the token goes to the router's own address and nowhere else.
function send(endpoint, token, body, done) {
  const url = new URL(endpoint);
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  if (token) headers.authorization = `Bearer ${token}`;
  const make = url.protocol === "https:" ? secure : plain;
  const sent = make(url, { method: "POST", headers, agent: false }, (response) => receive(response, done));
  sent.on("error", () => done(null));
  sent.end(body);
  return sent;
}

function receive(response, done) {
  const status = response.statusCode;
  if (status !== 200) return done({ status, body: null });
  const parts = [];
  let size = 0;
  response.on("data", (part) => {
    parts.push(part);
    size += part.length;
    if (size > MOST_BYTES) done(null);
  });
  response.on("error", () => done(null));
  response.on("aborted", () => done(null));
  response.on("end", () => done({ status, body: parsed(Buffer.concat(parts).toString("utf8")) }));
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
