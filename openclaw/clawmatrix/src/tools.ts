/**
 * The seven tools by which agents use the mesh. Names and parameters are those of the original plugin; the work is done by this
 * machine's node. What comes back is another machine's word: it is named, and marked as content of the network.
 */
import type { OpenClawPluginToolContext } from "openclaw/plugin-sdk/plugin-entry";
import type { ClawmatrixConfig } from "./config.ts";
import { isForeign } from "./lending.ts";
import type { Node, Outcome, Peer, Task } from "./node.ts";

type Params = Record<string, unknown>;
type Update = (partial: Answer) => void;
type Answer = { content: { type: "text"; text: string }[] | AnyContent[]; details: unknown };
type AnyContent = { type: "text"; text: string } | { type: "image"; data: string; mimeType: string };
type Run = (node: Node, params: Params, signal: AbortSignal | undefined, said: (text: string) => void) => Promise<Answer>;

type Definition = { name: string; label: string; description: string; properties: Record<string, object>; required: string[]; run: Run };

const where = { type: "string", description: "node id, or tags:TAG" };
const whom = { type: "string", description: "agent id, agent@node, or tags:TAG" };

/** How long a command may run, in seconds. */
const execTimeout = 1800;

const definitions: Definition[] = [
  {
    name: "cluster_peers", label: "Mesh nodes",
    description: "List the nodes of the mesh: whether each can be reached and is trusted, and its agents, models, tools and tags.",
    properties: {}, required: [], run: peers,
  },
  {
    name: "cluster_handoff", label: "Hand off a task",
    description: "Hand a task to an agent of another node and wait for its result. An agent may ask back; answer with taskId and answer.",
    properties: {
      target: whom, task: { type: "string", description: "what the agent shall do" }, context: { type: "string", description: "what it should know besides" },
      taskId: { type: "string", description: "of a task that asked something or still runs, instead of target and task" }, answer: { type: "string", description: "the answer to its question" },
    },
    required: [], run: handoff,
  },
  {
    name: "cluster_send", label: "Send a message",
    description: "Send a one-way message to an agent of another node; it goes into that agent's own session, and no answer comes.",
    properties: { target: whom, message: { type: "string" } }, required: ["target", "message"], run: send,
  },
  {
    name: "cluster_exec", label: "Run a command on a node",
    description: "Run a shell command on another node, as far as that node's owner allows it.",
    properties: {
      node: where, command: { type: "string", description: "shell command" }, workdir: { type: "string", description: "working directory there" },
      timeout: { type: "number", description: `seconds, by default ${execTimeout}` },
    },
    required: ["node", "command"],
    run: (node, { node: on, command, workdir, timeout }, signal, said) =>
      call(node, on, "exec", { command, ...(text(workdir) ? { workdir } : {}), timeout: typeof timeout === "number" && timeout > 0 ? timeout : execTimeout }, signal, said),
  },
  {
    name: "cluster_read", label: "Read a file of a node",
    description: "Read a file on another node.",
    properties: { node: where, path: { type: "string" } }, required: ["node", "path"],
    run: (node, { node: on, path }, signal) => call(node, on, "read", { path }, signal),
  },
  {
    name: "cluster_write", label: "Write a file on a node",
    description: "Create or replace a file on another node.",
    properties: { node: where, path: { type: "string" }, content: { type: "string" } }, required: ["node", "path", "content"],
    run: (node, { node: on, path, content }, signal) => call(node, on, "write", { path, content }, signal),
  },
  {
    name: "cluster_tool", label: "Use a tool of a node",
    description: "Use any tool of another node (edit, list, web_search, web_fetch, browser, process, mcp:SERVER/TOOL, ...). Without tool, lists those that may be used.",
    properties: { node: where, tool: { type: "string", description: "the tool's name" }, args: { type: "object", description: "the tool's own arguments", additionalProperties: true } },
    required: ["node"], run: anyTool,
  },
];

export const toolNames = definitions.map(({ name }) => name);

/** What people and nodes that are not the owner may use through this gateway's agents: nothing that acts by the owner's grants. */
const forEveryone = ["cluster_peers", "cluster_handoff", "cluster_send"];

/** Makes a tool for a turn, or null where it is not to be had: in sandboxes, and where somebody else would act as the owner. */
export function createTool(name: string, node: () => Node, config: ClawmatrixConfig, ctx: OpenClawPluginToolContext) {
  const definition = definitions.find((d) => d.name === name);
  if (definition === undefined || ctx.sandboxed) return null;
  const owner = ctx.senderIsOwner !== false && !isForeign(ctx.sessionKey);
  if (!owner && !(config.nonOwnerTools ?? forEveryone).includes(name)) return null;
  const { label, description, properties, required, run } = definition;
  return {
    name, label, description,
    resultContentSource: "network" as const,
    parameters: { type: "object", additionalProperties: false, properties, required },
    async execute(_id: string, params: unknown, signal?: AbortSignal, onUpdate?: Update) {
      return await run(node(), (params ?? {}) as Params, signal, tail(onUpdate));
    },
  };
}

/** Tells what is being said: its last part, now and then. */
function tail(onUpdate: Update | undefined): (text: string) => void {
  let [said, told] = ["", 0];
  return (more) => {
    said = (said + more).slice(-4_000);
    if (onUpdate === undefined || Date.now() - told < 1_000) return;
    told = Date.now();
    onUpdate(answer(said, undefined));
  };
}

function answer(words: string, details: unknown): Answer {
  return { content: [{ type: "text", text: words }], details };
}

function text(value: unknown): string {
  return typeof value === "string" ? value.trim() : "";
}

async function peers(node: Node): Promise<Answer> {
  const list = await node.peers();
  return answer(list.length === 0 ? "no other node is known yet" : JSON.stringify(list.map(forModel), null, 2), { nodes: list.length });
}

/** What an agent can use: the rest is for people. */
function forModel(p: Peer): object {
  const { name, state, trusted, agents, models, tools, tags, why } = p;
  return { node: name, state, trusted, agents, models, tools, tags, ...(why?.length ? { why } : {}) };
}

async function handoff(node: Node, params: Params, signal: AbortSignal | undefined, said: (text: string) => void): Promise<Answer> {
  const id = await begin(node, params);
  try {
    for (let from = 0; ; ) {
      const news = await node.look(id, from, signal);
      from = news.next;
      if (news.text) said(news.text);
      const ended = outcome(news.task);
      if (ended) return ended;
    }
  } catch (error) {
    if (!signal?.aborted) throw error;
    await node.stop(id).catch(() => {}); // nobody waits for it any more; a node that is gone has stopped it
    throw signal.reason;
  }
}

async function begin(node: Node, { target, task, context, taskId, answer }: Params): Promise<string> {
  if (text(taskId)) {
    if (text(answer)) await node.answer(text(taskId), text(answer));
    return text(taskId);
  }
  if (!text(target) || !text(task)) throw new Error("target and task required, or the taskId of a task that goes on");
  return (await node.ask(text(target), "handoff", String(task), text(context) || undefined)).id;
}

function outcome(task: Task): Answer | undefined {
  const from = `${task.brief.agent}@${task.nodeName || task.node}`;
  const details = { taskId: task.id, state: task.state, agent: task.brief.agent, node: task.nodeName ?? task.node };
  switch (task.state) {
    case "queued":
    case "working":
      return undefined;
    case "done":
      return answer(`${from} answers:\n${task.output ?? ""}`, details);
    case "input-required":
      return answer(`${from} asks: ${task.question}\n(to answer, call cluster_handoff with taskId ${JSON.stringify(task.id)} and answer)`, details);
  }
  throw new Error(`the task of ${from} is ${task.state}: ${[task.error, task.output].filter(Boolean).join("\n")}`);
}

async function send(node: Node, { target, message }: Params): Promise<Answer> {
  if (!text(target) || !text(message)) throw new Error("target and message required");
  const task = await node.ask(text(target), "send", String(message));
  const to = `${task.brief.agent}@${task.nodeName || task.node}`;
  return answer(task.taken ? `${to} has the message` : `${to} cannot be reached now; the message waits`, { taskId: task.id, taken: task.taken === true });
}

async function anyTool(node: Node, { node: on, tool, args }: Params, signal: AbortSignal | undefined, said: (text: string) => void): Promise<Answer> {
  if (text(tool)) return await call(node, on, text(tool), (args ?? {}) as object, signal, said);
  if (!text(on)) throw new Error("node required");
  const listing = await node.tools(text(on));
  return answer(JSON.stringify(listing, null, 2), { executor: listing.executor });
}

async function call(node: Node, on: unknown, tool: string, args: object, signal: AbortSignal | undefined, said?: (text: string) => void): Promise<Answer> {
  if (!text(on)) throw new Error("node required");
  return shown(tool, await node.invoke(text(on), tool, args, signal, said));
}

/** The result of a tool, beginning with who ran it. */
function shown(tool: string, { executor, result, replayed }: Outcome): Answer {
  const { details, cut } = result;
  const exit = details?.exitCode === undefined ? "" : `, exit code ${String(details.exitCode)}`;
  const head = `${tool} ran on ${executor.node}${exit}${replayed ? " (earlier, under the same key)" : ""}${cut ? ` (${cut.omittedBytes} of ${cut.totalBytes} bytes left out)` : ""}:\n`;
  if (result.isError) throw new Error(head + result.content.map((part) => part.text ?? "").join(""));
  const parts = result.content.map((part): AnyContent =>
    part.type === "image" && part.data && part.mimeType
      ? { type: "image", data: part.data, mimeType: part.mimeType }
      : { type: "text", text: part.text ?? (part.type === "text" ? "" : `[${part.type}]`) },
  );
  const first = parts[0]?.type === "text" ? parts.shift() : undefined;
  return {
    content: [{ type: "text", text: head + (first?.type === "text" ? first.text : "") }, ...parts],
    details: { executor, ...(details === undefined ? {} : { result: details }), ...(cut ? { cut } : {}) },
  };
}
