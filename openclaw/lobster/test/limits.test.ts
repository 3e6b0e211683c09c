/** What a model that was talked round cannot do, and what reaches the program. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { describe, it } from "node:test";
import type { OpenClawPluginToolContext } from "openclaw/plugin-sdk/plugin-entry";
import { createLobsterTool, type Host } from "../src/lobster-tool.ts";
import { assertGone, exists, fake, folder, host, whenOver } from "./fakes.ts";

/** A program that prints what it was called with. */
const echo = `process.stdout.write(JSON.stringify({ok: true, argv: process.argv.slice(2), cwd: process.cwd(), env: process.env}))`;
type Echo = { argv: string[]; cwd: string; env: Record<string, string | undefined> };

async function call(api: Host, params: Record<string, unknown> = {}, ctx: OpenClawPluginToolContext = {}): Promise<Echo> {
  const result = await createLobsterTool(api, ctx).execute("call", { action: "run", pipeline: "x", ...params });
  return result.details as unknown as Echo;
}

function setting(t: { after(fn: () => void): void }, name: string, value: string | undefined) {
  const before = process.env[name];
  t.after(() => restore(name, before));
  restore(name, value);
}

function restore(name: string, value: string | undefined) {
  if (value === undefined) delete process.env[name];
  else process.env[name] = value;
}

describe("the program", () => {
  it("is one that the config names", async (t) => {
    const known = fake(t, echo);
    const other = fake(t, `require("fs").writeFileSync(__filename + ".ran", "")`);
    await assert.rejects(call(host([known]), { lobsterPath: other }), /must be one of lobsterPaths/);
    await assert.rejects(call(host([known]), { lobsterPath: path.join(path.dirname(known), ".", "..", path.basename(path.dirname(known)), "lobster") + "/" }), /must be one of/);
    assert.equal(fs.existsSync(other + ".ran"), false);
    assert.deepEqual((await call(host([known]), { lobsterPath: known })).argv, ["run", "--mode", "tool", "x"]);
    assert.deepEqual((await call(host([known]), {})).argv, ["run", "--mode", "tool", "x"]);
    assert.deepEqual((await call(host([known]), { lobsterPath: "lobster" })).argv, ["run", "--mode", "tool", "x"]);
  });

  it("comes from PATH when the config names none, but not from the workspace or a relative folder", async (t) => {
    const workspace = folder(t);
    fs.writeFileSync(path.join(workspace, "lobster"), `#!/bin/sh\nexit 9\n`, { mode: 0o755 });
    const linked = folder(t);
    fs.symlinkSync(path.join(workspace, "lobster"), path.join(linked, "lobster"));
    const good = fake(t, echo);
    setting(t, "PATH", [".", "", workspace, linked, path.dirname(good)].join(path.delimiter));
    assert.equal((await call(host(), {}, { workspaceDir: workspace })).cwd, workspace);
  });

  it("gets the words as they are, without a shell", async (t) => {
    const dir = folder(t);
    const words = `x; touch ${dir}/a $(touch ${dir}/b) \`touch ${dir}/c\` | "'\\\n%PATH%`;
    const api = host([fake(t, echo)]);
    assert.deepEqual((await call(api, { pipeline: words, argsJson: words })).argv, ["run", "--mode", "tool", words, "--args-json", words]);
    assert.deepEqual((await call(api, { action: "resume", token: words, approve: false })).argv, ["resume", "--token", words, "--approve", "no"]);
    assert.deepEqual((await call(api, { action: "resume", token: "t", approve: true })).argv, ["resume", "--token", "t", "--approve", "yes"]);
    assert.deepEqual(fs.readdirSync(dir), []);
  });

  it("may not be a batch file", async (t) => {
    const api = host(["/opt/lobster.CMD"]);
    await assert.rejects(call(api), /batch file/);
    await assert.rejects(call(api, { lobsterPath: "/opt/lobster.CMD" }), /batch file/);
  });
});

describe("the folder", () => {
  it("stays inside the workspace, also through symbolic links", async (t) => {
    const [workspace, outside] = [folder(t), folder(t)];
    fs.mkdirSync(path.join(workspace, "inner"));
    fs.mkdirSync(path.join(workspace, "..inner"));
    fs.symlinkSync(outside, path.join(workspace, "way-out"));
    fs.symlinkSync(path.join(workspace, "inner"), path.join(workspace, "way-in"));
    fs.writeFileSync(path.join(workspace, "file"), "");
    const api = host([fake(t, echo)]);
    const at = async (cwd?: string) => (await call(api, { cwd }, { workspaceDir: workspace })).cwd;
    assert.equal(await at(), workspace);
    assert.equal(await at("inner"), path.join(workspace, "inner"));
    assert.equal(await at("way-out/.."), workspace); // read as a name, not as a way
    assert.equal(await at("..inner"), path.join(workspace, "..inner"));
    assert.equal(await at("way-in"), path.join(workspace, "inner"));
    assert.equal(await at(path.join(workspace, "inner")), path.join(workspace, "inner"));
    for (const cwd of ["..", "/", outside, "way-out", "inner/../.."]) {
      await assert.rejects(at(cwd), /must stay inside/, cwd);
    }
    await assert.rejects(at("nowhere"), /does not exist/);
    await assert.rejects(at("file"), /is not a folder/);
  });

  it("cannot be named where there is no workspace", async (t) => {
    const api = host([fake(t, echo)]);
    await assert.rejects(call(api, { cwd: "/" }), /needs a workspace/);
    assert.equal((await call(api)).cwd, process.cwd());
  });
});

describe("the environment", () => {
  it("says tool mode, and has no debugger in it", async (t) => {
    const api = host([fake(t, echo)]);
    setting(t, "LOBSTER_MODE", "human");
    setting(t, "NODE_OPTIONS", "--inspect=127.0.0.1:0");
    const { env } = await call(api);
    assert.equal(env.LOBSTER_MODE, "tool");
    assert.equal(env.NODE_OPTIONS, undefined);
    setting(t, "NODE_OPTIONS", "--max-old-space-size=900");
    assert.equal((await call(api)).env.NODE_OPTIONS, "--max-old-space-size=900");
  });

  it("has a closed stdin", async (t) => {
    const program = fake(t, `process.stdout.write(JSON.stringify({ok: true, read: require("fs").readFileSync(0, "utf8")}))`);
    assert.deepEqual(await call(host([program])), { ok: true, read: "" });
  });

  it("has the gateway's address and token", async (t) => {
    for (const name of ["OPENCLAW_URL", "OPENCLAW_TOKEN", "OPENCLAW_GATEWAY_PORT", "OPENCLAW_GATEWAY_TOKEN"]) setting(t, name, undefined);
    const program = fake(t, echo);
    const seen = async (gateway: object, plugin = {}, env: Record<string, string> = {}) => {
      for (const name of Object.keys(env)) setting(t, name, env[name]);
      const { env: got } = await call(host([program], { config: { gateway } as Host["config"], plugin }));
      for (const name of Object.keys(env)) setting(t, name, undefined);
      return [got.OPENCLAW_URL, got.OPENCLAW_TOKEN];
    };
    const gateway = { port: 4444, auth: { mode: "token", token: "secret" } };
    assert.deepEqual(await seen(gateway), ["http://127.0.0.1:4444", "secret"]);
    assert.deepEqual(await seen({}), ["http://127.0.0.1:18789", undefined]);
    assert.deepEqual(await seen({}, {}, { OPENCLAW_GATEWAY_PORT: "5555", OPENCLAW_GATEWAY_TOKEN: "env" }), ["http://127.0.0.1:5555", "env"]);
    assert.deepEqual(await seen({ auth: { mode: "password", password: "pw" } }), ["http://127.0.0.1:18789", "pw"]);
    assert.deepEqual(await seen({ auth: { mode: "token", token: { source: "env" } } }), ["http://127.0.0.1:18789", undefined]);
    assert.deepEqual(await seen({ tls: { enabled: true }, bind: "custom", customBindHost: "10.0.0.1" }), ["https://10.0.0.1:18789", undefined]);
    assert.deepEqual(await seen(gateway, { gatewayAccess: false }), [undefined, undefined]);
    assert.deepEqual(await seen(gateway, { allowedCommands: ["approve"] }), [undefined, undefined]);
    assert.deepEqual(await seen(gateway, { allowedCommands: ["approve", "openclaw.invoke"] }), ["http://127.0.0.1:4444", "secret"]);
  });

  it("names the allowed commands", async (t) => {
    const program = fake(t, echo);
    const list = async (allowedCommands?: string[]) => (await call(host([program], { plugin: { allowedCommands } }))).env.LOBSTER_COMMANDS;
    assert.equal(await list(), undefined);
    assert.equal(await list(["approve", "head"]), "approve,head");
    assert.equal(await list([]), "none");
  });
});

describe("the limits", () => {
  /** A program with a child that both ignore being asked to stop; it tells the child's process id in a file. */
  const stubborn = (file: string, noise: string) =>
    `trap '' TERM\n(trap '' TERM; while :; do sleep 1; done) &\necho $! > ${file}.tmp; mv ${file}.tmp ${file}\n${noise}\nwhile :; do sleep 1; done`;

  for (const [name, noise, limits, message] of [
    ["time", ":", { timeoutMs: 3000 }, /timed out/],
    ["output", "yes", { maxStdoutBytes: 2000 }, /exceeded maxStdoutBytes/],
  ] as const) {
    it(`end the whole process group: ${name}`, { skip: process.platform === "win32" && "Windows has no process groups" }, async (t) => {
      const file = path.join(folder(t), "pid");
      whenOver(t, 3000, () => fs.existsSync(file));
      await assert.rejects(call(host([fake(t, stubborn(file, noise), "/bin/sh")]), limits), message);
      await assertGone(Number(fs.readFileSync(file, "utf8")));
    });
  }

  it("cancel with the turn", async (t) => {
    const controller = new AbortController();
    const file = path.join(folder(t), "pid");
    const running = createLobsterTool(host([fake(t, stubborn(file, ":"), "/bin/sh")])).execute("call", { action: "run", pipeline: "x" }, controller.signal);
    while (!fs.existsSync(file)) await pause(10);
    controller.abort();
    await assert.rejects(running, /cancelled/);
    await assertGone(Number(fs.readFileSync(file, "utf8")));
    await assert.rejects(createLobsterTool(host([fake(t, echo)])).execute("call", { action: "run", pipeline: "x" }, controller.signal), { name: "AbortError" });
  });

  it("are of time as is asked, with a floor of 200 ms, by default 20 s", async (t) => {
    const quick = host([fake(t, `printf '{"ok":true}'`, "/bin/sh")]);
    const real = globalThis.setTimeout;
    const waits: (number | undefined)[] = [];
    t.mock.method(globalThis, "setTimeout", (act: () => void, ms?: number) => (waits.push(ms), real(act, 60_000))); // however busy this machine is
    for (const timeoutMs of [undefined, 5_000, 1, -5, 1e12, Number.NaN, "1"]) assert.deepEqual(await call(quick, { timeoutMs }), { ok: true });
    assert.deepEqual(waits, [20_000, 5_000, 200, 200, 2 ** 31 - 1, 20_000, 20_000]);
  });

  it("are of output as is asked, with a floor of 1024 bytes, by default 512000", async (t) => {
    for (const [maxStdoutBytes, limit] of [[undefined, 512_000], [2_000, 2_000], [1, 1_024], [-5, 1_024], [Number.NaN, 512_000]] as const) {
      const printing = (bytes: number) => host([fake(t, `process.stdout.write('{"ok":true}' + " ".repeat(${bytes - '{"ok":true}'.length}))`)]);
      assert.deepEqual(await call(printing(limit), { maxStdoutBytes, timeoutMs: 60_000 }), { ok: true }, String(maxStdoutBytes));
      await assert.rejects(call(printing(limit + 1), { maxStdoutBytes, timeoutMs: 60_000 }), /exceeded maxStdoutBytes/, String(maxStdoutBytes));
    }
  });

  it("do not wait for what a finished run left behind", async (t) => {
    const [left, own] = ["left", "own"].map((name) => path.join(folder(t), name)) as [string, string];
    const program = fake(t, `sleep 300 & echo $! > ${left}; echo $$ > ${own}.tmp; mv ${own}.tmp ${own}; printf '{"ok":true}'`, "/bin/sh");
    whenOver(t, 3000, () => fs.existsSync(own) && !exists(Number(fs.readFileSync(own, "utf8"))));
    assert.deepEqual(await call(host([program]), { timeoutMs: 3000 }), { ok: true });
    process.kill(Number(fs.readFileSync(left, "utf8")));
  });
});
