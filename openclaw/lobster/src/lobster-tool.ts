/**
 * The agent tool `lobster`: turns a call into one run of the lobster program, and its envelope into a result.
 *
 * Parameters, the order of checks and the messages are those of OpenClaw's plugin of 2026.1.29, which ran the program, too.
 * All parameters come from a model and are hostile: src/places.ts bounds what runs and where, src/process.ts for how long.
 */
import type { OpenClawPluginApi, OpenClawPluginToolContext } from "openclaw/plugin-sdk/plugin-entry";
import { parseEnvelope, type Envelope } from "./envelope.ts";
import { gatewayVariables, toolHint } from "./gateway.ts";
import { chooseProgram, findFolder, findOnPath } from "./places.ts";
import { run, type Ending } from "./process.ts";

/** The plugin's part of the config, as its manifest's schema lets it pass. */
export type LobsterConfig = {
  lobsterPaths?: string[];
  allowedCommands?: string[];
  gatewayAccess?: boolean;
};

/** What the tool needs of the plugin API, so that tests need no more. */
export type Host = Pick<OpenClawPluginApi, "config"> & Partial<Pick<OpenClawPluginApi, "pluginConfig" | "logger" | "runtime">>;

const parameters = {
  type: "object",
  additionalProperties: false,
  required: ["action"],
  properties: {
    action: { type: "string", enum: ["run", "resume"], description: "run a pipeline or workflow file, or answer a run that waits" },
    pipeline: { type: "string", description: "run: a pipeline, or the path of a workflow file" },
    argsJson: { type: "string", description: "run: arguments of a workflow file, as a JSON object" },
    token: { type: "string", description: "resume: requiresApproval.resumeToken of the run" },
    approve: { type: "boolean", description: "resume: what the user decided; never decide in the user's place" },
    responseJson: { type: "string", description: "resume: the user's answer to a question (status needs_input), as JSON" },
    lobsterPath: { type: "string", description: "an absolute path that the plugin's config names; usually omitted" },
    cwd: { type: "string", description: "a folder of the workspace to run in" },
    timeoutMs: { type: "number", description: "milliseconds; by default 20000" },
    maxStdoutBytes: { type: "number", description: "by default 512000" },
  },
} as const;

export function createLobsterTool(api: Host, ctx: OpenClawPluginToolContext = {}) {
  return {
    name: "lobster",
    label: "Lobster",
    description:
      "Run Lobster pipelines as a local-first workflow runtime (typed JSON envelope + resumable approvals). " +
      "status needs_approval means: show requiresApproval to the user, and resume with the token and the user's decision.",
    parameters,
    async execute(_id: string, params: Record<string, unknown>, signal?: AbortSignal) {
      const config = (api.pluginConfig ?? {}) as LobsterConfig;
      const action = String(params.action || "").trim();
      if (!action) throw new Error("action required");
      const chosen = chooseProgram(text(params.lobsterPath), config.lobsterPaths ?? []);
      const cwd = await findFolder(text(params.cwd), ctx.workspaceDir);
      const argv = commandLine(action, params);
      if (api.runtime?.version) api.logger?.debug?.(`lobster plugin runtime=${api.runtime.version}`);
      const ending = await run({
        program: chosen ?? (await findOnPath(ctx.workspaceDir)),
        argv,
        cwd,
        env: environment(config, ctx.getRuntimeConfig?.() ?? ctx.runtimeConfig ?? ctx.config ?? api.config),
        timeoutMs: atLeast(200, params.timeoutMs, 20_000),
        maxStdoutBytes: atLeast(1024, params.maxStdoutBytes, 512_000),
        signal,
      });
      return result(envelopeOf(ending));
    },
  };
}

function text(value: unknown): string {
  return typeof value === "string" ? value.trim() : "";
}

function atLeast(floor: number, value: unknown, usual: number): number {
  return Math.max(floor, typeof value === "number" && Number.isFinite(value) ? value : usual);
}

function commandLine(action: string, params: Record<string, unknown>): string[] {
  switch (action) {
    case "run": {
      if (!text(params.pipeline)) throw new Error("pipeline required");
      const argv = ["run", "--mode", "tool", params.pipeline as string];
      return text(params.argsJson) ? [...argv, "--args-json", params.argsJson as string] : argv;
    }
    case "resume":
      if (!text(params.token)) throw new Error("token required");
      return ["resume", "--token", params.token as string, ...decision(params)];
  }
  throw new Error(`Unknown action: ${action}`);
}

/** What the user decided, or answered where a workflow asked; the original plugin knew only the former. */
function decision({ approve, responseJson }: Record<string, unknown>): string[] {
  const response = text(responseJson);
  if (response && approve !== undefined) throw new Error("approve or responseJson, not both");
  if (response) return ["--response-json", response];
  if (typeof approve !== "boolean") throw new Error("approve required");
  return ["--approve", approve ? "yes" : "no"];
}

const invokers = ["openclaw.invoke", "clawd.invoke", "llm.invoke", "llm_task.invoke", "email.triage"];

function environment(config: LobsterConfig, host: Host["config"]): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...process.env, LOBSTER_MODE: "tool" };
  if (env.NODE_OPTIONS?.includes("--inspect")) delete env.NODE_OPTIONS; // the debugger's port is the gateway's
  const allowed = config.allowedCommands;
  if (allowed !== undefined) env.LOBSTER_COMMANDS = allowed.join(",") || "none";
  const calls = allowed === undefined || invokers.some((name) => allowed.includes(name));
  if (config.gatewayAccess !== false && calls) Object.assign(env, gatewayVariables(host, process.env));
  return env;
}

function envelopeOf(ending: Ending): Envelope {
  if (ending.code === 0) return parseEnvelope(ending.stdout);
  const printed = ending.stderr.trim() || ending.stdout.trim();
  const hint = toolHint(ending.stderr + ending.stdout);
  throw new Error(`lobster failed (${ending.code ?? "?"}): ${printed}${hint ? `\nhint: ${hint}` : ""}`);
}

function result(envelope: Envelope) {
  const content = [{ type: "text" as const, text: JSON.stringify(envelope, null, 2) }];
  const hint = envelope.ok ? undefined : toolHint(envelope.error?.message ?? "");
  if (hint) content.push({ type: "text", text: `hint: ${hint}` });
  return { content, details: envelope };
}
