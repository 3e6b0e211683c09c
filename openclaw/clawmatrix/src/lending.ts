/**
 * Which of this gateway's own tools other nodes may be lent by the bridge. The node has judged caller and tool before; this list
 * can only take away, and what is denied here is denied whatever any list says.
 */
import type { ClawmatrixConfig } from "./config.ts";

/** The node has these itself, with rules of its own (paths, commands): those of the gateway would be a way around them. */
const theNodesOwn = ["exec", "read", "write", "edit", "list", "ls", "web_fetch"];

/** They change the gateway, reach its owner's other devices, conversations and secrets, start work that outlives the call, or use the mesh in this node's name. */
const never = [
  "gateway", "plugins", "openclaw", "config*", "secret*", "nodes", "node_*", "computer", "mobile_ui", "screen", "terminal", "portal",
  "file_fetch", "file_write", "dir_list", "dir_fetch", "cron*", "automations", "heartbeat*", "sessions*", "session_spawn", "spawn",
  "subagents", "agents_wait", "conversations*", "ask_user", "skill_workshop", "*_goal", "intent", "dashboard", "cluster_*", "tool_*",
];

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
    return !covers(theNodesOwn, name) && !covers(never, name) && !covers(this.#deny, name) && covers(this.#allow, name);
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
