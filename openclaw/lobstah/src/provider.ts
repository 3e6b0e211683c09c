/** The provider `lobstah`: which models it has is what the router says now. */
import type { ProviderCatalogContext, ProviderCatalogResult, ProviderPlugin, ProviderPrepareDynamicModelContext, ProviderRuntimeModel } from "openclaw/plugin-sdk/plugin-entry";
import { createReader, describe, describeForTurn, thinkingParams, usable, usualApi, type Reader } from "./models.ts";
import { anyKey, authMethod, defaultBaseUrl, providerId } from "./onboarding.ts";

/** Makes the provider; what the owner should know about the router goes to warn. */
export function createProvider(warn: (text: string) => void): ProviderPlugin {
  const read = createReader(warn);
  return {
    id: providerId,
    label: "Lobstah grid",
    envVars: ["LOBSTAH_API_KEY"],
    auth: [authMethod],
    catalog: { order: "late", run: (ctx) => discover(read, ctx) },
    prepareDynamicModel: (ctx) => lookUp(read, ctx),
    prepareExtraParams: thinkingParams,
    buildMissingAuthMessage: () => `The Lobstah grid needs an API key in the config, any word will do: openclaw onboard --auth-choice ${providerId}`,
    buildUnknownModelHint: () => "What the grid has now: openclaw models list --provider lobstah; what its peers say: openclaw lobstah status",
  };
}

/** Asks the router that is configured; an unconfigured one is looked for at this machine's usual address only. */
async function discover(read: Reader, ctx: Pick<ProviderCatalogContext, "config" | "resolveProviderApiKey" | "signal">): Promise<ProviderCatalogResult> {
  const configured = ctx.config.models?.providers?.[providerId];
  const baseUrl = configured?.baseUrl ?? defaultBaseUrl;
  const { apiKey, discoveryApiKey } = ctx.resolveProviderApiKey(providerId);
  const written = typeof configured?.apiKey === "string" ? configured.apiKey : undefined;
  const key = discoveryApiKey ?? apiKey ?? written ?? anyKey;
  const models = await read(baseUrl, key, ctx.signal);
  if (models === undefined) return null;
  return { provider: { ...configured, baseUrl, apiKey: configured?.apiKey ?? key, api: configured?.api ?? usualApi, models: usable(models).map(describe) } };
}

/** Finds a model that is in no catalogue yet, since its machine joined a moment ago. */
async function lookUp(read: Reader, { config = {}, modelId }: Pick<ProviderPrepareDynamicModelContext, "config" | "modelId">): Promise<ProviderRuntimeModel | void> {
  const { baseUrl = defaultBaseUrl, apiKey, api = usualApi } = config.models?.providers?.[providerId] ?? {};
  const models = await read(baseUrl, typeof apiKey === "string" ? apiKey : (process.env.LOBSTAH_API_KEY ?? anyKey));
  const found = models?.find(({ id }) => id === modelId);
  return found && describeForTurn(found, { id: modelId, provider: providerId, baseUrl, api });
}
