// Asks a server as the official client does, and prints what came: node npm_client.mjs < asked.json
//
// Asked: {url, key, cases: {name: parameters}, errors: {name: {key, parameters}}, completions: [parameters],
// agent: parameters}. Printed: the answers under the same names, whole and streamed, and the errors' fields.

import OpenAI from "openai";
import { text } from "node:stream/consumers";

const asked = JSON.parse(await text(process.stdin));
const connect = (apiKey) => new OpenAI({ baseURL: `${asked.url}/v1`, apiKey, maxRetries: 0 });
const client = connect(asked.key);
const chat = client.chat.completions;

async function chunksOf(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

async function failure(promise) {
  try {
    await promise;
    return null;
  } catch (error) {
    const { status, code, param, type, message } = error;
    return { kind: error.constructor.name, status, code, param, type, message };
  }
}

const answers = {};
for (const [name, parameters] of Object.entries(asked.cases)) {
  answers[name] = {
    whole: await chat.create(parameters),
    streamed: await chat.stream(parameters).finalChatCompletion(),
    chunks: await chunksOf(await chat.create({ ...parameters, stream: true })),
  };
}

const errors = {};
for (const [name, { key, parameters }] of Object.entries(asked.errors)) {
  const asking = connect(key).chat.completions;
  errors[name] = {
    whole: await failure(asking.create(parameters)),
    streamed: await failure(asking.create({ ...parameters, stream: true })),
  };
}

const completions = [];
for (const parameters of asked.completions) {
  const whole = await client.completions.create(parameters);
  const stream = await client.completions.create({ ...parameters, stream: true });
  completions.push({ whole, chunks: await chunksOf(stream) });
}

const called = [];
function get_weather(given) {
  called.push(given);
  return "rain";
}
const [tool] = asked.agent.tools;
const real = { ...tool.function, function: get_weather, parse: JSON.parse };
const runner = chat.runTools({ ...asked.agent, tools: [{ type: "function", function: real }] });
const agent = { said: await runner.finalContent(), called };

const models = [];
for await (const model of client.models.list()) models.push(model.id);
const model = await client.models.retrieve(models[0]);

console.log(JSON.stringify({ answers, errors, completions, agent, models, model }));
