/** The cases that OpenClaw's own plugin was tested with, and the messages that it shows. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { OpenClawPluginToolContext } from "openclaw/plugin-sdk/plugin-entry";
import entry from "../index.ts";
import { createLobsterTool } from "../src/lobster-tool.ts";
import { fake, folder, host } from "./fakes.ts";

const ok = { ok: true, status: "ok", output: [{ hello: "world" }], requiresApproval: null };
const print = (text: string) => `process.stdout.write(${JSON.stringify(text)})`;

function execute(program: string, params: Record<string, unknown>) {
  return createLobsterTool(host([program])).execute("call", { lobsterPath: program, timeoutMs: 20_000, ...params });
}

describe("the cases of the original plugin", () => {
  it("runs lobster and returns the envelope as details", async (t) => {
    const result = await execute(fake(t, print(JSON.stringify(ok))), { action: "run", pipeline: "noop" });
    assert.deepEqual(result.details, ok);
    assert.deepEqual(result.content, [{ type: "text", text: JSON.stringify(ok, null, 2) }]);
  });

  it("tolerates noise before the envelope", async (t) => {
    for (const noise of ["noise before json\n", "a warning {not json}\n", "[1] warned\n{\n", "noise"]) {
      const program = fake(t, `console.error("noise"); ${print(noise + JSON.stringify(ok))}`);
      assert.deepEqual((await execute(program, { action: "run", pipeline: "noop" })).details, ok, JSON.stringify(noise));
    }
  });

  it("requires an absolute lobsterPath", async () => {
    await assert.rejects(createLobsterTool(host()).execute("call", { action: "run", pipeline: "noop", lobsterPath: "./lobster" }), {
      message: "lobsterPath must be an absolute path (or omit to use PATH)",
    });
  });

  it("rejects output that is no JSON", async (t) => {
    await assert.rejects(execute(fake(t, print("nope")), { action: "run", pipeline: "noop" }), { message: "lobster returned invalid JSON" });
  });

  it("is not there in sandboxed contexts", () => {
    const registered: { create?: (ctx: OpenClawPluginToolContext) => { name: string } | null; options?: unknown } = {};
    entry.register({ ...host(), registerTool: (create: never, options: unknown) => Object.assign(registered, { create, options }) } as never);
    assert.deepEqual(registered.options, { name: "lobster", optional: true });
    assert.equal(registered.create?.({ sandboxed: true }), null);
    assert.equal(registered.create?.({ sandboxed: false })?.name, "lobster");
  });
});

describe("the messages", () => {
  const cases: [name: string, params: Record<string, unknown>, message: string][] = [
    ["no action", {}, "action required"],
    ["a blank action", { action: "  " }, "action required"],
    ["an action that is a number", { action: 5, pipeline: "x" }, "Unknown action: 5"],
    ["another action", { action: "explode", pipeline: "x" }, "Unknown action: explode"],
    ["no pipeline", { action: "run" }, "pipeline required"],
    ["a blank pipeline", { action: "run", pipeline: " " }, "pipeline required"],
    ["no token", { action: "resume", approve: true }, "token required"],
    ["no decision", { action: "resume", token: "t" }, "approve required"],
    ["a decision that is a word", { action: "resume", token: "t", approve: "yes" }, "approve required"],
    ["two decisions", { action: "resume", token: "t", approve: true, responseJson: "1" }, "approve or responseJson, not both"],
    ["the path before the pipeline", { action: "run", lobsterPath: "bin/lobster" }, "lobsterPath must be an absolute path (or omit to use PATH)"],
    ["the action before the path", { lobsterPath: "bin/lobster" }, "action required"],
  ];
  for (const [name, params, message] of cases) {
    it(`says what is wrong: ${name}`, async () => {
      await assert.rejects(createLobsterTool(host()).execute("call", params), { message });
    });
  }

  const endings: [name: string, body: string, message: RegExp][] = [
    ["stderr first", `console.error(" broken "); console.log("out"); process.exit(3)`, /^lobster failed \(3\): broken$/],
    ["else stdout", `console.log("out"); process.exit(4)`, /^lobster failed \(4\): out$/],
    ["a signal", `process.kill(process.pid, "SIGKILL"); setInterval(() => {}, 1000)`, /^lobster failed \(\?\): $/],
    ["nothing printed", ``, /^lobster returned invalid JSON$/],
    ["a list", print("[1]"), /^lobster returned invalid JSON envelope$/],
    ["a word", print('"ok"'), /^lobster returned invalid JSON envelope$/],
    ["no ok", print('{"status":"ok"}'), /^lobster returned invalid JSON envelope$/],
    ["too much", print("x".repeat(5000)), /^lobster output exceeded maxStdoutBytes$/],
    ["too late", `setInterval(() => {}, 1000)`, /^lobster subprocess timed out$/],
  ];
  for (const [name, body, message] of endings) {
    it(`tells how lobster ended: ${name}`, async (t) => {
      const limits = name === "too late" ? { timeoutMs: 1 } : {};
      await assert.rejects(execute(fake(t, body), { action: "run", pipeline: "x", maxStdoutBytes: 1, ...limits }), { message });
    });
  }

  it("passes an envelope on that tells a failure", async (t) => {
    const failed = { ok: false, error: { type: "runtime_error", message: "broken" } };
    assert.deepEqual((await execute(fake(t, print(JSON.stringify(failed))), { action: "run", pipeline: "x" })).details, failed);
  });

  it("says how to get lobster where there is none", async (t) => {
    const before = process.env.PATH;
    t.after(() => (process.env.PATH = before));
    process.env.PATH = folder(t);
    await assert.rejects(createLobsterTool(host()).execute("call", { action: "run", pipeline: "x" }), /^Error: lobster is not installed: .*lobsterPaths$/);
  });
});
