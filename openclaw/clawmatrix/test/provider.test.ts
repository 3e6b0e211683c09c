import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { discover, offerKey, provider } from "../src/provider.ts";
import { serve, type Cleanup } from "./fakes.ts";

/** A node's port of models, and the config that names it. */
async function mesh(t: Cleanup, data: object[]) {
  const base = await serve(t, (request, response) => response.end(JSON.stringify(request.url === "/v1/models" ? { object: "list", data } : {})));
  const config = { plugins: { entries: { clawmatrix: { config: { proxyPort: Number(new URL(base).port) } } } } };
  return { base: `${base}/v1`, config };
}

const lookUp = (config: object, modelId: string) => provider.prepareDynamicModel?.({ config, modelId, provider: "clawmatrix" } as never);

describe("the models of the mesh", () => {
  it("are those that the node lists, with their sizes", async (t) => {
    const { base, config } = await mesh(t, [{ id: "claude-sonnet", context_length: 200_000, capabilities: ["tools", "completion"] }, { id: "nomic-embed-text" }]);
    const found = (await discover({ config }))!;
    assert.ok("provider" in found);
    assert.deepEqual([found.provider.baseUrl, found.provider.apiKey, found.provider.api], [base, "clawmatrix", "openai-completions"]);
    assert.deepEqual(found.provider.models.map((m) => [m.id, m.contextWindow]), [["claude-sonnet", 200_000]]);
  });

  it("are looked for again when a turn names one that is not listed yet, also on one node", async (t) => {
    const { base, config } = await mesh(t, [{ id: "late", context_length: 65_536 }]);
    for (const id of ["late", "late@office-01"]) {
      const model = await lookUp(config, id);
      assert.deepEqual([model?.id, model?.provider, model?.baseUrl, model?.contextWindow], [id, "clawmatrix", base, 65_536]);
    }
    assert.equal(await lookUp(config, "else"), undefined);
  });

  it("are none while no node runs", async () => {
    const config = { plugins: { entries: { clawmatrix: { config: { proxyPort: 1 } } } } };
    assert.equal(await discover({ config }), null);
    assert.equal(await lookUp(config, "x"), undefined);
  });

  it("need no key of the owner's", () => {
    const env: NodeJS.ProcessEnv = {};
    offerKey(env);
    assert.equal(env.CLAWMATRIX_API_KEY, "clawmatrix");
    env.CLAWMATRIX_API_KEY = "own";
    offerKey(env);
    assert.equal(env.CLAWMATRIX_API_KEY, "own");
  });
});
