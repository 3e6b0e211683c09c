/**
 * Which of this gateway's own tools other nodes may be lent by the bridge, and which of them their tasks may make agents use. The
 * node has judged caller, tool and task before; what is denied here is denied whatever any list says.
 */
import type { ClawmatrixConfig } from "./config.ts";

/** The node has these itself, with rules of its own (paths, commands): those of the gateway would be a way around them. */
const theNodesOwn = ["exec", "read", "write", "edit", "list", "ls", "web_fetch"];

/** They change the gateway, reach its owner's secrets, other devices and conversations, or start what outlives the work at hand. */
const ruling = [
  "gateway", "plugins", "openclaw", "config*", "secret*", "nodes", "node_*", "computer", "mobile_ui", "screen", "terminal", "portal", "file_fetch", "file_write", "dir_list",
  "dir_fetch", "cron*", "automations", "heartbeat*", "session_spawn", "sessions_spawn", "sessions_send", "spawn", "subagents", "agents_wait", "conversations*", "skill_workshop",
];

/** Nor are these lent: what belongs to a conversation, and the mesh in this node's name. */
const never = [...ruling, "sessions*", "ask_user", "*_goal", "intent", "dashboard", "cluster_*", "tool_*"];

/** They run commands or change files as the node's own tools do, without its paths and commands: a star does not mean them, only their names do. */
const byName = ["apply_patch", "process", "lobster"];

export class Lending {
  readonly #allow: string[];
  readonly #deny: string[];

  constructor({ bridge, toolProxy }: Pick<ClawmatrixConfig, "bridge" | "toolProxy">) {
    const proxied = toolProxy?.enabled ? [...(toolProxy.allow ?? []), ...Object.values(toolProxy.callers ?? {}).flatMap((rule) => rule.allow ?? [])] : [];
    this.#allow = bridge?.allow ?? proxied;
    this.#deny = [...(bridge?.deny ?? []), ...(toolProxy?.deny ?? [])];
  }

  /** Nothing is lent, whatever is asked. */
  get empty(): boolean {
    return this.#allow.every((name) => [...theNodesOwn, ...never].includes(name));
  }

  lends(tool: string): boolean {
    const name = tool.toLowerCase();
    if (covers(theNodesOwn, name) || covers(never, name) || covers(this.#deny, name)) return false;
    return byName.includes(name) ? this.#allow.some((entry) => entry.toLowerCase() === name) : covers(this.#allow, name);
  }
}

/** A name may begin or end with a star. */
function covers(list: readonly string[], name: string): boolean {
  return list.some((entry) => {
    const pattern = entry.toLowerCase();
    if (pattern.endsWith("*")) return name.startsWith(pattern.slice(0, -1));
    return pattern.startsWith("*") ? name.endsWith(pattern.slice(1)) : name === pattern;
  });
}

/** Whether a turn may not use a tool, since another node has caused it: its runs and sessions have names that the node gives. */
export function isKeptFrom(turn: { runId?: string | undefined; sessionKey?: string | undefined }, tool: string): boolean {
  return (turn.runId?.startsWith("clawmatrix-") || isForeign(turn.sessionKey)) && covers(ruling, tool.toLowerCase());
}

/** Whether a session is one of another node's. */
export function isForeign(sessionKey: string | undefined): boolean {
  return /^agent:[^:]+:clawmatrix-/.test(sessionKey ?? "");
}
