/** The gateway's own tools, made as for a turn of an agent that somebody asks who is not the owner. */
import type { OpenClawPluginApi } from "openclaw/plugin-sdk/plugin-entry";
import type { Caller, GatewayTool, Toolbox } from "./bridge.ts";

/** What makes tools in the host. It is large, and most gateways lend nothing: it is loaded when a tool is asked for. */
async function loadHost() {
  const [{ createOpenClawCodingTools }, { resolveSandboxContext }] = await Promise.all([import("openclaw/plugin-sdk/agent-harness"), import("openclaw/plugin-sdk/agent-harness-runtime")]);
  return { createOpenClawCodingTools, resolveSandboxContext };
}

export type Host = Awaited<ReturnType<typeof loadHost>>;

/** Makes tools for an agent; each node has a session of its own, so that none meets what another one left. */
export function gatewayTools(api: Pick<OpenClawPluginApi, "config" | "runtime">, agentOf: () => string | undefined, load: () => Promise<Host> = loadHost): Toolbox {
  return async (caller, signal) => {
    const { createOpenClawCodingTools, resolveSandboxContext } = await load();
    const config = (api.runtime.config?.current?.() ?? api.config) as typeof api.config;
    const agentId = agentOf() ?? "main";
    const sessionKey = sessionOf(agentId, caller);
    const workspaceDir = api.runtime.agent.resolveAgentWorkspaceDir(config, agentId);
    const sandbox = await resolveSandboxContext({ config, agentId, sessionKey, workspaceDir });
    const tools = createOpenClawCodingTools({
      agentId, config, sessionKey, workspaceDir, sandbox, abortSignal: signal,
      senderIsOwner: false,
      ...(caller ? { senderId: caller.key, senderName: caller.node } : {}),
      inputProvenance: { kind: "external_user", sourceChannel: "clawmatrix", sourceTool: "cluster_tool" },
    });
    return tools as GatewayTool[];
  };
}

function sessionOf(agentId: string, caller: Caller | undefined): string {
  return `agent:${agentId}:clawmatrix-tools${caller ? `-${caller.key.slice(0, 36).toLowerCase()}` : ""}`;
}
