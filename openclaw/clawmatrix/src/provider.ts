/**
 * The provider `clawmatrix`: the models of all nodes, which this machine's node offers on loopback. It speaks as lobstah's router
 * does, whose list of models is read the same way.
 */
import type { OpenClawConfig, ProviderCatalogContext, ProviderCatalogResult, ProviderPlugin, ProviderPrepareDynamicModelContext, ProviderRuntimeModel } from "openclaw/plugin-sdk/plugin-entry";
import { describe, fetchModels, usable } from "../../lobstah/src/models.ts";
import { defaultProxyPort, type ClawmatrixConfig } from "./config.ts";

const providerId = "clawmatrix";

/** The node asks for no key, but OpenClaw uses no provider that has none. */
const anyKey = "clawmatrix";

/** Sets it where a program's key would stand, so that models work without any entry in models.providers. */
export function offerKey(env: NodeJS.ProcessEnv): void {
  env.CLAWMATRIX_API_KEY ||= anyKey;
}

export const provider: ProviderPlugin = {
  id: providerId,
  label: "ClawMatrix mesh",
  envVars: ["CLAWMATRIX_API_KEY"],
  auth: [],
  catalog: { order: "late", run: discover },
  prepareDynamicModel: lookUp,
  buildUnknownModelHint: () => "What the mesh has now: openclaw models list --provider clawmatrix; its nodes: openclaw clawmatrix status",
};

function baseUrl(config: OpenClawConfig): string {
  const own = config.plugins?.entries?.[providerId]?.config as ClawmatrixConfig | undefined;
  return config.models?.providers?.[providerId]?.baseUrl ?? `http://127.0.0.1:${own?.proxyPort ?? defaultProxyPort}/v1`;
}

/** Asks this machine's node and nobody else. */
export async function discover(ctx: Pick<ProviderCatalogContext, "config" | "signal">): Promise<ProviderCatalogResult> {
  const configured = ctx.config.models?.providers?.[providerId];
  const base = baseUrl(ctx.config);
  const models = await fetchModels(base, anyKey, ctx.signal).catch(() => undefined); // it does not run now
  if (models === undefined) return null;
  return { provider: { ...configured, baseUrl: base, apiKey: configured?.apiKey ?? anyKey, api: "openai-completions", models: usable(models).map(describe) } };
}

/** Finds a model that is in no list yet: nodes come while the gateway runs. `MODEL@NODE` is that of one node. */
async function lookUp({ config = {}, modelId }: Pick<ProviderPrepareDynamicModelContext, "config" | "modelId">): Promise<ProviderRuntimeModel | void> {
  const base = baseUrl(config);
  const models = await fetchModels(base, anyKey).catch(() => []); // it does not run now
  const found = models.find(({ id }) => id === modelId) ?? models.find(({ id }) => id === modelId.replace(/@[^@]*$/, ""));
  if (found === undefined) return;
  return { ...describe(found), id: modelId, provider: providerId, api: "openai-completions", baseUrl: base } as ProviderRuntimeModel;
}
