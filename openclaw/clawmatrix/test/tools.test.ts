/** The seven tools with two real nodes; only the host is a fake. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { after, before, describe, it } from "node:test";
import type { ClawmatrixConfig } from "../src/config.ts";
import { Node, NotRunning } from "../src/node.ts";
import { readStatus, render } from "../src/status.ts";
import { createTool, toolNames } from "../src/tools.ts";
import { folder, freePort, secret, startNode, type Cleanup } from "./fakes.ts";

const ends: (() => void | Promise<void>)[] = [];
const all: Cleanup = { after: (end) => void ends.unshift(end) };
let [home, office, shared] = ["", "", ""];

before(async () => {
  [home, office, shared] = [folder(all), folder(all), folder(all)];
  const listenPort = await freePort();
  await startNode(all, office, {
    nodeId: "office-01", secret, listen: true, listenHost: "127.0.0.1", listenPort, proxyPort: await freePort(), tags: ["build"],
    agents: [
      { id: "coder", tags: ["coding"], accept: ["*"], command: ["cat"] }, { id: "closed", accept: ["(nobody)"], command: ["cat"] },
      { id: "broken", accept: ["*"], command: ["sh", "-c", "echo no such branch >&2; exit 4"] }, { id: "slow", accept: ["*"], command: ["sleep", "600"] },
    ],
    toolProxy: { enabled: true, allow: ["exec", "read", "write"], commands: ["echo **", "false", "sleep **", "touch **"], paths: [shared] },
  });
  await startNode(all, home, { nodeId: "home-01", secret, proxyPort: await freePort(), peers: [{ nodeId: "office-01", url: `ws://127.0.0.1:${listenPort}` }] });
  while ((await new Node(home).peers())[0]?.tools.length !== 3) await pause(50); // it is known, and has told what it offers
});

after(async () => {
  for (const end of ends) await end();
});

/** Calls a tool as an agent's turn does, and returns what the model reads. */
async function use(name: string, params: object, signal?: AbortSignal): Promise<string> {
  const tool = createTool(name, () => new Node(home), {}, {}) ?? assert.fail(name);
  const { content } = await tool.execute("call-1", params, signal);
  return content.map((part) => (part.type === "text" ? part.text : `[${part.type}]`)).join("");
}

describe("the seven tools", () => {
  it("have the names, parameters and requirements of the original", () => {
    const expected: Record<string, [string[], string[]]> = {
      cluster_peers: [[], []], cluster_handoff: [["target", "task", "context", "taskId", "answer"], []], cluster_send: [["target", "message"], ["target", "message"]],
      cluster_exec: [["node", "command", "workdir", "timeout"], ["node", "command"]], cluster_read: [["node", "path"], ["node", "path"]],
      cluster_write: [["node", "path", "content"], ["node", "path", "content"]], cluster_tool: [["node", "tool", "args"], ["node"]],
    };
    assert.deepEqual(toolNames, Object.keys(expected));
    for (const [name, [properties, required]] of Object.entries(expected)) {
      const tool = createTool(name, () => new Node(home), {}, {}) ?? assert.fail(name);
      assert.deepEqual([Object.keys(tool.parameters.properties), tool.parameters.required, tool.parameters.additionalProperties], [properties, required, false], name);
      assert.equal(tool.resultContentSource, "network", "what other machines say is marked as foreign");
    }
  });

  it("call the node's tools with the arguments of the original, whose commands end after 1800 seconds", async () => {
    const calls: unknown[] = [];
    const invoke = async (node: string, tool: string, args: object) => (calls.push([node, tool, args]), { executor: { node, key: "" }, result: { content: [] } });
    const ask = async (name: string, params: object) => await createTool(name, () => ({ invoke }) as unknown as Node, {}, {})?.execute("call-1", params);
    await ask("cluster_exec", { node: "a", command: "make" });
    await ask("cluster_exec", { node: "tags:gpu", command: "make", workdir: "/srv", timeout: 5 });
    await ask("cluster_exec", { node: "a", command: "make", timeout: -1 });
    await ask("cluster_read", { node: "a", path: "/p" });
    await ask("cluster_write", { node: "a", path: "/p", content: "" });
    await ask("cluster_tool", { node: "a", tool: "web_search", args: { query: "q" } });
    assert.deepEqual(calls, [
      ["a", "exec", { command: "make", timeout: 1800 }], ["tags:gpu", "exec", { command: "make", workdir: "/srv", timeout: 5 }], ["a", "exec", { command: "make", timeout: 1800 }],
      ["a", "read", { path: "/p" }], ["a", "write", { path: "/p", content: "" }], ["a", "web_search", { query: "q" }],
    ]);
  });

  it("are not to be had in sandboxes, and those that act by the owner's grants only by the owner", () => {
    const had = (config: ClawmatrixConfig, ctx: object) => toolNames.filter((name) => createTool(name, () => new Node(home), config, ctx) !== null);
    assert.deepEqual(had({}, { sandboxed: true }), []);
    assert.deepEqual(had({}, { senderIsOwner: true }), toolNames);
    assert.deepEqual(had({}, { senderIsOwner: false }), ["cluster_peers", "cluster_handoff", "cluster_send"]);
    assert.deepEqual(had({}, { sessionKey: "agent:main:clawmatrix-lob1ab" }), ["cluster_peers", "cluster_handoff", "cluster_send"]);
    assert.deepEqual(had({ nonOwnerTools: ["cluster_read"] }, { senderIsOwner: false }), ["cluster_read"]);
  });

  it("list the nodes", async () => {
    const [peer, ...rest] = JSON.parse(await use("cluster_peers", {})) as { node: string; agents: { id: string }[]; tags: string[]; tools: string[] }[];
    assert.deepEqual([peer?.node, peer?.agents.map((a) => a.id), peer?.tags, peer?.tools, rest.length], ["office-01", ["coder", "closed", "broken", "slow"], ["build"], ["exec", "read", "write"], 0]);
  });

  it("run a command, and say where and how it ended", async () => {
    assert.equal(await use("cluster_exec", { node: "office-01", command: "echo from there" }), "exec ran on office-01, exit code 0:\nfrom there\n");
    assert.equal(await use("cluster_exec", { node: "office-01", command: "false" }), "exec ran on office-01, exit code 1:\n");
  });

  it("refuse what the other node's owner has not allowed, with the hint", async () => {
    await assert.rejects(use("cluster_exec", { node: "office-01", command: "id" }), /office-01: .*[\s\S]*hint: /);
    await assert.rejects(use("cluster_read", { node: "office-01", path: "/etc/passwd" }), /office-01: /);
    await assert.rejects(use("cluster_tool", { node: "office-01", tool: "web_fetch", args: { url: "http://x" } }), /office-01: /);
    await assert.rejects(use("cluster_exec", { node: "nowhere", command: "id" }), /nowhere/);
    await assert.rejects(use("cluster_exec", { command: "id" }), /node required/);
  });

  it("write and read a file", async () => {
    assert.match(await use("cluster_write", { node: "office-01", path: "notes.txt", content: "line 1\n" }), /^write ran on office-01/);
    assert.equal(fs.readFileSync(path.join(shared, "notes.txt"), "utf8"), "line 1\n");
    assert.match(await use("cluster_read", { node: "office-01", path: "notes.txt" }), /^read ran on office-01[^]*line 1/);
  });

  it("use any tool, or list those that may be used", async () => {
    assert.match(await use("cluster_tool", { node: "office-01", tool: "exec", args: { command: "echo x" } }), /^exec ran on office-01/);
    const { tools } = JSON.parse(await use("cluster_tool", { node: "office-01" })) as { tools: { name: string }[] };
    assert.deepEqual(tools.map((tool) => tool.name), ["exec", "read", "write"]);
  });

  it("end a command whose turn ends", async () => {
    const turn = new AbortController();
    const asked = use("cluster_exec", { node: "office-01", command: "sleep 600" }, turn.signal);
    await audited("sleep 600", "began");
    turn.abort(new Error("the user stopped it"));
    await assert.rejects(asked, /the user stopped it/);
    await audited("sleep 600", "ended");
  });

  it("hand a task over, and bring the answer with its origin", async () => {
    const answer = await use("cluster_handoff", { target: "coder", task: "Fix the build", context: "of main" });
    assert.match(answer, /^coder@office-01 answers:\nA task from another machine, home-01[^]*Fix the build[^]*of main/);
    assert.match(await use("cluster_handoff", { target: "tags:coding", task: "x" }), /^coder@office-01 answers/);
  });

  it("say why a task failed or was refused", async () => {
    await assert.rejects(use("cluster_handoff", { target: "broken", task: "x" }), /broken@office-01 is failed: .*no such branch/);
    await assert.rejects(use("cluster_handoff", { target: "closed", task: "x" }), /its owner has not named that node/);
    await assert.rejects(use("cluster_handoff", { target: "nobody", task: "x" }), /no node of the mesh offers nobody/);
    await assert.rejects(use("cluster_handoff", { target: "coder" }), /target and task required/);
  });

  it("cancel a task whose turn ends", async () => {
    const turn = new AbortController();
    const asked = use("cluster_handoff", { target: "slow", task: "x" }, turn.signal);
    await taken("slow", "working");
    turn.abort(new Error("the user stopped it"));
    await assert.rejects(asked, /the user stopped it/);
    await taken("slow", "cancelled");
  });

  it("send a message", async () => {
    assert.equal(await use("cluster_send", { target: "coder@office-01", message: "a note" }), "coder@office-01 has the message");
    await assert.rejects(use("cluster_send", { target: "coder" }), /target and message required/);
  });

  it("say that no node runs", async (t) => {
    const nowhere = new Node(folder(t));
    for (const ask of [() => nowhere.peers(), () => nowhere.invoke("x", "exec", {})]) await assert.rejects(ask, NotRunning);
    fs.writeFileSync(path.join(nowhere.home, "lock"), JSON.stringify({ pid: 1, socket: path.join(nowhere.home, "run/control.sock") })); // of one that was killed
    await assert.rejects(nowhere.peers(), NotRunning);
  });
});

describe("openclaw clawmatrix status", () => {
  it("tells of this node, the others, and what they asked", async () => {
    const there = render(await readStatus(new Node(office)), "");
    for (const line of [/^node office-01 runs \(process \d+\), 1 other node$/m, /^ {2}trust {4}whoever holds the secret$/m, /^home-01 {2}direct.*, trusted/m, /handoff to coder from home-01: done/, /audit$/m]) assert.match(there, line);
    assert.match(render(await readStatus(new Node(home)), ""), /^office-01 {2}direct.*agents coder, closed, broken, slow; tools exec, read, write; tags build$/m);
  });

  it("tells that none runs, and what to do", async (t) => {
    const dir = folder(t);
    assert.equal(render(await readStatus(new Node(dir)), "Install it"), `no node runs with ${dir}\nInstall it`);
  });
});

/** Waits until the other node's audit log has an entry. */
async function audited(what: string, phase: string) {
  const log = path.join(office, "audit", "tools.jsonl");
  const whole = (text: string) => text.slice(0, text.lastIndexOf("\n") + 1); // a line may just be written
  const entries = () => whole(fs.readFileSync(log, "utf8")).split("\n").filter(Boolean).map((line) => JSON.parse(line) as { call: string; phase: string; args?: string });
  for (;;) {
    const call = entries().find((e) => e.args?.includes(what))?.call;
    if (call !== undefined && entries().some((e) => e.call === call && e.phase === phase)) return;
    await pause(20);
  }
}

/** Waits until the other node has a task for an agent in a state. */
async function taken(agent: string, state: string) {
  while (!(await new Node(office).tasks()).taken.some((task) => task.brief.agent === agent && task.state === state)) await pause(20);
}
