import assert from "node:assert/strict";
import { test } from "node:test";
import { ask } from "../advice.mjs";
import { answering, withRouter } from "./router.mjs";

const LOCAL = { tier: "local", work_class: "review" };
const answerOf = (answer, deadlineMs = 2000) =>
  withRouter(answer, (base) => ask(`${base}/v1/route`, "t", {}, deadlineMs));

test("the question is posted with the token, when there is one", async () => {
  await withRouter(answering(200, LOCAL), async (base, asked) => {
    assert.deepEqual(await ask(`${base}/v1/route`, "canary", { a: "é" }, 2000), { status: 200, body: LOCAL });
    await ask(`${base}/v1/route`, undefined, {}, 2000);
    await ask(`${base}/v1/route`, "", {}, 2000);
    const [first, ...others] = asked;
    assert.deepEqual([first.method, first.url, first.text], ["POST", "/v1/route", '{"a":"é"}']);
    assert.equal(first.headers.authorization, "Bearer canary");
    assert.equal(first.headers["content-type"], "application/json");
    for (const each of others) assert.equal("authorization" in each.headers, false);
  });
});

test("statuses are told as they are, their bodies are not read", async () => {
  for (const status of [401, 403, 404, 413, 500, 503]) {
    assert.deepEqual(await answerOf(answering(status, LOCAL)), { status, body: null });
  }
});

test("a redirect is not followed: the token stays with the router", async () => {
  await withRouter(answering(200, LOCAL), async (other, asked) => {
    const redirect = (response) => response.writeHead(307, { location: `${other}/v1/route` }).end();
    assert.deepEqual(await answerOf(redirect), { status: 307, body: null });
    assert.equal(asked.length, 0);
  });
});

test("a body in chunks is joined, also within one character", async () => {
  const bytes = Buffer.from('{"tier":"local","work_class":"é"}');
  const answer = (response) => {
    response.write(bytes.subarray(0, bytes.length - 3));
    setTimeout(() => response.end(bytes.subarray(bytes.length - 3)), 20);
  };
  assert.equal((await answerOf(answer)).body.work_class, "é");
});

test("garbage, a cut body, an endless body and no server are no answer", async () => {
  assert.deepEqual(await answerOf(answering(200, "<html>")), { status: 200, body: null });
  const cut = (response) => {
    response.writeHead(200, { "content-length": 100 });
    response.write("{");
    setTimeout(() => response.destroy(), 10);
  };
  assert.equal(await answerOf(cut), null);
  assert.equal(await answerOf(answering(200, `"${"x".repeat(70_000)}"`)), null);
  assert.equal(await answerOf((response) => response.destroy()), null);
  const gone = await withRouter(answering(200, LOCAL), (base) => base);
  assert.equal(await ask(`${gone}/v1/route`, "t", {}, 2000), null);
  assert.equal(await ask("http://127.0.0.1:1/v1/route", "line\nbreak", {}, 2000), null);
});

test("one deadline for all of it: a silent router, and one that drips", async () => {
  const silent = () => {};
  const dripping = (response) => {
    response.writeHead(200);
    const timer = setInterval(() => response.write(" "), 10);
    response.on("close", () => clearInterval(timer));
  };
  for (const answer of [silent, dripping]) {
    const began = performance.now();
    assert.equal(await answerOf(answer, 100), null);
    const took = performance.now() - began;
    assert.ok(took >= 95 && took < 1000, `${took} ms`);
  }
});
