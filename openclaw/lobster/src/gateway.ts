/** What lets a workflow call this gateway's tools, and what its refusals mean. */
import type { OpenClawConfig } from "openclaw/plugin-sdk/plugin-entry";

const defaultPort = 18789;

/** Variables that `openclaw.invoke` reads. What the gateway's own environment says counts more. */
export function gatewayVariables(config: OpenClawConfig | undefined, env: NodeJS.ProcessEnv): Record<string, string> {
  const gateway = config?.gateway;
  const scheme = gateway?.tls?.enabled ? "https" : "http";
  const host = gateway?.bind === "custom" && gateway.customBindHost ? gateway.customBindHost : "127.0.0.1";
  const port = env.OPENCLAW_GATEWAY_PORT || gateway?.port || defaultPort;
  const variables: Record<string, string> = { OPENCLAW_URL: env.OPENCLAW_URL || `${scheme}://${host}:${port}` };
  const token = env.OPENCLAW_TOKEN || secret(gateway?.auth, env);
  if (token) variables.OPENCLAW_TOKEN = token;
  return variables;
}

type Auth = NonNullable<NonNullable<OpenClawConfig["gateway"]>["auth"]>;

/** The shared secret, where the gateway has one as text by now; a reference to a secret store is not followed. */
function secret(auth: Auth | undefined, env: NodeJS.ProcessEnv): string | undefined {
  const [configured, fromEnv] =
    auth?.mode === "password" ? [auth.password, env.OPENCLAW_GATEWAY_PASSWORD] : [auth?.token, env.OPENCLAW_GATEWAY_TOKEN];
  return typeof configured === "string" && configured !== "" ? configured : fromEnv;
}

/** Tools that no gateway offers over HTTP, whatever its config allows (seen with OpenClaw 2026.9.6). */
const neverOverHTTP = new Set(["exec", "read", "write", "edit", "apply_patch", "ls", "process"]);

/** What to do about a refusal in what a workflow printed; undefined when it is about something else. */
export function toolHint(printed: string): string | undefined {
  if (!/\.invoke failed \(404\)/.test(printed)) return undefined;
  const tool = /Tool not available: ([\w.-]+)/.exec(printed)?.[1];
  if (tool !== undefined && neverOverHTTP.has(tool)) {
    return `the gateway never offers ${tool} to workflows; use lobster's own exec stage instead`;
  }
  return `the gateway refuses ${tool ?? "this tool"} to workflows: allow it in tools.allow (tools that are denied over HTTP also need gateway.tools.allow)`;
}
