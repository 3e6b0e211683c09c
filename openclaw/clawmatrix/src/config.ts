/**
 * The plugin's part of the config, plugins.entries.clawmatrix.config, and the node's configuration that is made of it. The fields
 * are those of the original plugin and of the clawmatrix program; the schema in the manifest has let nothing else pass.
 */
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";

/** Who may use which tools of this node; the program reads all of it, the bridge the names. */
export type ToolProxy = {
  enabled?: boolean;
  allow?: string[];
  deny?: string[];
  callers?: Record<string, { allow?: string[] }>;
  gateway?: { url: string; tokenFile: string };
};

export type Agent = { id: string; accept?: string[]; command?: string[]; a2a?: string; openclaw?: string };

export type ClawmatrixConfig = {
  nodeId?: string;
  agents?: Agent[];
  toolProxy?: ToolProxy;
  gateway?: { url?: string; tokenFile?: string };

  // What follows is the plugin's own.
  binary?: string;
  home?: string;
  bridge?: { allow?: string[]; deny?: string[]; agent?: string };
  nonOwnerTools?: string[];
} & Record<string, unknown>;

const ownFields = ["binary", "home", "bridge", "nonOwnerTools"];

/** The host fills these in where the owner says nothing. */
const filledIn = ["listen", "listenHost", "listenPort", "proxyPort"];

export const defaultProxyPort = 19001;

/** An entry of an accept list that is no node's name and no key. */
const nobody = "(nobody)";

/** Whether the config describes the node; otherwise the node's own file does, which `clawmatrix init` or `join` wrote. */
export function describesNode(config: ClawmatrixConfig): boolean {
  return Object.keys(config).some((name) => !ownFields.includes(name) && !filledIn.includes(name));
}

/** Where the node keeps its key and what it learned. */
export function homeOf(config: ClawmatrixConfig, stateDir: string, env: NodeJS.ProcessEnv): string {
  if (config.home !== undefined) return absolute("home", config.home);
  if (describesNode(config)) return path.join(stateDir, "clawmatrix");
  return env.CLAWMATRIX_HOME || path.join(os.homedir(), ".clawmatrix");
}

/** Whether the node has a configuration of its own there, a guest's included. */
export async function hasConfiguration(home: string): Promise<boolean> {
  const there = await Promise.all(["config.yaml", "config.json", "guest.json"].map((name) => fs.stat(path.join(home, name)).then(() => true, () => false)));
  return there.includes(true);
}

/** Whether the node may go to a gateway's address for tools: plain HTTP, on this machine. */
export function isLoopback(url: string): boolean {
  return isThisMachine(url) && new URL(url).protocol === "http:";
}

/** Whether a gateway's address is one where it takes its owner's programs as such. */
export function isThisMachine(url: string | undefined): boolean {
  if (url === undefined || !URL.canParse(url)) return false;
  const { hostname } = new URL(url);
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.\d+){3}$/.test(hostname);
}

function absolute(field: string, given: string): string {
  const full = given.startsWith("~/") ? path.join(os.homedir(), given.slice(2)) : given;
  if (!path.isAbsolute(full)) throw new Error(`plugins.entries.clawmatrix.config.${field} must be an absolute path`);
  return full;
}

/** What the plugin knows and the config need not say. */
export type Surroundings = {
  gatewayUrl: string; // ws://...
  bridge: { url: string; tokenFile: string } | undefined;
};

/** The text of the node's configuration; undefined when the config describes none. */
export function nodeConfiguration(config: ClawmatrixConfig, around: Surroundings): string | undefined {
  if (!describesNode(config)) return undefined;
  if (config.nodeId === undefined || config.secret === undefined) {
    throw new Error("plugins.entries.clawmatrix.config needs nodeId and secret; without any of the node's fields, the file that clawmatrix init or clawmatrix join wrote counts");
  }
  const node: Record<string, unknown> = Object.fromEntries(Object.entries(config).filter(([name]) => !ownFields.includes(name)));
  node.agents = (config.agents ?? []).map(withAccept);
  node.gateway = { url: around.gatewayUrl, ...config.gateway };
  if (config.toolProxy?.enabled && around.bridge) node.toolProxy = { gateway: around.bridge, ...config.toolProxy };
  return JSON.stringify(node, null, 2) + "\n";
}

/** An agent of this gateway takes tasks from nodes that its owner named, whatever the mesh trusts. */
function withAccept(agent: Agent): Agent {
  const elsewhere = agent.command !== undefined || agent.a2a !== undefined;
  return elsewhere || (agent.accept?.length ?? 0) > 0 ? agent : { ...agent, accept: [nobody] };
}
