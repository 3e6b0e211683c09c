/**
 * Sets the provider up: asks (or takes from the command line) where the router is, and whether to look for peers and to offer
 * this machine, which both are no unless somebody says yes. The only address that it asks is the router's.
 */
import type { OpenClawConfig, ProviderAuthContext, ProviderAuthMethod, ProviderAuthMethodNonInteractiveContext, ProviderAuthResult } from "openclaw/plugin-sdk/plugin-entry";
import type { LobstahConfig } from "./control.ts";
import { best, describe, fetchModels, KeyRefused, reason, usable, usualApi, type ProviderConfig, type RouterModel } from "./models.ts";
import { healthUrl, howToInstall, isHealthy, isLocal, NotInstalled, Program, RouterChild } from "./program.ts";

export const providerId = "lobstah";
export const defaultBaseUrl = "http://127.0.0.1:17475/v1";

/** A router asks for no key unless its owner says so, but OpenClaw uses no provider that has none. */
export const anyKey = "lobstah";

const keyVariable = "LOBSTAH_API_KEY";

/** What somebody answered; places are where to look for peers. */
type Answers = { baseUrl: string; apiKey: string; places: string[]; offer: boolean };

/** What setting up found: the config to merge, and what to tell. */
type Setup = { patch: Partial<OpenClawConfig>; defaultModel: string | undefined; notes: string[] };

export const authMethod: ProviderAuthMethod = {
  id: "router",
  label: "Lobstah router",
  hint: "Models of the machines that you pool with lobstah",
  kind: "custom",
  wizard: { choiceId: providerId, choiceLabel: "Lobstah grid", groupId: providerId, groupLabel: "Lobstah grid" },
  run: interactive,
  runNonInteractive: nonInteractive,
};

async function interactive(ctx: ProviderAuthContext): Promise<ProviderAuthResult> {
  const { prompter } = ctx;
  const given = await prompter.text({
    message: "Base URL of the lobstah router",
    initialValue: configured(ctx.config)?.baseUrl ?? defaultBaseUrl,
    validate: (text) => problemWith(text),
  });
  const baseUrl = normalize(given);
  let apiKey = keyFrom(ctx.config, ctx.env);
  const work = prompter.progress("Asking the router for its models");
  let found = await look(baseUrl, plain(apiKey, ctx.env), ctx.config);
  work.stop();
  if (found.wantsKey) {
    apiKey = await prompter.text({ message: "API key that the router asks for", sensitive: true, validate: (text) => (text.trim() ? undefined : "a key, please") });
    found = await look(baseUrl, apiKey, ctx.config);
  }
  const discover = await prompter.confirm({ message: "Discover peers? Those it finds are strangers, and see what is asked of them.", initialValue: false });
  const places = discover ? split(await prompter.text({ message: "Where to look: lan, nostr, or a tracker's URL", initialValue: "lan", validate: problemWithPlaces })) : [];
  const offer = await prompter.confirm({ message: "Offer this machine? It then lends its models to the keys that you allow, while the gateway runs.", initialValue: false });
  const { patch, defaultModel, notes } = setup({ baseUrl, apiKey, places, offer }, found, ctx.config);
  return { profiles: [], configPatch: patch, ...(defaultModel ? { defaultModel } : {}), notes };
}

/** Takes --custom-base-url and --custom-api-key; yes is said only by LOBSTAH_DISCOVER_FROM=PLACE,... and LOBSTAH_OFFER=1. */
async function nonInteractive(ctx: ProviderAuthMethodNonInteractiveContext): Promise<OpenClawConfig | null> {
  const text = (name: string) => (typeof ctx.opts[name] === "string" ? (ctx.opts[name] as string).trim() : "");
  const given = text("customBaseUrl") || configured(ctx.config)?.baseUrl || defaultBaseUrl;
  const places = process.env.LOBSTAH_DISCOVER_FROM ?? "";
  const problem = problemWith(given) ?? (places && problemWithPlaces(places));
  if (problem) {
    ctx.runtime.error(`lobstah: ${problem}`);
    ctx.runtime.exit(2);
    return null;
  }
  const baseUrl = normalize(given);
  const apiKey = text("customApiKey") || keyFrom(ctx.config, process.env);
  const found = await look(baseUrl, plain(apiKey, process.env), ctx.config);
  const answers = { baseUrl, apiKey, places: split(places), offer: process.env.LOBSTAH_OFFER === "1" };
  const { patch, defaultModel, notes } = setup(answers, found, ctx.config);
  for (const note of notes) ctx.runtime.error(`lobstah: ${note}`); // standard output may be JSON
  return merge(ctx.config, patch, defaultModel);
}

function configured(config: OpenClawConfig): ProviderConfig | undefined {
  return config.models?.providers?.[providerId];
}

function problemWith(text: string): string | undefined {
  if (!URL.canParse(text.trim())) return `${JSON.stringify(text)} is no URL; the usual one is ${defaultBaseUrl}`;
  const { protocol } = new URL(text.trim());
  return protocol === "http:" || protocol === "https:" ? undefined : "the URL has to begin with http:// or https://";
}

function split(places: string): string[] {
  return places.split(/[\s,]+/).filter((place) => place !== "");
}

function problemWithPlaces(places: string): string | undefined {
  const wrong = split(places).find((place) => place !== "lan" && place !== "nostr" && problemWith(place) !== undefined);
  if (wrong !== undefined) return `${JSON.stringify(wrong)} is no place to look: lan, nostr, or a tracker's URL`;
  return split(places).length === 0 ? "a place, please" : undefined;
}

/** The URL without a slash at its end, and with the /v1 that people leave out. */
function normalize(text: string): string {
  const url = new URL(text.trim());
  const path = url.pathname.replace(/\/+$/, "");
  return url.origin + (path === "" ? "/v1" : path);
}

/** The key to write: what is configured, a reference to the variable where that is set, or any. */
function keyFrom(config: OpenClawConfig, env: NodeJS.ProcessEnv | undefined): string {
  const before = configured(config)?.apiKey;
  if (typeof before === "string" && before !== "") return before;
  return env?.[keyVariable] ? `\${${keyVariable}}` : anyKey;
}

function plain(apiKey: string, env: NodeJS.ProcessEnv | undefined): string {
  return apiKey === `\${${keyVariable}}` ? (env?.[keyVariable] ?? anyKey) : apiKey;
}

/** What is there: the program, the router, its models. */
type Found = { program: Program | undefined; models: RouterModel[]; wantsKey: boolean; notes: string[] };

/** Looks for the program and asks the router, which it starts for that time where this machine has none that runs. */
async function look(baseUrl: string, apiKey: string, config: OpenClawConfig): Promise<Found> {
  const found: Found = { program: undefined, models: [], wantsKey: false, notes: [] };
  if (isLocal(baseUrl)) found.program = await findProgram(config, found.notes);
  let started: RouterChild | undefined;
  try {
    if (found.program !== undefined && !(await isHealthy(baseUrl))) started = await RouterChild.start(found.program, baseUrl);
    found.models = usable(await fetchModels(baseUrl, apiKey));
  } catch (error) {
    found.wantsKey = error instanceof KeyRefused;
    found.notes.push(`no models from ${baseUrl} yet: ${reason(error)}`);
  } finally {
    await started?.stop();
  }
  return found;
}

async function findProgram(config: OpenClawConfig, notes: string[]): Promise<Program | undefined> {
  try {
    return await Program.find((config.plugins?.entries?.[providerId]?.config as LobstahConfig | undefined)?.lobstahPath);
  } catch (error) {
    if (!(error instanceof NotInstalled)) throw error;
    notes.push(`lobstah is not installed here. ${howToInstall}`);
    return undefined;
  }
}

function setup(answers: Answers, found: Found, config: OpenClawConfig): Setup {
  const notes = [...found.notes];
  const first = best(found.models);
  if (first === undefined || first.demo) {
    notes.push("no peer lends a model yet: type lobstah invite on a machine that does, and here the line that it prints");
  }
  const provider: ProviderConfig = {
    baseUrl: answers.baseUrl,
    apiKey: answers.apiKey,
    api: configured(config)?.api ?? usualApi,
    models: found.models.map(describe),
    ...(found.program ? { localService: onDemand(found.program, answers) } : {}),
  };
  return { patch: { models: { mode: "merge", providers: { [providerId]: provider } }, ...optedIn(answers, config) }, defaultModel: first && `${providerId}/${first.id}`, notes };
}

/** Lets OpenClaw start the router when a turn needs it and none answers. */
function onDemand(program: Program, { baseUrl, places }: Answers): NonNullable<ProviderConfig["localService"]> {
  return { command: program.path, args: program.routerArgs(baseUrl, places), healthUrl: healthUrl(baseUrl), readyTimeoutMs: 120_000 };
}

/** Only a yes is written; a no takes back the yes of an earlier time. */
function optedIn({ places, offer }: Answers, config: OpenClawConfig): Pick<OpenClawConfig, "plugins"> {
  const before = config.plugins?.entries?.[providerId];
  const said = before?.config as LobstahConfig | undefined;
  if (places.length === 0 && !offer && !said?.discoverFrom?.length && !said?.offer) return {};
  return { plugins: { entries: { [providerId]: { ...before, config: { ...said, discoverFrom: places, offer } } } } };
}

function merge(config: OpenClawConfig, patch: Partial<OpenClawConfig>, defaultModel: string | undefined): OpenClawConfig {
  return {
    ...config,
    models: { ...config.models, ...patch.models, providers: { ...config.models?.providers, ...patch.models?.providers } },
    ...(patch.plugins ? { plugins: { ...config.plugins, entries: { ...config.plugins?.entries, ...patch.plugins.entries } } } : {}),
    ...(defaultModel ? { agents: { ...config.agents, defaults: { ...config.agents?.defaults, model: withPrimary(config, defaultModel) } } } : {}),
  };
}

type DefaultModel = NonNullable<NonNullable<OpenClawConfig["agents"]>["defaults"]>["model"];

function withPrimary(config: OpenClawConfig, primary: string): DefaultModel {
  const before = config.agents?.defaults?.model;
  return typeof before === "object" ? { ...before, primary } : { primary };
}
