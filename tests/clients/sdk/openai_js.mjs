// One conversation with the openai JavaScript SDK: FOLDER URL TASK MODEL PROMPT -> the answer on stdout, exit 1 on an error.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [folder, url, task, asked, prompt] = process.argv.slice(2);
const handed = url === "-"; // all is in the environment, where the SDK and we look for it
const model = handed ? process.env.OPENAI_MODEL : asked;
const require = createRequire(`${folder}/`);
const OpenAI = require("openai").default;
const { zodResponseFormat, zodTextFormat } = require("openai/helpers/zod");
const { z } = require("zod");

const own = handed ? {} : { baseURL: `${url}/v1`, apiKey: process.env.ANVIL_ROUTER_TOKEN };
const client = new OpenAI({ ...own, maxRetries: 0, timeout: 30_000 });
const parameters = {
  type: "object",
  properties: { a: { type: "integer" }, b: { type: "integer" } },
  required: ["a", "b"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "add", strict: true, parameters } }];
const messages = [{ role: "developer", content: "Be brief." }, { role: "user", content: prompt }];
const structured = z.object({ answer: z.string(), number: z.number() });
const sum = ({ a, b }) => `anvil-tool-${a + b}`;

async function toolTurn(ask) {
  for (;;) {
    const message = await ask();
    if (!message.tool_calls?.length) return message.content;
    messages.push(message);
    for (const call of message.tool_calls) {
      messages.push({ role: "tool", tool_call_id: call.id, content: sum(JSON.parse(call.function.arguments)) });
    }
  }
}

async function created(extra = {}) {
  const answer = await client.chat.completions.create({ model, messages, ...extra });
  assert.equal(answer.model, model);
  assert.ok(answer.usage);
  return answer.choices[0].message;
}

async function streamed() {
  let words = "";
  let finish, usage;
  const options = { model, messages, stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client.chat.completions.create(options)) {
    usage = chunk.usage ?? usage;
    for (const choice of chunk.choices) {
      words += choice.delta.content ?? "";
      finish = choice.finish_reason ?? finish;
    }
  }
  assert.equal(finish, "stop");
  assert.ok(usage);
  return words;
}

const helped = async (extra = {}) =>
  (await client.chat.completions.stream({ model, messages, ...extra }).finalChatCompletion()).choices[0].message;

async function runTools() {
  const run = { type: "function", function: { name: "add", parse: JSON.parse, function: sum, parameters } };
  return client.chat.completions.runTools({ model, messages, tools: [run], stream: true }).finalContent();
}

async function responsesStream() {
  const stream = client.responses.stream({ model, input: prompt });
  let words = "";
  for await (const event of stream) if (event.type === "response.output_text.delta") words += event.delta;
  const final = await stream.finalResponse();
  assert.equal(final.output_text, words);
  assert.ok(final.usage);
  return words;
}

async function responsesTool() {
  const input = [{ role: "user", content: prompt }];
  const flat = [{ type: "function", name: "add", strict: true, parameters }];
  for (let turn = 0; turn < 3; turn++) {
    const answer = await client.responses.create({ model, input, tools: flat, store: false });
    const calls = answer.output.filter((item) => item.type === "function_call");
    if (!calls.length) return answer.output_text;
    input.push(...answer.output);
    for (const call of calls) {
      input.push({ type: "function_call_output", call_id: call.call_id, output: sum(JSON.parse(call.arguments)) });
    }
  }
  throw new Error("no end of tool calls");
}

const shown = ({ answer, number }) => `${answer} ${number}`;

const tasks = {
  plain: streamed,
  tool: () => toolTurn(() => helped({ tools })),
  models: async () => (await client.models.list()).data.map((entry) => entry.id).join(" "),
  create: async () => (await created()).content,
  "create-tool": () => toolTurn(() => created({ tools })),
  helper: async () => (await helped()).content,
  "helper-tool": () => toolTurn(() => helped({ tools })),
  parse: async () => {
    const response_format = zodResponseFormat(structured, "structured");
    return shown((await client.chat.completions.parse({ model, messages, response_format })).choices[0].message.parsed);
  },
  "runner-tool": runTools,
  responses: async () => (await client.responses.create({ model, input: prompt })).output_text,
  "responses-stream": responsesStream,
  "responses-tool": responsesTool,
  "responses-parse": async () => {
    const text = { format: zodTextFormat(structured, "structured") };
    return shown((await client.responses.parse({ model, input: prompt, text })).output_parsed);
  },
};

try {
  console.log(await tasks[task]());
} catch (error) {
  console.error(`${error.constructor.name}: ${error.message}`);
  process.exit(1);
}
