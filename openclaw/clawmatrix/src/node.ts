/**
 * Speaks with this machine's running node by its control socket, which only the node's owner can open. What a node tells may come
 * from other nodes: answers are capped, and nothing in them is trusted.
 */
import fs from "node:fs/promises";
import http from "node:http";
import path from "node:path";

const maxAnswer = 64 << 20;
const patience = 30_000;

export class NotRunning extends Error {
  constructor(home: string) {
    super(`no clawmatrix node runs with ${home}. The gateway starts it when the plugin is configured: openclaw clawmatrix status`);
  }
}

/** A refusal, in the node's words. */
export class Refused extends Error {
  readonly code: string | undefined;
  constructor(message: string, code?: string) {
    super(message);
    this.code = code;
  }
}

export type Part = { type: string; text?: string; data?: string; mimeType?: string };
export type Result = { content: Part[]; details?: Record<string, unknown>; isError?: boolean; cut?: { totalBytes: number; omittedBytes: number } };
export type Executor = { node: string; key: string };
export type Outcome = { executor: Executor; result: Result; replayed?: boolean };
type NodeError = { message?: string; hint?: string; node?: string; code?: string };
type Event = { type: string; executor?: Executor; text?: string; base64?: string; result?: Result; replayed?: boolean; error?: NodeError };

export type Task = {
  id: string;
  nodeName?: string;
  node: string;
  brief: { kind: string; agent: string; text: string };
  state: string;
  created: string;
  output?: string;
  question?: string;
  error?: string;
  taken?: boolean;
};

export type Peer = {
  name: string;
  key?: string;
  state: string;
  via?: string;
  latencyMs?: number;
  verified: boolean;
  trusted: boolean;
  agents: { id: string; description?: string; tags?: string[] }[];
  models: { id: string; provider?: string; description?: string }[];
  tools: string[];
  tags: string[];
  why?: string[];
};

export type Report = {
  pid: number;
  node: string;
  key: string;
  version: string;
  config: string;
  trust: string;
  secret: string;
  listen?: string;
  proxy: string;
  problems?: string[];
};

export class Node {
  readonly home: string;
  constructor(home: string) {
    this.home = home;
  }

  status(): Promise<Report> {
    return this.#ask("GET", "/status");
  }

  peers(): Promise<Peer[]> {
    return this.#ask("GET", "/peers");
  }

  tasks(): Promise<{ asked: Task[]; taken: Task[] }> {
    return this.#ask("GET", "/tasks");
  }

  /** Asks an agent; the task goes on by itself. */
  ask(target: string, kind: "handoff" | "send", text: string, context?: string): Promise<Task> {
    return this.#ask("POST", "/tasks/ask", { target, kind, text, ...(context ? { context } : {}) });
  }

  /** Waits for news of a task, not long. */
  look(id: string, from: number, signal?: AbortSignal): Promise<{ task: Task; text?: string; next: number }> {
    return this.#ask("POST", "/tasks/look", { id, from }, signal);
  }

  answer(id: string, text: string): Promise<void> {
    return this.#ask("POST", "/tasks/answer", { id, text });
  }

  stop(id: string): Promise<void> {
    return this.#ask("POST", "/tasks/stop", { id, from: 0 });
  }

  /** The tools of a node that this one may use. */
  tools(node: string): Promise<{ executor: Executor; tools: { name: string; description?: string }[]; problems?: string[] }> {
    return this.#ask("GET", `/v1/nodes/${encodeURIComponent(node)}/tools`);
  }

  /** Runs a tool on a node; when signal ends the call, it is ended there, too. */
  async invoke(node: string, tool: string, args: object, signal?: AbortSignal, output?: (text: string) => void): Promise<Outcome> {
    const body = { tool, args, stream: true };
    const response = await this.#request("POST", `/v1/nodes/${encodeURIComponent(node)}/tools/invoke`, body, signal);
    if (response.statusCode !== 200) throw refusal(await text(response));
    try {
      for await (const line of lines(response)) {
        const event = JSON.parse(line) as Event;
        if (event.type === "output") output?.(event.text ?? Buffer.from(event.base64 ?? "", "base64").toString("utf8"));
        if (event.type === "error") throw asRefusal(event.error);
        if (event.type === "result" && event.result && event.executor) return { executor: event.executor, result: event.result, ...(event.replayed ? { replayed: true } : {}) };
      }
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
    signal?.throwIfAborted();
    throw new Error("this machine's node broke off in the middle of the call, so its outcome is not known");
  }

  async #ask<T>(method: string, path: string, body?: object, signal?: AbortSignal): Promise<T> {
    const timeout = AbortSignal.timeout(patience);
    const response = await this.#request(method, path, body, signal ? AbortSignal.any([signal, timeout]) : timeout);
    const answer = await text(response);
    if (response.statusCode !== 200) throw refusal(answer);
    return JSON.parse(answer) as T;
  }

  async #request(method: string, path: string, body: object | undefined, signal: AbortSignal | undefined): Promise<http.IncomingMessage> {
    const socketPath = await this.#socket();
    return await new Promise((resolve, reject) => {
      const request = http.request({ socketPath, method, path, agent: false, signal, headers: { host: "clawmatrix", "content-type": "application/json" } }, resolve);
      request.on("error", (error: NodeJS.ErrnoException) => {
        reject(error.code === "ECONNREFUSED" || error.code === "ENOENT" ? new NotRunning(this.home) : error);
      });
      request.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  /** The lock file names its holder, who names the socket; one that is left over leads to nobody. */
  async #socket(): Promise<string> {
    if (process.platform === "win32") throw new Error("on Windows Node.js cannot open the node's control socket: use the clawmatrix program itself");
    let holder: { socket?: unknown } = {};
    try {
      holder = JSON.parse(await fs.readFile(path.join(this.home, "lock"), "utf8")) as { socket?: unknown };
    } catch {
      throw new NotRunning(this.home); // no file, or none that is held
    }
    if (typeof holder.socket !== "string") throw new NotRunning(this.home);
    return holder.socket;
  }
}

async function* chunks(response: http.IncomingMessage): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxAnswer) throw new Error("the node's answer is too long");
    yield chunk;
  }
}

async function text(response: http.IncomingMessage): Promise<string> {
  return Buffer.concat(await Array.fromAsync(chunks(response))).toString("utf8");
}

/** The lines of a stream; leaving the loop ends it. */
async function* lines(response: http.IncomingMessage): AsyncGenerator<string> {
  let rest: Buffer[] = [];
  for await (let chunk of chunks(response)) {
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10)) {
      const line = Buffer.concat([...rest, chunk.subarray(0, end)]).toString("utf8");
      [rest, chunk] = [[], chunk.subarray(end + 1)];
      if (line.trim() !== "") yield line;
    }
    rest.push(chunk);
  }
}

function refusal(answer: string): Error {
  try {
    return asRefusal((JSON.parse(answer) as { error?: NodeError }).error);
  } catch {
    return new Refused(`the node answered: ${answer.slice(0, 500)}`);
  }
}

function asRefusal(error: NodeError | undefined): Refused {
  const { message = "the node refused and did not say why", hint, node, code } = error ?? {};
  return new Refused(`${node ? `${node}: ` : ""}${message}${hint ? `\nhint: ${hint}` : ""}`, code);
}
