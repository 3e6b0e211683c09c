/** The provider `lobstah`: which models it has is what the router says now. */
import type { ProviderCatalogContext, ProviderCatalogResult, ProviderPlugin } from "openclaw/plugin-sdk/plugin-entry";
import { describe, fetchModels, usable } from "./models.ts";
import { anyKey, authMethod, defaultBaseUrl, providerId } from "./onboarding.ts";

export const provider: ProviderPlugin = {
  id: providerId,
  label: "Lobstah grid",
  envVars: ["LOBSTAH_API_KEY"],
  auth: [authMethod],
  catalog: { order: "late", run: discover },
  buildMissingAuthMessage: () => `The Lobstah grid needs an API key in the config, any word will do: openclaw onboard --auth-choice ${providerId}`,
  buildUnknownModelHint: () => "What the grid has now: openclaw models list --provider lobstah; what its peers say: openclaw lobstah status",
};

/** Asks the router that is configured; an unconfigured one is looked for at this machine's usual address only. */
export async function discover(ctx: Pick<ProviderCatalogContext, "config" | "resolveProviderApiKey" | "signal">): Promise<ProviderCatalogResult> {
  const configured = ctx.config.models?.providers?.[providerId];
  const baseUrl = configured?.baseUrl ?? defaultBaseUrl;
  const { apiKey, discoveryApiKey } = ctx.resolveProviderApiKey(providerId);
  const written = typeof configured?.apiKey === "string" ? configured.apiKey : undefined;
  const key = discoveryApiKey ?? apiKey ?? written ?? anyKey;
  const models = await fetchModels(baseUrl, key, ctx.signal).catch(() => undefined); // it does not run now
  if (models === undefined) return null;
  return { provider: { ...configured, baseUrl, apiKey: configured?.apiKey ?? key, api: "openai-completions", models: usable(models).map(describe) } };
}
