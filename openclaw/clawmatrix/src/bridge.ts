/**
 * The bridge by which this machine's node runs tools of this gateway for other nodes: GET /tools and POST /invoke below one route,
 * as docs/clawmatrix-bridge.md describes them.
 *
 * Whoever has the token of this installation may call it, from this machine and not from a page. Tools run as somebody who is not
 * the owner, in a session of their own for each node, under the gateway's tool policy and under src/lending.ts. Each call is logged.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { OpenClawPluginApi } from "openclaw/plugin-sdk/plugin-entry";
import type { Lending } from "./lending.ts";

export const bridgePath = "/plugins/clawmatrix";

const maxBody = 16 << 20;
const maxDescription = 4_000;

/** A tool as the gateway makes it. */
export type GatewayTool = {
  name: string;
  description?: string;
  parameters?: unknown;
  execute: (callId: string, args: never, signal?: AbortSignal) => Promise<{ content: unknown[]; details?: unknown }>;
};

export type Caller = { node: string; key: string; verified: boolean };

/** Makes the gateway's tools as its policy has them for a caller; for the list of all that may be lent there is none. */
export type Toolbox = (caller: Caller | undefined, signal: AbortSignal) => Promise<GatewayTool[]>;

export type BridgeOptions = { token: () => string | undefined; lending: () => Lending; toolbox: Toolbox; log: OpenClawPluginApi["logger"] };

/** A token of 256 bits. */
export function newToken(): string {
  return randomBytes(32).toString("base64url");
}

class BridgeError extends Error {
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export function createBridge(options: BridgeOptions) {
  return async (request: IncomingMessage, response: ServerResponse): Promise<boolean> => {
    const gone = new AbortController();
    response.on("close", () => {
      if (!response.writableFinished) gone.abort(new Error("the node closed the connection"));
    });
    try {
      identify(request, options.token());
      reply(response, 200, await answer(request, options, gone.signal));
    } catch (error) {
      const known = error instanceof BridgeError ? error : new BridgeError(500, "tool_failed", "the bridge failed");
      if (known !== error) options.log.error(`clawmatrix bridge: ${String(error)}`);
      reply(response, known.status, { ok: false, error: { code: known.code, message: known.message } });
    }
    return true;
  };
}

function reply(response: ServerResponse, status: number, body: object) {
  if (response.destroyed) return;
  response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" }).end(JSON.stringify(body));
}

/** Lets programs of this machine in that know the token. */
function identify(request: IncomingMessage, token: string | undefined) {
  const { headers, socket } = request;
  const local = /^(::ffff:)?127\.|^::1$/.test(socket.remoteAddress ?? "");
  const passedOn = ["origin", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"].some((name) => headers[name] !== undefined);
  if (!local || passedOn) throw new BridgeError(403, "not_local", "the bridge is for the node of this machine");
  const given = /^Bearer (.+)$/.exec(headers.authorization ?? "")?.[1] ?? "";
  if (token === undefined || !same(given, token)) throw new BridgeError(401, "invalid_token", "the bridge wants its own token");
}

function same(a: string, b: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

async function answer(request: IncomingMessage, options: BridgeOptions, signal: AbortSignal): Promise<object> {
  const { pathname } = new URL(request.url ?? "", "http://bridge");
  switch (`${request.method} ${pathname.slice(bridgePath.length)}`) {
    case "GET /tools":
      return { ok: true, tools: await list(options, signal) };
    case "POST /invoke":
      return { ok: true, result: await invoke(readCall(await body(request)), options, signal) };
  }
  throw new BridgeError(404, "unknown_route", "the bridge has GET /tools and POST /invoke");
}

async function list({ lending, toolbox }: BridgeOptions, signal: AbortSignal): Promise<object[]> {
  const lent = lending();
  if (lent.empty) return [];
  const tools = (await toolbox(undefined, signal)).filter(({ name }) => lent.lends(name));
  return tools.map(({ name, description, parameters }) => ({ name, description: description?.slice(0, maxDescription), parameters: parameters ?? { type: "object" } }));
}

async function body(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBody) throw new BridgeError(413, "bad_arguments", `a call has at most ${maxBody} bytes`);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch {
    throw new BridgeError(400, "bad_arguments", "a call is JSON");
  }
}

type Call = { tool: string; args: object; caller: Caller; call: string };

function readCall(value: unknown): Call {
  const { tool, args, caller, call } = (value ?? {}) as Partial<Record<keyof Call, unknown>>;
  const { node, key, verified } = (caller ?? {}) as Partial<Record<keyof Caller, unknown>>;
  const isObject = typeof args === "object" && args !== null && !Array.isArray(args);
  if (typeof tool !== "string" || !isObject || typeof node !== "string" || typeof key !== "string" || !/^lob1[0-9a-z]+$/i.test(key) || typeof call !== "string") {
    throw new BridgeError(400, "bad_arguments", "a call has tool, args, caller and call");
  }
  return { tool, args, caller: { node, key, verified: verified === true }, call };
}

async function invoke({ tool, args, caller, call }: Call, options: BridgeOptions, signal: AbortSignal): Promise<object> {
  const { lending, toolbox, log } = options;
  const who = `${printable(caller.node)} (${caller.key.slice(0, 16)})`;
  const what = `${printable(tool)} for ${who}, call ${printable(call)}`;
  if (!lending().lends(tool)) {
    log.warn(`clawmatrix: refused ${what}`);
    throw new BridgeError(403, "tool_denied", `this gateway does not lend ${printable(tool)}`);
  }
  const found = (await toolbox(caller, signal)).find(({ name }) => name === tool);
  if (found === undefined) {
    log.warn(`clawmatrix: has no ${what}`);
    throw new BridgeError(404, "unknown_tool", `this gateway has no ${printable(tool)}, or its tool policy denies it`);
  }
  log.info(`clawmatrix: runs ${what}`);
  const began = Date.now();
  try {
    const { content, details } = await found.execute(`clawmatrix-${call}`, args as never, signal);
    log.info(`clawmatrix: ended ${what}, ${Date.now() - began} ms`);
    return { content, ...(details === undefined ? {} : { details }) };
  } catch (error) {
    log.warn(`clawmatrix: failed ${what}, ${Date.now() - began} ms: ${printable(String(error))}`);
    throw failure(error);
  }
}

/** What the caller is told of a tool that failed. */
function failure(error: unknown): BridgeError {
  const { name, message, status } = (error instanceof Error ? error : new Error(String(error))) as Error & { status?: unknown };
  if (name === "ToolInputError") return new BridgeError(400, "bad_arguments", message);
  return new BridgeError(500, status === 403 || name === "ToolAuthorizationError" ? "tool_denied" : "tool_failed", message);
}

/** Text of other nodes, for one line of a log. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e\u00a1-\uffff]/g, "?").slice(0, 300);
}
