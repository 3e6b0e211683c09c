/**
 * The provider `clawmatrix`: the models of all nodes, which this machine's node offers on loopback. It speaks as lobstah's router
 * does, whose list of models is read the same way.
 */
import type { OpenClawConfig, ProviderCatalogContext, ProviderCatalogResult, ProviderPlugin } from "openclaw/plugin-sdk/plugin-entry";
import { describe, fetchModels, usable } from "../../lobstah/src/models.ts";
import { defaultProxyPort, type ClawmatrixConfig } from "./config.ts";

const providerId = "clawmatrix";

/** The node asks for no key, but OpenClaw uses no provider that has none. */
const anyKey = "clawmatrix";

export const provider: ProviderPlugin = {
  id: providerId,
  label: "ClawMatrix mesh",
  envVars: ["CLAWMATRIX_API_KEY"],
  auth: [],
  catalog: { order: "late", run: discover },
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
