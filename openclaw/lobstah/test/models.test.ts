/** How a router's models become OpenClaw's. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { best, describe as describeModel, fetchModels, KeyRefused, usable } from "../src/models.ts";
import { discover, provider } from "../src/provider.ts";
import { router } from "./fakes.ts";

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

describe("a router's answer", () => {
  it("is read with the key, whatever strange entries are in it", async (t) => {
    const r = await router(t, [qwen, null, 5, { id: "" }, { object: "model" }] as object[]);
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
  const noKey = { resolveProviderApiKey: () => ({ apiKey: undefined }) };

  it("finds the models of the configured router", async (t) => {
    const r = await router(t, [qwen]);
    const config = { models: { providers: { lobstah: { baseUrl: r.baseUrl, apiKey: "mine", models: [] } } } };
    const found = await discover({ config, ...noKey });
    assert.ok(found && "provider" in found);
    assert.deepEqual([found.provider.baseUrl, found.provider.apiKey, found.provider.models.map((m) => m.id)], [r.baseUrl, "mine", ["qwen3:4b"]]);
    assert.deepEqual(r.asked.map((a) => a.key), ["Bearer mine"]);
  });

  it("has none where no router answers", async () => {
    const config = { models: { providers: { lobstah: { baseUrl: "http://127.0.0.1:1/v1", models: [] } } } };
    assert.equal(await discover({ config, ...noKey }), null);
  });

  it("is the one that the manifest names", async () => {
    const { default: manifest } = await import("../openclaw.plugin.json", { with: { type: "json" } });
    assert.deepEqual(manifest.providers, [provider.id]);
    assert.deepEqual([manifest.providerAuthChoices[0]?.method, manifest.providerAuthChoices[0]?.choiceId], [provider.auth[0]?.id, provider.auth[0]?.wizard?.choiceId]);
  });
});
