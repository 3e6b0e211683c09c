/**
 * Our plugins in the real OpenClaw: installed as a user installs them, set up by onboarding, used in an agent's turns. The models
 * answer by script; everything else is real. One gateway for all of it, since starting one takes long: the tests build on each other.
 */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { pack } from "../pack.ts";
import { freePort, Machine, OpenClaw, World } from "./programs.ts";
import { ScriptModel } from "./script-model.ts";

const world = new World();
const [owner, mini, studio, attic] = ["owner", "mini", "studio", "attic"].map((name) => new Machine(world, name)) as [Machine, Machine, Machine, Machine];
const claw = new OpenClaw(world, "openclaw", owner);
let engines: ScriptModel[] = [];
let router: string;
let failed = false;

/** A step of the story; what comes after a failed one would only repeat it. */
function step(name: string, act: () => Promise<void>) {
  it(name, { timeout: 900_000 }, async (t) => {
    if (failed) return t.skip("an earlier step failed");
    failed = true;
    await act();
    failed = false;
  });
}

const say = (...steps: object[]) => `SCRIPT: ${JSON.stringify(steps)}`;

describe("OpenClaw with our plugins", () => {
  before(async () => {
    world.build();
    for (const lender of [mini, studio]) await joinedBy(lender);
    router = `http://127.0.0.1:${await freePort()}`;
    await claw.prepare();
  });

  after(async () => {
    await world.end(failed);
    for (const engine of engines) await engine.stop();
    if (failed) console.error(`what the programs wrote is in ${world.dir}`);
  });

  step("installs each plugin from its packed archive", async () => {
    for (const name of ["lobster", "lobstah"]) {
      const { code, stdout, stderr } = await claw.cli("plugins", "install", `npm-pack:${pack(name, world.folder("packed"))}`, "--force", "--accept-capabilities");
      assert.equal(code, 0, stdout + stderr);
    }
    const entries = claw.read().plugins.entries;
    assert.deepEqual([entries["lobster-go"].enabled, entries.lobstah.enabled], [true, true]);
  });

  step("sets the provider up without questions, from what the grid has", async () => {
    const { code, stdout, stderr } = await claw.cli(
      "onboard", "--non-interactive", "--accept-risk", "--auth-choice", "lobstah", "--custom-base-url", `${router}/v1`, "--skip-health",
    );
    assert.equal(code, 0, stdout + stderr);
    const { models, agents, plugins } = claw.read();
    assert.equal(agents.defaults.workspace, claw.workspace);
    const provider = models.providers.lobstah;
    assert.equal(agents.defaults.model?.primary, "lobstah/scripted", stderr);
    assert.deepEqual([provider.baseUrl, provider.apiKey, provider.api], [`${router}/v1`, "lobstah", "openai-completions"]);
    assert.deepEqual(provider.models.map((m: any) => [m.id, m.contextWindow, m.compat.supportsTools]), [["scripted", 65_536, true]]);
    assert.equal(provider.localService.command, path.join(world.bin, "lobstah"));
    assert.equal(plugins.entries.lobstah.config, undefined, "nobody said yes to anything");
    await assert.rejects(fetch(`${router}/healthz`), "onboarding left a router behind");
  });

  step("starts the router when a turn needs it, and gets a tool call and receipts in both ledgers", async () => {
    const { code, stdout, stderr } = await claw.cli("config", "set", "tools.alsoAllow", '["lobster"]');
    assert.equal(code, 0, stdout + stderr);
    await claw.start();
    const answer = await claw.turn("first", say({ tool: "exec", args: { command: "echo from-$((40+2))" } }, { say: "it printed <<{{last}}>>" }));
    assert.match(answer, /it printed <<.*from-42/s);
    await sharedReceipts(2, [mini, studio]);
  });

  step("tells its owner what happened", async () => {
    const { code, stdout, stderr } = await claw.cli("lobstah", "status");
    assert.deepEqual([code, stderr], [0, ""]);
    for (const line of [/^lobstah up runs, router http:/m, /^ {2}mini {2}ready/m, /^ {2}studio {2}ready/m, /^last receipts$/m, /scripted {2}7,000 in, 20 out, by (mini|studio)$/m]) {
      assert.match(stdout, line);
    }
    assert.match(await chat("/lobstah"), /lobstah up runs, router http/);
  });

  step("answers although the peer that answered before is dead", async () => {
    const used = (await owner.receipts())[0]?.workerPubkey;
    const isMini = (await mini.lobstah("id")).trim() === used;
    const [dead, alive] = isMini ? [mini, studio] : [studio, mini];
    await dead.process?.kill();
    const answer = await claw.turn("first", say({ tool: "exec", args: { command: "echo still-$((40+3))" } }, { say: "it printed <<{{last}}>>" }));
    assert.match(answer, /it printed <<.*still-43/s);
    await sharedReceipts(2, [alive]);
  });

  step("finds the models of a machine that joined later", async () => {
    await joinedBy(attic, "attic-model", { thinks: true });
    const listed = async () => (await (await fetch(`${router}/v1/models`)).text()).includes("attic-model") || undefined;
    await (claw.gateway ?? assert.fail()).until("the router's new model", listed, 60_000);
    assert.equal(await claw.turn("later", say({ say: "from the attic" }), "lobstah/attic-model"), "from the attic", "before anybody listed the models again");
    const found = await (claw.gateway ?? assert.fail()).until("the new model", async () => {
      const { models } = (await claw.call("models.list", { view: "all", provider: "lobstah", refresh: true })) as { models: { id: string; name: string; available: boolean }[] };
      return models.find((m) => m.id === "attic-model");
    });
    assert.deepEqual([found.name, found.available], ["attic-model (attic)", true]);
    await sharedReceipts(1, [attic]);
  });

  step("shows what a model thinks, and lets it think only as its user wants", async () => {
    const thinker = engines.at(-1) ?? assert.fail();
    for (const [level, thought] of [["high", ["It wants an answer."]], ["off", []]] as const) {
      const key = `agent:main:thinks-${level}`;
      await claw.call("sessions.patch", { key, model: "lobstah/attic-model", thinkingLevel: level });
      assert.equal(await claw.turn(`thinks-${level}`, say({ say: "an answer" })), "an answer");
      const { messages } = (await claw.call("chat.history", { sessionKey: key, limit: 5 })) as { messages: { role: string; content: { type: string; thinking?: string }[] }[] };
      const said = messages.findLast((m) => m.role === "assistant")?.content ?? [];
      assert.deepEqual(said.filter((part) => part.type === "thinking").map((part) => part.thinking), thought, level);
    }
    const [high, off] = thinker.asked.slice(-2).map((asked) => [asked.reasoning_effort, asked.chat_template_kwargs]);
    assert.deepEqual([high, off], [[undefined, undefined], ["none", { enable_thinking: false }]]);
  });

  step("stops a workflow for approval inside a turn, and resumes it in the next", async () => {
    fs.writeFileSync(path.join(claw.workspace, "release.lobster"), workflow);
    const run = { action: "run", pipeline: "release.lobster", argsJson: '{"version":"1.4"}' };
    const asked = await claw.turn("work", say({ tool: "tool_call", args: { id: "lobster", args: run } }, { say: "asked: {{last}}" }));
    assert.match(asked, /needs_approval/);
    assert.match(asked, /Release this\?/);
    const prompts = engines.flatMap((engine) => engine.asked.map(({ messages }) => JSON.stringify(messages)));
    assert.ok(prompts.some((prompt) => prompt.includes("Run multi-step work as one deterministic workflow")), "the plugin's skill tells the agent when to use the tool");
    assert.equal(fs.existsSync(path.join(claw.workspace, "released")), false, "it went on without approval");
    const resume = { action: "resume", token: "{{token}}", approve: true };
    const done = await claw.turn("work", say({ tool: "tool_call", args: { id: "lobster", args: resume } }, { say: "done: {{last}}" }));
    assert.match(done, /released 1\.4/);
    assert.equal(fs.readFileSync(path.join(claw.workspace, "released"), "utf8"), "1.4");
  });

  step("lets workflows call the gateway's tools, and explains those that it refuses", async () => {
    const invoke = (tool: string) => ({ tool: "tool_call", args: { id: "lobster", args: { action: "run", pipeline: `openclaw.invoke --tool ${tool} --action json` } } });
    assert.match(await claw.turn("invoke", say(invoke("agents_list"), { say: "listed: {{last}}" })), /\\?"agents\\?":/);
    assert.match(await claw.turn("invoke", say(invoke("exec"), { say: "refused: {{last}}" })), /the gateway never offers exec to workflows/);
    assert.match(await claw.turn("invoke", say(invoke("nothing"), { say: "refused: {{last}}" })), /allow it in tools\.allow/);
  });

  step("lends and stops lending when its owner says so in the chat", async () => {
    assert.match(await chat("/lobstah share"), /^not sharing/);
    assert.match(await chat("/lobstah share on"), /^sharing lobstah-demo \(.*\) at .*\d allowed$/);
    assert.equal(JSON.parse(await owner.lobstah("share", "--json")).sharing, true);
    assert.match(await chat("/lobstah share off"), /^not sharing/);
    assert.equal(JSON.parse(await owner.lobstah("share", "--json")).sharing, false);
    assert.match(await chat("/lobstah dance"), /^usage: /);
  });

  step("is not stopped by credit in a conversation of a hundred turns", async () => {
    for (let turn = 1; turn <= 100; turn++) assert.equal(await claw.turn("hundred", say({ say: `this is turn ${turn}` })), `this is turn ${turn}`);
    const last = engines.flatMap(({ asked }) => asked.map(({ messages }) => JSON.stringify(messages))).findLast((messages) => messages.includes("turn 100")) ?? assert.fail("no engine was asked");
    assert.equal(new Set(last.match(/this is turn \d+/g)).size, 100, "it is one conversation, which the model has whole");
    await sharedReceipts(100, [mini, studio]);
    const { self } = JSON.parse(await owner.lobstah("balance", "--json")) as { self: { net: number; available: number } };
    assert.ok(self.net < -700_000 && self.available < 0, `the owner owes ${-self.net}, which no stranger would get`);
  });
});

/** Lets a machine lend a model to the owner's. */
async function joinedBy(lender: Machine, model?: string, how?: { thinks: boolean }): Promise<ScriptModel> {
  const engine = await ScriptModel.start(model, how);
  engines.push(engine);
  await lender.lend(engine.url);
  await owner.join(lender);
  return engine;
}

/** Types in the chat of the control UI. */
async function chat(message: string): Promise<string> {
  const sessionKey = "agent:main:typed";
  const texts = async () => {
    const { messages } = (await claw.call("chat.history", { sessionKey, limit: 50 })) as { messages: { role: string; content: unknown }[] };
    return messages.filter((m) => m.role === "assistant").map((m) => (typeof m.content === "string" ? m.content : (m.content as { text?: string }[]).map((p) => p.text ?? "").join("")));
  };
  const before = (await texts()).length;
  await claw.call("chat.send", { sessionKey, message, deliver: false, idempotencyKey: `${message}-${before}` });
  return await (claw.gateway ?? assert.fail()).until(`answer to ${message}`, async () => (await texts())[before]);
}

/** Waits for so many receipts that stand in the owner's ledger and in a lender's; they are written behind the answers. */
async function sharedReceipts(count: number, lenders: Machine[]) {
  await (claw.gateway ?? assert.fail()).until(`${count} receipts in both ledgers`, async () => {
    const own = new Set((await owner.receipts()).filter((r) => r.side === "requester").map((r) => r.nonce));
    const theirs = (await Promise.all(lenders.map((m) => m.receipts()))).flat().filter((r) => r.side === "worker");
    return theirs.filter((r) => own.has(r.nonce)).length >= count ? true : undefined;
  }, 60_000);
}

const workflow = `name: release
args: {version: {default: none}}
steps:
  - id: gate
    approval: Release this?
  - id: ship
    run: printf '%s' "$LOBSTER_ARG_VERSION" > released && echo "released $LOBSTER_ARG_VERSION"
    when: $gate.approved
`;
