import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { bridgePath, createBridge, newToken, type Caller, type GatewayTool } from "../src/bridge.ts";
import { Lending } from "../src/lending.ts";
import { Log, serve, type Cleanup } from "./fakes.ts";

const token = newToken();
const caller = { node: "laptop", key: "lob1" + "ab".repeat(32), verified: true };

type Bridge = { log: Log; callers: (Caller | undefined)[]; ask: (path: string, options?: { body?: unknown; headers?: Record<string, string>; method?: string; signal?: AbortSignal }) => Promise<{ status: number; body: any }> };

/** A bridge that lends the tools by these lists, and asks it with the right token unless told otherwise. */
async function bridge(t: Cleanup, allow: string[], tools: Partial<GatewayTool>[]): Promise<Bridge> {
  const log = new Log();
  const callers: (Caller | undefined)[] = [];
  const toolbox = async (who: Caller | undefined) => {
    callers.push(who);
    return tools.map((tool) => ({ name: "?", execute: async () => ({ content: [] }), ...tool }));
  };
  const handler = createBridge({ token: () => token, lending: () => new Lending({ bridge: { allow } }), toolbox, log });
  const base = await serve(t, (request, response) => void handler(request, response));
  const ask: Bridge["ask"] = async (path, { body, headers, method, signal } = {}) => {
    const response = await fetch(base + bridgePath + path, {
      method: method ?? (body === undefined ? "GET" : "POST"), headers: { authorization: `Bearer ${token}`, ...headers },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }), ...(signal ? { signal } : {}),
    });
    return { status: response.status, body: await response.json() };
  };
  return { log, callers, ask };
}

const call = (tool: string, args: unknown = {}) => ({ tool, args, caller, call: "KRUGS4ZANFZ" });

describe("the bridge", () => {
  it("lists what is lent and what the gateway has", async (t) => {
    const parameters = { type: "object", properties: { query: { type: "string" } } };
    const b = await bridge(t, ["web_search", "tts", "gateway"], [{ name: "web_search", description: "Search", parameters }, { name: "message" }, { name: "gateway" }, { name: "exec" }]);
    assert.deepEqual(await b.ask("/tools"), { status: 200, body: { ok: true, tools: [{ name: "web_search", description: "Search", parameters }] } });
  });

  it("makes no tools for a list that is empty anyway", async (t) => {
    const b = await bridge(t, [], [{ name: "web_search" }]);
    assert.deepEqual(await b.ask("/tools"), { status: 200, body: { ok: true, tools: [] } });
    assert.deepEqual(b.callers, []);
  });

  it("runs a tool for a caller, and logs it", async (t) => {
    const got: unknown[] = [];
    const execute = async (id: string, args: unknown) => {
      got.push(id, args);
      return { content: [{ type: "text", text: "found" }], details: { count: 1 } };
    };
    const b = await bridge(t, ["web_search"], [{ name: "web_search", execute }]);
    const { status, body } = await b.ask("/invoke", { body: { ...call("web_search", { query: "lobsters" }), idempotencyKey: "night-1" } });
    assert.deepEqual([status, body], [200, { ok: true, result: { content: [{ type: "text", text: "found" }], details: { count: 1 } } }]);
    assert.deepEqual(got, ["clawmatrix-KRUGS4ZANFZ", { query: "lobsters" }]);
    assert.deepEqual(b.callers, [caller]);
    assert.match(b.log.lines[0] ?? "", /^info clawmatrix: runs web_search for laptop \(lob1abababababab\), call KRUGS4ZANFZ$/);
    assert.match(b.log.lines[1] ?? "", /^info clawmatrix: ended web_search/);
  });

  it("refuses what is not lent before it makes any tool, and says so to the owner", async (t) => {
    const b = await bridge(t, ["*"], [{ name: "gateway" }, { name: "sessions_spawn" }, { name: "exec" }]);
    for (const tool of ["gateway", "sessions_spawn", "exec", "GATEWAY", "cron", "secrets", "nodes"]) {
      const { status, body } = await b.ask("/invoke", { body: call(tool) });
      assert.deepEqual([status, body.ok, body.error.code], [403, false, "tool_denied"], tool);
    }
    assert.deepEqual(b.callers, []);
    assert.match(b.log.lines[0] ?? "", /^warn clawmatrix: refused gateway for laptop/);
    const { status, body } = await b.ask("/invoke", { body: call("web_search") });
    assert.deepEqual([status, body.error.code], [404, "unknown_tool"], "lent, but the gateway's policy does not have it");
  });

  it("wants its token, from this machine, and not from a page", async (t) => {
    const b = await bridge(t, ["web_search"], [{ name: "web_search" }]);
    for (const authorization of ["", "Bearer", "Bearer ", `Bearer ${token}x`, `Bearer ${token.slice(1)}`, token, `Basic ${token}`]) {
      assert.deepEqual((await b.ask("/tools", { headers: { authorization } })).status, 401, authorization);
    }
    for (const headers of [{ origin: "http://127.0.0.1:18789" }, { "x-forwarded-for": "192.0.2.7" }, { forwarded: "for=192.0.2.7" }]) {
      assert.equal((await b.ask("/tools", { headers: headers as unknown as Record<string, string> })).status, 403, JSON.stringify(headers));
    }
    assert.deepEqual(b.callers, []);
  });

  it("has no token before the service runs", async (t) => {
    const handler = createBridge({ token: () => undefined, lending: () => new Lending({}), toolbox: async () => [], log: new Log() });
    const base = await serve(t, (request, response) => void handler(request, response));
    for (const authorization of ["Bearer undefined", "Bearer "]) assert.equal((await fetch(`${base}${bridgePath}/tools`, { headers: { authorization } })).status, 401);
  });

  it("refuses calls that are none", async (t) => {
    const b = await bridge(t, ["web_search"], [{ name: "web_search" }]);
    const bad = ["", "no json", "null", "[]", {}, call("web_search", [1]), call("web_search", "x"), { ...call("web_search"), caller: { node: "x", key: "y" } }, { ...call("web_search"), call: 1 }, { ...call("web_search"), tool: 7 }];
    for (const body of bad) {
      const { status, body: answer } = await b.ask("/invoke", { body });
      assert.deepEqual([status, answer.error.code], [400, "bad_arguments"], JSON.stringify(body));
    }
    assert.equal((await b.ask("/invoke")).status, 404, "GET /invoke");
    assert.equal((await b.ask("/else")).status, 404);
    assert.equal((await b.ask("/invoke", { body: "x".repeat((16 << 20) + 1) })).status, 413);
    assert.deepEqual(b.callers, []);
  });

  it("tells of failures, and of names that would spoil a log", async (t) => {
    const fail = (name: string, error: Error) => ({ name, execute: async () => Promise.reject(error) });
    const inputError = Object.assign(new Error("query required"), { name: "ToolInputError" });
    const b = await bridge(t, ["*"], [fail("a", new Error("no provider")), fail("b", inputError), fail("c", Object.assign(new Error("not you"), { status: 403 }))]);
    const errors = await Promise.all(["a", "b", "c"].map(async (tool) => (await b.ask("/invoke", { body: call(tool) })).body.error));
    assert.deepEqual(errors, [{ code: "tool_failed", message: "no provider" }, { code: "bad_arguments", message: "query required" }, { code: "tool_denied", message: "not you" }]);
    await b.ask("/invoke", { body: { ...call("gateway"), caller: { ...caller, node: "x\n\u001b[31mevil" } } });
    assert.match(b.log.lines.at(-1) ?? "", /refused gateway for x\?\?\[31mevil \(/);
  });

  it("ends the tool when the node closes the connection", async (t) => {
    const began = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<string>();
    const execute: GatewayTool["execute"] = async (_id, _args, signal) => {
      began.resolve();
      await new Promise((resolve) => signal?.addEventListener("abort", resolve));
      ended.resolve(String(signal?.reason));
      throw signal?.reason;
    };
    const b = await bridge(t, ["browser"], [{ name: "browser", execute }]);
    const leave = new AbortController();
    const asked = b.ask("/invoke", { body: call("browser"), signal: leave.signal });
    await began.promise;
    leave.abort();
    await assert.rejects(asked);
    assert.match(await ended.promise, /closed the connection/);
  });

  it("makes another token each time", () => {
    assert.notEqual(newToken(), newToken());
    assert.ok(Buffer.from(newToken(), "base64url").length >= 16);
  });
});

