/** The tool with the real lobster program. */
import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { before, describe, it, type TestContext } from "node:test";
import type { Envelope } from "../src/envelope.ts";
import { createLobsterTool, type Host, type LobsterConfig } from "../src/lobster-tool.ts";
import { assertGone, folder, host, realLobster, whenOver } from "./fakes.ts";

before(() => void realLobster());

/** The tool of an agent with a workspace; state and journal of its runs lie beside that. */
function agent(t: TestContext, plugin: LobsterConfig = {}, config: object = {}) {
  const workspace = folder(t);
  process.env.LOBSTER_STATE_DIR = path.join(folder(t), "state");
  process.env.LOBSTER_JOURNAL_DIR = "off";
  const tool = createLobsterTool(host([realLobster()], { plugin, config: config as Host["config"] }), { workspaceDir: workspace });
  const call = async (params: Record<string, unknown>) => (await tool.execute("call", { timeoutMs: 60_000, ...params })).details;
  return { workspace, call };
}

function pause(envelope: Envelope) {
  assert.ok(envelope.ok && envelope.status === "needs_approval" && envelope.requiresApproval, JSON.stringify(envelope));
  return envelope.requiresApproval;
}

describe("with the real lobster", () => {
  it("runs a pipeline", async (t) => {
    const { call } = agent(t);
    const envelope = await call({ action: "run", pipeline: "exec --json 'echo [3,1,2]' | sort | head --n 2" });
    assert.ok(envelope.ok);
    assert.deepEqual([envelope.status, envelope.output], ["ok", [1, 2]]);
  });

  it("stops for approval, and goes on or ends as was decided", async (t) => {
    for (const [approve, status, output] of [[true, "ok", ["sent 7"]], [false, "cancelled", []]] as const) {
      const { call } = agent(t);
      const asked = pause(await call({ action: "run", pipeline: "exec --json 'echo [7]' | approve --prompt 'Send?' | template --text 'sent {{.}}'" }));
      assert.deepEqual([asked.prompt, asked.items], ["Send?", [7]]);
      const ended = await call({ action: "resume", token: asked.resumeToken, approve });
      assert.ok(ended.ok);
      assert.deepEqual([ended.status, ended.output], [status, output]);
      await assert.rejects(call({ action: "resume", token: asked.resumeToken, approve: true }), /^Error: lobster failed/, "a second time");
    }
  });

  it("stops for a question, and goes on with the answer", async (t) => {
    const { call } = agent(t);
    const schema = JSON.stringify({ type: "object", properties: { day: { type: "string" } }, required: ["day"] });
    const envelope = await call({ action: "run", pipeline: `exec --json 'echo [7]' | ask --prompt 'When?' --schema '${schema}' | template --text 'on {{day}}'` });
    assert.ok(envelope.ok && envelope.status === "needs_input" && envelope.requiresInput);
    assert.equal(envelope.requiresInput.prompt, "When?");
    const token = envelope.requiresInput.resumeToken;
    await assert.rejects(call({ action: "resume", token, responseJson: "{}" }), /lobster failed/, "an answer that does not fit");
    const ended = await call({ action: "resume", token, responseJson: '{"day":"Monday"}' });
    assert.ok(ended.ok);
    assert.deepEqual([ended.status, ended.output], ["ok", ["on Monday"]]);
  });

  it("runs a workflow file of the workspace with arguments", async (t) => {
    const { workspace, call } = agent(t);
    fs.writeFileSync(path.join(workspace, "hi.lobster"), `args: {who: {default: world}}\nsteps:\n  - id: hi\n    run: echo "hi $LOBSTER_ARG_WHO"\n`);
    const envelope = await call({ action: "run", pipeline: "hi.lobster", argsJson: '{"who":"; rm -rf /"}' });
    assert.ok(envelope.ok);
    assert.deepEqual(envelope.output, ["hi ; rm -rf /\n"]);
  });

  it("refuses commands that the owner did not allow", async (t) => {
    const { workspace, call } = agent(t, { allowedCommands: ["approve", "commands.list", "head"] });
    fs.writeFileSync(path.join(workspace, "sh.lobster"), `steps:\n  - id: a\n    run: touch ran\n`);
    for (const pipeline of ["exec 'touch ran'", "head | exec 'touch ran'", "'exec' touch ran", "sh.lobster"]) {
      await assert.rejects(call({ action: "run", pipeline }), /not allowed here: exec|Unknown command/, pipeline);
    }
    assert.deepEqual(fs.readdirSync(workspace), ["sh.lobster"]);
    pause(await call({ action: "run", pipeline: "commands.list | head --n 1 | approve --prompt 'ok?'" }));
  });

  it("ends the programs of a run's steps, too, when time is over", { skip: process.platform === "win32" && "needs sh" }, async (t) => {
    const { workspace, call } = agent(t);
    const line = `exec --shell 'echo $$ > pid.tmp; mv pid.tmp pid; exec sleep 300'`;
    whenOver(t, 5000, () => fs.existsSync(path.join(workspace, "pid")));
    await assert.rejects(call({ action: "run", pipeline: line, timeoutMs: 5000 }), /timed out/);
    await assertGone(Number(fs.readFileSync(path.join(workspace, "pid"), "utf8")));
  });

  it("calls the gateway's tools, and explains what the gateway refuses", async (t) => {
    const asked: unknown[] = [];
    const server = http.createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      const { tool } = JSON.parse(body) as { tool: string };
      asked.push([request.url, request.headers.authorization, tool]);
      const allowed = tool === "echo";
      response.writeHead(allowed ? 200 : 404, { "content-type": "application/json" });
      response.end(JSON.stringify(allowed ? { ok: true, result: { said: "hello" } } : { ok: false, error: { type: "not_found", message: `Tool not available: ${tool}` } }));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.after(() => server.close());
    const { port } = server.address() as { port: number };
    const { call } = agent(t, {}, { gateway: { port, auth: { mode: "token", token: "secret" } } });
    const envelope = await call({ action: "run", pipeline: "openclaw.invoke --tool echo --action say" });
    assert.ok(envelope.ok);
    assert.deepEqual(envelope.output, [{ said: "hello" }]);
    assert.deepEqual(asked, [["/tools/invoke", "Bearer secret", "echo"]]);
    await assert.rejects(call({ action: "run", pipeline: "openclaw.invoke --tool gog --action x" }), /hint: the gateway refuses gog to workflows: allow it in tools\.allow/);
    await assert.rejects(call({ action: "run", pipeline: "openclaw.invoke --tool exec --action x" }), /hint: the gateway never offers exec to workflows/);
  });
});
