/**
 * The provider `clawmatrix`: the models of all nodes, which this machine's node offers on loopback. It speaks as lobstah's router
 * does, whose list of models is read the same way.
 */
import type { OpenClawConfig, ProviderCatalogContext, ProviderCatalogResult, ProviderPlugin, ProviderPrepareDynamicModelContext, ProviderRuntimeModel } from "openclaw/plugin-sdk/plugin-entry";
import { createReader, describe, describeForTurn, thinkingParams, usable, usualApi, type Reader } from "../../lobstah/src/models.ts";
import { defaultProxyPort } from "./config.ts";
import type { Node } from "./node.ts";

const providerId = "clawmatrix";

/** The node asks for no key, but OpenClaw uses no provider that has none. */
const anyKey = "clawmatrix";

/** Sets it where a program's key would stand, so that models work without any entry in models.providers. */
export function offerKey(env: NodeJS.ProcessEnv): void {
  env.CLAWMATRIX_API_KEY ||= anyKey;
}

/** Makes the provider. It asks this machine's node and nobody else; what the owner should know about it goes to warn. */
export function createProvider(node: () => Node, warn: (text: string) => void): ProviderPlugin {
  const read = createReader(warn);
  return {
    id: providerId,
    label: "ClawMatrix mesh",
    envVars: ["CLAWMATRIX_API_KEY"],
    auth: [],
    catalog: { order: "late", run: (ctx) => discover(node(), read, ctx) },
    prepareDynamicModel: (ctx) => lookUp(node(), read, ctx),
    prepareExtraParams: thinkingParams,
    buildUnknownModelHint: () => "What the mesh has now: openclaw models list --provider clawmatrix; its nodes: openclaw clawmatrix status",
  };
}

async function baseUrl(node: Node, config: OpenClawConfig): Promise<string> {
  const configured = config.models?.providers?.[providerId]?.baseUrl;
  if (configured) return configured;
  const { proxy } = await node.status().catch(() => ({ proxy: `http://127.0.0.1:${defaultProxyPort}` })); // a node of somebody else's
  return `${proxy}/v1`;
}

async function discover(node: Node, read: Reader, ctx: Pick<ProviderCatalogContext, "config" | "signal">): Promise<ProviderCatalogResult> {
  const configured = ctx.config.models?.providers?.[providerId];
  const base = await baseUrl(node, ctx.config);
  const models = await read(base, anyKey, ctx.signal);
  if (models === undefined) return null;
  return { provider: { ...configured, baseUrl: base, apiKey: configured?.apiKey ?? anyKey, api: configured?.api ?? usualApi, models: usable(models).map(describe) } };
}

/** Finds a model that is in no list yet: nodes come while the gateway runs. `MODEL@NODE` is that of one node. */
async function lookUp(node: Node, read: Reader, { config = {}, modelId }: Pick<ProviderPrepareDynamicModelContext, "config" | "modelId">): Promise<ProviderRuntimeModel | void> {
  const base = await baseUrl(node, config);
  const models = (await read(base, anyKey)) ?? [];
  const found = models.find(({ id }) => id === modelId) ?? models.find(({ id }) => id === modelId.replace(/@[^@]*$/, ""));
  return found && describeForTurn(found, { id: modelId, provider: providerId, baseUrl: base, api: config.models?.providers?.[providerId]?.api ?? usualApi });
}
