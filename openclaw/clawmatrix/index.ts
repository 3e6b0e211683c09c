/**
 * The plugin's entry: the seven cluster tools, the model provider `clawmatrix`, `openclaw clawmatrix status`, the bridge that lends
 * this gateway's tools, and a service that runs the clawmatrix program, which does the work.
 */
import os from "node:os";
import path from "node:path";
import type { OpenClawPluginApi } from "openclaw/plugin-sdk/plugin-entry";
import { gatewayVariables } from "../lobster/src/gateway.ts";
import { bridgePath, createBridge, newToken } from "./src/bridge.ts";
import { describesNode, hasConfiguration, homeOf, isLoopback, isThisMachine, nodeConfiguration, type ClawmatrixConfig } from "./src/config.ts";
import { Daemon, findProgram, howToInstall, writePrivate } from "./src/daemon.ts";
import { isKeptFrom, Lending } from "./src/lending.ts";
import { Node } from "./src/node.ts";
import { createProvider, offerKey } from "./src/provider.ts";
import { readStatus, render } from "./src/status.ts";
import { gatewayTools } from "./src/toolbox.ts";
import { createTool, toolNames } from "./src/tools.ts";

export default {
  id: "clawmatrix",
  name: "ClawMatrix",
  description: "A mesh of gateways that share agents, models and tools.",
  register(api: OpenClawPluginApi) {
    const config = () => (api.pluginConfig ?? {}) as ClawmatrixConfig;
    const node = () => new Node(homeOf(config(), stateDir(api), process.env));
    for (const name of toolNames) api.registerTool((ctx) => createTool(name, node, config(), ctx), { name });
    if (api.registrationMode === "full") offerKey(process.env); // where turns run: the host's commands take a changed environment for another one
    api.registerProvider(createProvider(node, (text) => api.logger.warn(`clawmatrix: ${text}`)));
    registerTerminal(api, node);
    registerMesh(api, config);
    api.on("before_tool_call", ({ toolName, runId }, ctx) => {
      if (!isKeptFrom({ runId: runId ?? ctx.runId, sessionKey: ctx.sessionKey }, toolName)) return;
      api.logger.warn(`clawmatrix: kept ${toolName} from what another node asked (${ctx.sessionKey})`);
      return { block: true, blockReason: `${toolName} is not for what other nodes ask` };
    });
  },
};

function stateDir(api: OpenClawPluginApi): string {
  return api.runtime?.state?.resolveStateDir?.(process.env) ?? process.env.OPENCLAW_STATE_DIR ?? path.join(process.env.OPENCLAW_HOME ?? os.homedir(), ".openclaw");
}

/** The node, and the bridge by which it reaches this gateway's tools. */
function registerMesh(api: OpenClawPluginApi, config: () => ClawmatrixConfig) {
  let token: string | undefined;
  let daemon: Daemon | undefined;
  const handler = createBridge({ token: () => token, lending: () => new Lending(config()), toolbox: gatewayTools(api, () => config().bridge?.agent), log: api.logger });
  api.registerHttpRoute({ path: bridgePath, match: "prefix", auth: "plugin", handler });
  api.registerService({
    id: "clawmatrix",
    async start(ctx) {
      try {
        const home = homeOf(config(), stateDir(api), process.env);
        if (!describesNode(config()) && !(await hasConfiguration(home))) return api.logger.warn(`clawmatrix: ${setUp(home)}`);
        const tokenFile = path.join(home, "bridge.token");
        const fresh = newToken();
        await writePrivate(tokenFile, fresh + "\n");
        token = fresh;
        const gateway = gatewayVariables(ctx.config, process.env);
        if (!isThisMachine(gateway.OPENCLAW_URL)) api.logger.warn(`clawmatrix: ${notOnLoopback}`);
        daemon = new Daemon(await plan(config(), home, tokenFile, gateway), api.logger);
        daemon.start();
      } catch (error) {
        api.logger.error(`clawmatrix: ${error instanceof Error ? error.message : String(error)}`); // the gateway has other work than this
      }
    },
    async stop() {
      token = undefined;
      await daemon?.stop();
      daemon = undefined;
    },
  });
}

function setUp(home: string): string {
  return `no node is set up in ${home} yet: clawmatrix init begins a mesh, clawmatrix join LINE joins one; or write nodeId and secret into plugins.entries.clawmatrix.config`;
}

const notOnLoopback =
  "this gateway does not listen on loopback, and elsewhere it gives programs no rights: agents here take no tasks of other nodes and the bridge lends no tools, until gateway.bind is loopback or lan";

async function plan(config: ClawmatrixConfig, home: string, tokenFile: string, { OPENCLAW_URL: gateway = "", OPENCLAW_TOKEN: secret }: Record<string, string>) {
  const bridge = isLoopback(gateway) ? { url: gateway + bridgePath, tokenFile } : undefined; // the node goes there without TLS
  return {
    binary: await findProgram(config.binary, process.env),
    home,
    config: nodeConfiguration(config, { gatewayUrl: gateway.replace(/^http/, "ws"), bridge }),
    env: { ...process.env, ...(secret ? { OPENCLAW_GATEWAY_TOKEN: secret } : {}) },
  };
}

function registerTerminal(api: OpenClawPluginApi, node: () => Node) {
  const description = "The mesh: this machine's node, the others, and what they asked";
  api.registerCli(
    ({ program }) => {
      const root = program.command("clawmatrix").description(description);
      root.command("status").description("How this machine's node does, and the others").option("--json", "print JSON").action(async ({ json }: { json?: boolean }) => {
        try {
          const status = await readStatus(node());
          process.stdout.write((json ? JSON.stringify(status, null, 2) : render(status, `The gateway starts it when it runs and the plugin is configured. ${howToInstall}`)) + "\n");
          if (!status.running) process.exitCode = 1;
        } catch (error) {
          process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`);
          process.exitCode = 1;
        }
      });
    },
    { descriptors: [{ name: "clawmatrix", description, hasSubcommands: true }] },
  );
}
