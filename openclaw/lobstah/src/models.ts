/**
 * Reads what a router offers: GET /v1/models, OpenAI's list with the facts that lobstah adds.
 * The answer is a router's, which tells what peers told it: sizes are capped and types checked.
 */
import type { OpenClawConfig, ProviderPrepareExtraParamsContext, ProviderRuntimeModel } from "openclaw/plugin-sdk/plugin-entry";
import { printable } from "./printable.ts";

type Providers = NonNullable<NonNullable<OpenClawConfig["models"]>["providers"]>;
export type ProviderConfig = Providers[string];
export type Model = ProviderConfig["models"][number];

/** An entry of the router's list. Absent facts are those that the peers do not know or do not agree about. */
export type RouterModel = {
  id: string;
  owned_by?: string;
  context_length?: number;
  capabilities?: string[];
  demo?: boolean;
  peers?: string[];
};

/** Which every engine has; an owner whose peers have others may name one. */
export const usualApi = "openai-completions";

const maxBytes = 4 << 20;
const patience = 5_000;

/** What OpenClaw plans with where the peers do not tell: more than its least, and little enough for most engines. */
const usualContext = 32_768;
const mostOutput = 8_192;

/** A router that wants a key, or another one. */
export class KeyRefused extends Error {}

export async function fetchModels(baseUrl: string, apiKey: string, signal?: AbortSignal): Promise<RouterModel[]> {
  const timeout = AbortSignal.timeout(patience);
  const response = await fetch(`${baseUrl}/models`, {
    headers: { authorization: `Bearer ${apiKey}` },
    redirect: "error",
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
  });
  if (response.status === 401) throw new KeyRefused(`${baseUrl} wants another API key`);
  if (!response.ok) throw new Error(`${baseUrl}/models answers ${response.status}`);
  const body = JSON.parse(await limitedText(response)) as { data?: unknown };
  if (!Array.isArray(body?.data)) throw new Error(`${baseUrl}/models is no list of models; is it a lobstah router?`);
  return body.data.filter(isRouterModel);
}

/** Reads the list for the host; undefined where there is none to be had now. */
export type Reader = (baseUrl: string, apiKey: string, signal?: AbortSignal) => Promise<RouterModel[] | undefined>;

/** A reader that never fails, since the host tells nobody why a catalogue did. Of what is wrong, a router that does not run excepted, it warns once. */
export function createReader(warn: (text: string) => void): Reader {
  let told = "";
  return async (baseUrl, apiKey, signal) => {
    try {
      const models = await fetchModels(baseUrl, apiKey, signal);
      told = "";
      return models;
    } catch (error) {
      if (signal?.aborted || codeOf(error) === "ECONNREFUSED") return undefined;
      const words = `no models from ${baseUrl}: ${reason(error)}`;
      if (words !== told) warn(words);
      told = words;
      return undefined;
    }
  };
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error ? (error.cause as NodeJS.ErrnoException | undefined)?.code : undefined;
}

/** What went wrong with a router, for people. */
export function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (codeOf(error) === "ECONNREFUSED") return "nothing answers there";
  return error.cause instanceof Error ? error.cause.message : error.message;
}

async function limitedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new Error("the router's list of models is too long");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function isRouterModel(value: unknown): value is RouterModel {
  const model = value as RouterModel | null;
  return typeof model === "object" && model !== null && typeof model.id === "string" && model.id !== "" && printable(model.id) === model.id;
}

/** The models that an agent can use: none that only embed, no second names, the demo only where there is nothing else. */
export function usable(models: readonly RouterModel[]): RouterModel[] {
  const chat = models.filter((model) => !model.id.includes("@sha256:") && !onlyEmbeds(model));
  const real = chat.filter((model) => model.demo !== true);
  return real.length > 0 ? real : chat;
}

function onlyEmbeds(model: RouterModel): boolean {
  const has = capabilities(model);
  return has === undefined ? /embed/i.test(model.id) : !has.some((name) => ["completion", "tools", "vision"].includes(name));
}

function capabilities(model: RouterModel): string[] | undefined {
  return Array.isArray(model.capabilities) && model.capabilities.length > 0 ? model.capabilities : undefined;
}

/** How OpenClaw describes a model. */
export function describe(model: RouterModel): Model {
  const has = capabilities(model);
  const known = model.context_length;
  const context = typeof known === "number" && Number.isSafeInteger(known) && known > 0 ? known : usualContext;
  return {
    id: model.id,
    name: nameOf(model),
    reasoning: has?.includes("thinking") ?? false,
    input: has?.includes("vision") ? ["text", "image"] : ["text"],
    cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 },
    contextWindow: context,
    maxTokens: Math.max(1, Math.min(mostOutput, Math.floor(context / 4))),
    compat: {
      // Peers run engines of all kinds; these are what all of them take.
      maxTokensField: "max_tokens",
      supportsDeveloperRole: false,
      supportsStore: false,
      supportsStrictMode: false,
      supportsReasoningEffort: false,
      supportsUsageInStreaming: true,
      supportsTools: has?.includes("tools") ?? true,
    },
  };
}

/** How a provider's hook describes a model for one turn. */
export function describeForTurn(model: RouterModel, as: { id: string; provider: string; baseUrl: string; api: string }): ProviderRuntimeModel {
  return { ...describe(model), ...as } as ProviderRuntimeModel;
}

/** How engines are told not to think: Ollama and others by the first word, llama.cpp and vLLM by the second; none minds the other's. */
const notThinking = { reasoning_effort: "none", chat_template_kwargs: { enable_thinking: false } };

/**
 * Turns a model's thinking off where the user chose so. For the other levels nothing is sent: engines think unless told not to, and
 * Ollama refuses a model the levels that it does not know.
 */
export function thinkingParams({ model, thinkingLevel, extraParams = {} }: Pick<ProviderPrepareExtraParamsContext, "model" | "thinkingLevel" | "extraParams">): Record<string, unknown> {
  if (thinkingLevel !== "off" || model?.reasoning !== true) return extraParams;
  return { ...extraParams, extra_body: { ...notThinking, ...(extraParams.extra_body as object | undefined) } };
}

function nameOf(model: RouterModel): string {
  const peers = Array.isArray(model.peers) ? model.peers.length : 0;
  const owner = model.owned_by?.replace(/^lobstah:/, "");
  const where = peers > 1 ? `${peers} machines` : owner;
  return `${model.id}${where ? ` (${where})` : ""}${model.demo ? " (demo, answers nothing)" : ""}`;
}

/** The model to begin with: no demo, with tools if one has them, with the most room. */
export function best(models: readonly RouterModel[]): RouterModel | undefined {
  const score = (model: RouterModel) => {
    const tools = capabilities(model)?.includes("tools") ? 1 : 0;
    return (model.demo ? -1e12 : 0) + tools * 1e9 + (model.context_length ?? 0);
  };
  return models.toSorted((a, b) => score(b) - score(a))[0];
}
