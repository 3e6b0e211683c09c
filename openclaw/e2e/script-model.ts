/**
 * An engine that speaks OpenAI's API and answers what the conversation tells it to. The last user message that holds
 * `SCRIPT: [step, ...]` says what to do: `{"tool": NAME, "args": {...}}` calls a tool, `{"say": TEXT}` ends the turn. In both,
 * `{{last}}` is the newest tool result and `{{token}}` the newest resume token in the conversation. One that thinks says a thought
 * before, unless it is told not to.
 */
import http from "node:http";
import type { AddressInfo } from "node:net";

type Message = { role: string; content: unknown; tool_call_id?: string };
export type Asked = { model: string; messages: Message[]; tools?: { function: { name: string } }[]; stream?: boolean; chat_template_kwargs?: { enable_thinking?: boolean }; [key: string]: unknown };
type Step = { say: string } | { tool: string; args: Record<string, unknown> };

export class ScriptModel {
  readonly asked: Asked[] = [];
  readonly #id: string;
  readonly #thinks: boolean;
  readonly #server = http.createServer((request, response) => void this.#answer(request, response));

  private constructor(id: string, thinks: boolean) {
    this.#id = id;
    this.#thinks = thinks;
  }

  static async start(id = "scripted", { thinks = false } = {}): Promise<ScriptModel> {
    const model = new ScriptModel(id, thinks);
    await new Promise<void>((resolve) => model.#server.listen(0, "127.0.0.1", resolve));
    return model;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse) {
    let body = "";
    for await (const chunk of request) body += chunk;
    if (request.method === "GET" && request.url === "/v1/models") {
      const asLlamaServer = this.#thinks ? { models: [{ capabilities: ["completion", "tools", "thinking"] }] } : {};
      return json(response, { object: "list", data: [{ id: this.#id, object: "model", max_model_len: 65_536, owned_by: this.#thinks ? "llamacpp" : "script" }], ...asLlamaServer });
    }
    if (request.method !== "POST" || request.url !== "/v1/chat/completions") return json(response, { error: { message: "not here" } }, 404);
    const asked = JSON.parse(body) as Asked;
    this.asked.push(asked);
    reply(response, asked, nextStep(asked.messages), this.#thinks && asked.chat_template_kwargs?.enable_thinking !== false);
  }
}

function json(response: http.ServerResponse, value: unknown, status = 200) {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
}

function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  return Array.isArray(content) ? content.map((part: { text?: string }) => part.text ?? "").join("") : "";
}

function nextStep(messages: Message[]): Step {
  const at = messages.findLastIndex((m) => m.role === "user" && textOf(m.content).includes("SCRIPT:"));
  if (at < 0) return { say: "nothing to do" };
  const results = messages.slice(at).filter((m) => m.role === "tool");
  const steps = scriptIn(textOf(messages[at]?.content));
  const step = steps[results.length] ?? { say: "the script is over" };
  const tokens = [...messages.map((m) => textOf(m.content)).join("\n").matchAll(/\\*"resumeToken\\*":\s*\\*"([^"\\]+)/g)];
  const fill = (text: string) => text.replaceAll("{{last}}", textOf(results.at(-1)?.content)).replaceAll("{{token}}", tokens.at(-1)?.[1] ?? "no token");
  return "say" in step ? { say: fill(step.say) } : { tool: step.tool, args: filled(step.args, fill) };
}

function filled(args: Record<string, unknown>, fill: (text: string) => string): Record<string, unknown> {
  return JSON.parse(JSON.stringify(args), (_, value: unknown) => (typeof value === "string" ? fill(value) : value)) as Record<string, unknown>;
}

/** Reads the JSON list that follows the word, whatever the gateway adds behind it. */
function scriptIn(text: string): Step[] {
  const rest = text.slice(text.lastIndexOf("SCRIPT:") + "SCRIPT:".length);
  for (let end = rest.indexOf("]"); end >= 0; end = rest.indexOf("]", end + 1)) {
    try {
      return JSON.parse(rest.slice(0, end + 1)) as Step[];
    } catch {
      // a bracket of the text
    }
  }
  return [];
}

const usage = { prompt_tokens: 7_000, completion_tokens: 20, total_tokens: 7_020 };
let calls = 0;

function reply(response: http.ServerResponse, asked: Asked, step: Step, thinks: boolean) {
  const call = "tool" in step ? [{ index: 0, id: `call_${++calls}`, type: "function", function: { name: step.tool, arguments: JSON.stringify(step.args) } }] : undefined;
  const finish = call ? "tool_calls" : "stop";
  const message = call ? { role: "assistant", content: null, tool_calls: call } : { role: "assistant", content: (step as { say: string }).say };
  if (!asked.stream) {
    return json(response, { id: "c", object: "chat.completion", created: 1, model: asked.model, choices: [{ index: 0, message, finish_reason: finish }], usage });
  }
  response.writeHead(200, { "content-type": "text/event-stream" });
  const chunk = (choices: unknown[], more = {}) =>
    response.write(`data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", created: 1, model: asked.model, choices, ...more })}\n\n`);
  for (const thought of thinks ? ["It wants ", "an answer."] : []) chunk([{ index: 0, delta: { role: "assistant", reasoning_content: thought }, finish_reason: null }]);
  chunk([{ index: 0, delta: message, finish_reason: null }]);
  chunk([{ index: 0, delta: {}, finish_reason: finish }]);
  chunk([], { usage });
  response.end("data: [DONE]\n\n");
}
