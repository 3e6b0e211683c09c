/** What `openclaw clawmatrix status` tells: this machine's node, the others, and what others asked of this one. */
import { printable } from "../../lobstah/src/printable.ts";
import { NotRunning, type Node, type Peer, type Report, type Task } from "./node.ts";

export type Status = { running: false; home: string } | { running: true; home: string; node: Report; peers: Peer[]; taken: Task[]; asked: Task[] };

const shownTasks = 5;

export async function readStatus(node: Node): Promise<Status> {
  try {
    const [report, peers, tasks] = await Promise.all([node.status(), node.peers(), node.tasks()]);
    return { running: true, home: node.home, node: report, peers, ...tasks };
  } catch (error) {
    if (error instanceof NotRunning) return { running: false, home: node.home };
    throw error;
  }
}

export function render(status: Status, hint: string): string {
  if (!status.running) return `no node runs with ${status.home}\n${hint}`;
  const { node, peers, taken, home } = status;
  return [
    `node ${node.node} runs (process ${node.pid}), ${peers.length} other ${peers.length === 1 ? "node" : "nodes"}`,
    `  key      ${node.key}`,
    `  trust    ${node.trust === "verified" ? "verified keys" : "whoever holds the secret"}`,
    ...(node.listen ? [`  listens  ${node.listen}`] : []),
    `  models   ${node.proxy}/v1`,
    `  home     ${home}`,
    ...(node.problems ?? []).map((problem) => `  PROBLEM  ${printable(problem)}`),
    ...peers.flatMap(renderPeer),
    ...(taken.length > 0 ? ["asked of this gateway's agents", ...taken.slice(0, shownTasks).map(renderTask)] : []),
    ...(node.trust === "verified" && peers.some((p) => !p.trusted) ? [`to trust a node: clawmatrix --home ${home} verify NODE`] : []),
    `what other nodes did here by tools: clawmatrix --home ${home} audit`,
  ].join("\n");
}

function renderPeer(peer: Peer): string[] {
  const way = peer.state === "relayed" ? `relayed by ${peer.via ?? "others"}` : peer.state;
  const has = (what: string, names: string[]) => (names.length > 0 ? [`${what} ${names.join(", ")}`] : []);
  const offers = [...has("agents", peer.agents.map((a) => a.id)), ...has("models", peer.models.map((m) => m.id)), ...has("tools", peer.tools), ...has("tags", peer.tags)];
  return [
    printable(`${peer.name}  ${way}${peer.latencyMs ? `, ${peer.latencyMs.toFixed(1)} ms` : ""}, ${peer.trusted ? "trusted" : "not trusted"}${offers.length > 0 ? `; ${offers.join("; ")}` : ""}`),
    ...(peer.why ?? []).map((why) => `  ${printable(why)}`),
  ];
}

function renderTask(task: Task): string {
  const words = task.brief.text.replace(/\s+/g, " ");
  return printable(`  ${task.created.slice(0, 19)}Z  ${task.brief.kind} to ${task.brief.agent} from ${task.nodeName || task.node}: ${task.state}  ${words.length > 60 ? words.slice(0, 60) + "…" : words}`);
}
