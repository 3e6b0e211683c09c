/** How a router's models become OpenClaw's. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { best, describe as describeModel, fetchModels, KeyRefused, thinkingParams, usable } from "../src/models.ts";
import { createProvider } from "../src/provider.ts";
import { freePort, router, setting } from "./fakes.ts";

const qwen = { id: "qwen3:4b", owned_by: "lobstah:mini", context_length: 40_960, capabilities: ["completion", "tools", "thinking"], peers: ["a"] };
const llava = { id: "llava", owned_by: "lobstah:mini", context_length: 4_096, capabilities: ["completion", "vision"], peers: ["a", "b"] };
const embed = { id: "nomic", capabilities: ["embedding"] };
const unknown = { id: "gpt", owned_by: "lobstah:old" };
const demo = { id: "lobstah-demo", demo: true, context_length: 2_048 };

describe("models", () => {
  it("have the context, the senses and the tools that the peers told", () => {
    const m = describeModel(qwen);
    assert.deepEqual([m.id, m.name, m.contextWindow, m.maxTokens, m.reasoning, m.input], ["qwen3:4b", "qwen3:4b (mini)", 40_960, 8_192, true, ["text"]]);
    assert.equal(m.compat?.supportsTools, true);
    const v = describeModel(llava);
    assert.deepEqual([v.name, v.contextWindow, v.maxTokens, v.reasoning, v.input], ["llava (2 machines)", 4_096, 1_024, false, ["text", "image"]]);
    assert.equal(v.compat?.supportsTools, false);
  });

  it("have usual values where the peers told nothing, or nonsense", () => {
    for (const context_length of [undefined, 0, -1, 1.5, Infinity, "many" as unknown as number]) {
      const m = describeModel({ ...unknown, context_length });
      assert.deepEqual([m.contextWindow, m.maxTokens, m.input, m.compat?.supportsTools], [32_768, 8_192, ["text"], true]);
    }
  });

  it("are those that an agent can use", () => {
    const twice = { ...qwen, id: `qwen3:4b@sha256:${"a".repeat(64)}` };
    const ids = (list: object[]) => usable(list as { id: string }[]).map((m) => m.id);
    assert.deepEqual(ids([demo, qwen, twice, embed, { id: "mxbai-embed-large" }, unknown]), ["qwen3:4b", "gpt"]);
    assert.deepEqual(ids([demo, embed]), ["lobstah-demo"]);
    assert.match(describeModel(demo).name, /demo, answers nothing/);
  });

  it("begin with one that has tools and room, and no demo", () => {
    assert.equal(best([demo, llava, unknown, qwen])?.id, "qwen3:4b");
    assert.equal(best([demo, llava])?.id, "llava");
    assert.equal(best([demo])?.id, "lobstah-demo");
    assert.equal(best([]), undefined);
  });
});

describe("a model's thinking", () => {
  const [thinks, plain] = [describeModel(qwen), describeModel(llava)] as never[];
  const off = { reasoning_effort: "none", chat_template_kwargs: { enable_thinking: false } };

  it("is turned off in the words of all engines where the user chose so, and left alone otherwise", () => {
    assert.deepEqual(thinkingParams({ model: thinks, thinkingLevel: "off" }), { extra_body: off });
    for (const thinkingLevel of ["minimal", "low", "medium", "high", undefined] as const) assert.deepEqual(thinkingParams({ model: thinks, thinkingLevel }), {}, String(thinkingLevel));
    assert.deepEqual(thinkingParams({ model: plain, thinkingLevel: "off" }), {}, "Ollama refuses the words for a model that does not think");
    assert.deepEqual(thinkingParams({ thinkingLevel: "off" }), {});
  });

  it("is what the owner's own parameters say", () => {
    const extraParams = { temperature: 1, extra_body: { top_k: 20, reasoning_effort: "low" } };
    assert.deepEqual(thinkingParams({ model: thinks, thinkingLevel: "off", extraParams }), { temperature: 1, extra_body: { ...off, top_k: 20, reasoning_effort: "low" } });
    assert.deepEqual(thinkingParams({ model: thinks, thinkingLevel: "high", extraParams }), extraParams);
  });
});

describe("a router's answer", () => {
  it("is read with the key, whatever strange entries are in it", async (t) => {
    const r = await router(t, [qwen, null, 5, { id: "" }, { id: "\u001b[31mred" }, { object: "model" }] as object[]);
    assert.deepEqual((await fetchModels(r.baseUrl, "secret")).map((m) => m.id), ["qwen3:4b"]);
    assert.deepEqual(r.asked, [{ url: "/v1/models", key: "Bearer secret" }]);
  });

  for (const [name, answer, error] of [
    ["another key", { status: 401, body: "{}" }, KeyRefused],
    ["a failure", { status: 500, body: "{}" }, /answers 500/],
    ["no JSON", { status: 200, body: "<html>" }, SyntaxError],
    ["no list", { status: 200, body: "[]" }, /is it a lobstah router/],
    ["too much", { status: 200, body: `{"data":"${"x".repeat(5 << 20)}"}` }, /too long/],
  ] as const) {
    it(`is refused when it is ${name}`, async (t) => {
      await assert.rejects(fetchModels((await router(t, answer)).baseUrl, "k"), error);
    });
  }
});

describe("the provider", () => {
  const at = (baseUrl: string, apiKey?: string) => ({ models: { providers: { lobstah: { baseUrl, ...(apiKey ? { apiKey } : {}), models: [] } } } });

  /** The provider's hooks as the host calls them, and what it warns of. */
  function hooks(config: object) {
    const said: string[] = [];
    const provider = createProvider((text) => said.push(text));
    return {
      said,
      discover: async () => await provider.catalog?.run({ config, resolveProviderApiKey: () => ({ apiKey: undefined }) } as never),
      lookUp: async (modelId: string) => await provider.prepareDynamicModel?.({ config, modelId, provider: "lobstah" } as never),
    };
  }

  it("finds the models of the configured router", async (t) => {
    const r = await router(t, [qwen]);
    const found = await hooks(at(r.baseUrl, "mine")).discover();
    assert.ok(found && "provider" in found);
    assert.deepEqual([found.provider.baseUrl, found.provider.apiKey, found.provider.models.map((m) => m.id)], [r.baseUrl, "mine", ["qwen3:4b"]]);
    assert.deepEqual(r.asked.map((a) => a.key), ["Bearer mine"]);
  });

  it("keeps the API that the owner wrote", async (t) => {
    const r = await router(t, [qwen]);
    const { lobstah } = at(r.baseUrl, "mine").models.providers;
    const { discover, lookUp } = hooks({ models: { providers: { lobstah: { ...lobstah, api: "openai-responses" } } } });
    const found = await discover();
    assert.deepEqual([found && "provider" in found && found.provider.api, (await lookUp("qwen3:4b"))?.api], ["openai-responses", "openai-responses"]);
  });

  it("looks again when a turn names a model that is in no catalogue yet", async (t) => {
    const r = await router(t, [qwen]);
    const { lookUp, said } = hooks(at(r.baseUrl, "mine"));
    const model = await lookUp("qwen3:4b");
    assert.deepEqual([model?.id, model?.provider, model?.baseUrl, model?.api, model?.contextWindow], ["qwen3:4b", "lobstah", r.baseUrl, "openai-completions", 40_960]);
    assert.equal(await lookUp("qwen3"), undefined);
    setting(t, "LOBSTAH_API_KEY", "from-env");
    await hooks(at(r.baseUrl)).lookUp("qwen3:4b");
    assert.deepEqual([r.asked.map((a) => a.key), said], [["Bearer mine", "Bearer mine", "Bearer from-env"], []]);
  });

  it("has none where no router runs, which is nothing to warn of", async () => {
    const { discover, lookUp, said } = hooks(at(`http://127.0.0.1:${await freePort()}/v1`));
    assert.deepEqual([await discover(), await lookUp("x"), said], [null, undefined, []]);
  });

  it("warns once of a router that refuses", async (t) => {
    const r = await router(t, { status: 401, body: "{}" });
    const { discover, lookUp, said } = hooks(at(r.baseUrl, "old"));
    assert.deepEqual([await discover(), await discover(), await lookUp("x")], [null, null, undefined]);
    assert.deepEqual(said, [`no models from ${r.baseUrl}: ${r.baseUrl} wants another API key`]);
  });

  it("is the one that the manifest names", async () => {
    const { default: manifest } = await import("../openclaw.plugin.json", { with: { type: "json" } });
    const provider = createProvider(() => {});
    assert.deepEqual(manifest.providers, [provider.id]);
    assert.deepEqual([manifest.providerAuthChoices[0]?.method, manifest.providerAuthChoices[0]?.choiceId], [provider.auth[0]?.id, provider.auth[0]?.wizard?.choiceId]);
  });
});
