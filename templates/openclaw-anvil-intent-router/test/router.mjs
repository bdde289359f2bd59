// A router for the tests: it answers as it is told and remembers what it was asked.
import { createServer } from "node:http";

export async function withRouter(answer, run) {
  const asked = [];
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const part of request) text += part;
    asked.push({ method: request.method, url: request.url, headers: request.headers, text });
    answer(response);
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  try {
    return await run(`http://127.0.0.1:${server.address().port}`, asked);
  } finally {
    server.closeAllConnections();
    await new Promise((closed) => server.close(closed));
  }
}

export const answering = (status, body) => (response) => {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(typeof body === "string" ? body : JSON.stringify(body));
};
