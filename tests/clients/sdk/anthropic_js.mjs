// One conversation with the Anthropic JavaScript SDK: FOLDER URL TASK MODEL PROMPT -> the answer on stdout, exit 1 on an error.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [folder, baseURL, task, asked, prompt] = process.argv.slice(2);
const handed = baseURL === "-"; // all is in the environment, where the SDK and we look for it
const model = handed ? process.env.ANTHROPIC_MODEL : asked;
const require = createRequire(`${folder}/`);
const Anthropic = require("@anthropic-ai/sdk").default;
const { betaZodTool } = require("@anthropic-ai/sdk/helpers/beta/zod");
const { zodOutputFormat } = require("@anthropic-ai/sdk/helpers/zod");
const { z } = require("zod");

const own = handed ? {} : { baseURL, apiKey: process.env.ANVIL_ROUTER_TOKEN };
const client = new Anthropic({ ...own, maxRetries: 0, timeout: 30_000 });
const properties = { a: { type: "integer" }, b: { type: "integer" } };
const tools = [{ name: "add", description: "Adds.", input_schema: { type: "object", properties, required: ["a", "b"] } }];
const messages = [{ role: "user", content: prompt }];
const base = { model, max_tokens: 1000 };
const structured = z.object({ answer: z.string(), number: z.number() });
const sum = ({ a, b }) => `anvil-tool-${a + b}`;
const textOf = (message) =>
  message.content
    .filter((block) => block.type === "text")
    .map((block) => block.text)
    .join("");

async function toolTurn(ask) {
  for (;;) {
    const message = await ask();
    const uses = message.content.filter((block) => block.type === "tool_use");
    assert.equal(message.stop_reason, uses.length ? "tool_use" : "end_turn");
    if (!uses.length) return textOf(message);
    messages.push({ role: "assistant", content: message.content });
    messages.push({
      role: "user",
      content: uses.map((use) => ({ type: "tool_result", tool_use_id: use.id, content: sum(use.input) })),
    });
  }
}

async function created(extra = {}) {
  const message = await client.messages.create({ ...base, messages, ...extra });
  assert.equal(message.model, model);
  assert.ok(message.usage.output_tokens > 0);
  return message;
}

const helped = (extra = {}) => client.messages.stream({ ...base, messages, ...extra }).finalMessage();

async function streamed() {
  let words = "";
  let last;
  for await (const event of await client.messages.create({ ...base, messages, stream: true })) {
    last = event.type;
    if (event.type === "content_block_delta" && event.delta.type === "text_delta") words += event.delta.text;
  }
  assert.equal(last, "message_stop");
  return words;
}

const add = () =>
  betaZodTool({ name: "add", description: "Adds.", inputSchema: z.object({ a: z.number(), b: z.number() }), run: sum });

async function runner(stream) {
  const given = { ...base, messages, tools: [add()] };
  if (!stream) return textOf(await client.beta.messages.toolRunner(given));
  let final;
  for await (const message of client.beta.messages.toolRunner({ ...given, stream: true })) final = await message.finalMessage();
  return textOf(final);
}

async function parse() {
  const output_config = { format: zodOutputFormat(structured) };
  const { answer, number } = (await client.messages.parse({ ...base, messages, output_config })).parsed_output;
  return `${answer} ${number}`;
}

const tasks = {
  plain: streamed,
  tool: () => toolTurn(() => helped({ tools })),
  models: async () => {
    const ids = [];
    for await (const entry of client.models.list()) ids.push(entry.id);
    return ids.join(" ");
  },
  count: async () => `${(await client.messages.countTokens({ model, messages, tools })).input_tokens} tokens`,
  create: async () => textOf(await created()),
  "create-tool": () => toolTurn(() => created({ tools })),
  "helper-tool": () => toolTurn(() => helped({ tools })),
  parse,
  "runner-tool": () => runner(false),
  "runner-stream-tool": () => runner(true),
};

try {
  console.log(await tasks[task]());
} catch (error) {
  console.error(`${error.constructor.name}: ${error.message}`);
  process.exit(1);
}
