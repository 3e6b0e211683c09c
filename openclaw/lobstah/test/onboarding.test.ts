/** Onboarding: what is asked, what is written, and who is contacted. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { before, describe, it, type TestContext } from "node:test";
import type { OpenClawConfig, ProviderAuthContext, ProviderAuthMethodNonInteractiveContext } from "openclaw/plugin-sdk/plugin-entry";
import { authMethod } from "../src/onboarding.ts";
import { folder, freePort, ownHome, realLobstah, router, setting } from "./fakes.ts";

const qwen = { id: "qwen3:4b", owned_by: "lobstah:mini", context_length: 40_960, capabilities: ["completion", "tools"], peers: ["a"] };

before(() => void realLobstah());

type Question = { message: string; initialValue?: unknown; sensitive?: boolean };

/** Somebody at a terminal: presses Enter unless the answers say otherwise, by a word of the question. */
function somebody(answers: Record<string, unknown> = {}) {
  const asked: Question[] = [];
  const answer = async (question: Question & { validate?: (text: string) => string | undefined }) => {
    asked.push({ message: question.message, initialValue: question.initialValue, ...(question.sensitive ? { sensitive: true } : {}) });
    const word = Object.keys(answers).find((key) => question.message.includes(key));
    const given = word === undefined ? question.initialValue : answers[word];
    assert.equal(question.validate?.(String(given)), undefined);
    return given;
  };
  return { asked, prompter: { text: answer, confirm: answer, progress: () => ({ update() {}, stop() {} }) } };
}

async function interactive(config: OpenClawConfig, answers: Record<string, unknown> = {}, env: NodeJS.ProcessEnv = {}) {
  const { asked, prompter } = somebody(answers);
  const result = await authMethod.run({ config, env, prompter } as unknown as ProviderAuthContext);
  return { asked, ...result, provider: result.configPatch?.models?.providers?.lobstah };
}

async function quiet(t: TestContext, config: OpenClawConfig, opts: Record<string, unknown>) {
  const said: string[] = [];
  const runtime = { log() {}, error: (text: string) => said.push(text), exit: (code: number) => said.push(`exit ${code}`) };
  const result = await authMethod.runNonInteractive?.({ config, baseConfig: config, opts, runtime } as unknown as ProviderAuthMethodNonInteractiveContext);
  return { said, config: result };
}

/** Every host that fetch was asked for. */
function contacts(t: TestContext): Set<string> {
  const hosts = new Set<string>();
  const real = globalThis.fetch;
  t.mock.method(globalThis, "fetch", (...args: Parameters<typeof fetch>) => {
    hosts.add(new URL(String(args[0])).host);
    return real(...args);
  });
  return hosts;
}

describe("onboarding with questions", () => {
  it("asks for the address, then for discovering and offering, both no", async (t) => {
    const r = await router(t, [qwen]);
    const hosts = contacts(t);
    setting(t, "PATH", folder(t));
    const { asked, provider, defaultModel, configPatch, profiles } = await interactive({}, { "Base URL": r.baseUrl });
    assert.deepEqual(asked.map((q) => [q.message.split(/[?.]/)[0], q.initialValue]), [
      ["Base URL of the lobstah router", "http://127.0.0.1:17475/v1"],
      ["Discover peers", false],
      ["Offer this machine", false],
    ]);
    assert.deepEqual([provider?.baseUrl, provider?.apiKey, provider?.models.map((m) => m.id), defaultModel], [r.baseUrl, "lobstah", ["qwen3:4b"], "lobstah/qwen3:4b"]);
    assert.equal(configPatch?.plugins, undefined);
    assert.deepEqual(profiles, []);
    assert.deepEqual([...hosts], [new URL(r.baseUrl).host]);
  });

  it("writes down a yes, and takes it back", async (t) => {
    const r = await router(t, [qwen]);
    const yes = await interactive({}, { "Base URL": r.baseUrl, Discover: true, Where: "lan, https://t.example", Offer: true });
    assert.deepEqual(yes.configPatch?.plugins?.entries?.lobstah?.config, { discoverFrom: ["lan", "https://t.example"], offer: true });
    assert.equal((await interactive({}, { "Base URL": r.baseUrl, Discover: true })).asked[2]?.initialValue, "lan");
    const before = { plugins: { entries: { lobstah: { enabled: true, config: { discoverFrom: ["lan"], offer: true, lobstahPath: realLobstah() } } } } };
    const no = await interactive(before, { "Base URL": r.baseUrl });
    assert.deepEqual(no.configPatch?.plugins?.entries?.lobstah, { enabled: true, config: { discoverFrom: [], offer: false, lobstahPath: realLobstah() } });
    assert.deepEqual(no.provider?.localService?.args?.filter((arg) => arg.includes("discover")), []);
  });

  it("asks for a key only where the router wants one", async (t) => {
    const r = await router(t, { status: 401, body: "{}" });
    const { asked, provider } = await interactive({}, { "Base URL": r.baseUrl, "API key": "secret" });
    assert.deepEqual(asked[1], { message: "API key that the router asks for", initialValue: undefined, sensitive: true });
    assert.equal(provider?.apiKey, "secret");
    assert.ok(r.asked.some((a) => a.key === "Bearer secret"));
  });

  it("keeps what is configured, and refers to a key in the environment", async (t) => {
    const r = await router(t, [qwen]);
    const config = { models: { providers: { lobstah: { baseUrl: r.baseUrl, apiKey: "mine", models: [] } } } };
    assert.equal((await interactive(config)).provider?.apiKey, "mine");
    const { provider } = await interactive({}, { "Base URL": r.baseUrl.replace("/v1", "/") }, { LOBSTAH_API_KEY: "from-env" });
    assert.deepEqual([provider?.baseUrl, provider?.apiKey], [r.baseUrl, "${LOBSTAH_API_KEY}"]);
    assert.deepEqual(r.asked.at(-1), { url: "/v1/models", key: "Bearer from-env" });
  });

  it("says how to install lobstah where it is not", async (t) => {
    setting(t, "PATH", folder(t));
    const { provider, notes, defaultModel } = await interactive({}, { "Base URL": "http://127.0.0.1:8/v1" });
    assert.match(notes?.[0] ?? "", /lobstah is not installed here. Install lobstah/);
    assert.match(notes?.[1] ?? "", /nothing answers there/);
    assert.deepEqual([provider?.models, provider?.localService, defaultModel], [[], undefined, undefined]);
  });

  it("starts a router for the time of asking, and lets OpenClaw start it later", async (t) => {
    const home = ownHome(t);
    setting(t, "PATH", path.dirname(realLobstah()));
    const port = await freePort();
    const { provider, notes } = await interactive({}, { "Base URL": `http://127.0.0.1:${port}/v1` });
    assert.deepEqual(provider?.models.map((m) => m.id), ["lobstah-demo"]);
    assert.deepEqual(provider?.localService, {
      command: realLobstah(),
      args: ["up", "--no-check", "--host", "127.0.0.1", "--port", String(port)],
      healthUrl: `http://127.0.0.1:${port}/healthz`,
      readyTimeoutMs: 120_000,
    });
    assert.match(notes?.join() ?? "", /no peer lends a model yet/);
    await assert.rejects(fetch(`http://127.0.0.1:${port}/healthz`));
    assert.ok(fs.existsSync(path.join(home, "identity.json")));
  });

  it("starts nothing for a router of another machine", async (t) => {
    setting(t, "PATH", path.dirname(realLobstah()));
    const { provider } = await interactive({}, { "Base URL": "http://192.0.2.1.invalid:1/v1" });
    assert.equal(provider?.localService, undefined);
  });
});

describe("onboarding without questions", () => {
  it("takes the address, and says yes to nothing", async (t) => {
    const r = await router(t, [qwen]);
    setting(t, "PATH", folder(t));
    const before: OpenClawConfig = { agents: { defaults: { workspace: "/w", model: { fallbacks: ["x/y"] } } }, models: { providers: { other: { baseUrl: "http://o", models: [] } } } };
    const { config } = await quiet(t, before, { customBaseUrl: r.baseUrl });
    assert.deepEqual(Object.keys(config?.models?.providers ?? {}), ["other", "lobstah"]);
    assert.deepEqual(config?.agents?.defaults, { workspace: "/w", model: { fallbacks: ["x/y"], primary: "lobstah/qwen3:4b" } });
    assert.equal(config?.plugins, undefined);
  });

  it("says yes by the environment only", async (t) => {
    const r = await router(t, [qwen]);
    setting(t, "LOBSTAH_OFFER", "1");
    setting(t, "LOBSTAH_DISCOVER_FROM", "lan,nostr");
    const { config } = await quiet(t, {}, { customBaseUrl: r.baseUrl, customApiKey: "k" });
    assert.deepEqual(config?.plugins?.entries?.lobstah?.config, { discoverFrom: ["lan", "nostr"], offer: true });
    assert.equal(config?.models?.providers?.lobstah?.apiKey, "k");
  });

  it("refuses what is no place to look", async (t) => {
    setting(t, "LOBSTAH_DISCOVER_FROM", "everywhere");
    assert.deepEqual((await quiet(t, {}, {})).said, [`lobstah: "everywhere" is no place to look: lan, nostr, or a tracker's URL`, "exit 2"]);
  });

  it("refuses what is no address", async (t) => {
    for (const customBaseUrl of ["nonsense", "ftp://x/v1"]) {
      const { config, said } = await quiet(t, {}, { customBaseUrl });
      assert.equal(config, null);
      assert.equal(said.at(-1), "exit 2");
    }
  });
});
