import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { describe, it } from "node:test";
import { Node } from "../src/node.ts";
import { createProvider, offerKey } from "../src/provider.ts";
import { folder, freePort, serve, type Cleanup } from "./fakes.ts";

/** A node that says where its models are, and its port of models. */
async function mesh(t: Cleanup, data: object[]) {
  const base = await serve(t, (request, response) => response.end(JSON.stringify(request.url === "/v1/models" ? { object: "list", data } : {})));
  const home = folder(t);
  const socket = path.join(home, "control.sock");
  const control = http.createServer((_, response) => response.end(JSON.stringify({ proxy: base })));
  await new Promise<void>((resolve) => control.listen(socket, resolve));
  t.after(() => void control.close());
  fs.writeFileSync(path.join(home, "lock"), JSON.stringify({ socket }));
  return { base: `${base}/v1`, ...asked(new Node(home)) };
}

function asked(node: Node) {
  const provider = createProvider(() => node, (text) => assert.fail(text));
  return {
    discover: async (config = {}) => await provider.catalog?.run({ config } as never),
    lookUp: async (modelId: string, config = {}) => await provider.prepareDynamicModel?.({ config, modelId, provider: "clawmatrix" } as never),
  };
}

describe("the models of the mesh", () => {
  it("are those that the node lists, with their sizes", async (t) => {
    const { base, discover } = await mesh(t, [{ id: "claude-sonnet", context_length: 200_000, capabilities: ["tools", "completion"] }, { id: "nomic-embed-text" }]);
    const found = (await discover())!;
    assert.ok("provider" in found);
    assert.deepEqual([found.provider.baseUrl, found.provider.apiKey, found.provider.api], [base, "clawmatrix", "openai-completions"]);
    assert.deepEqual(found.provider.models.map((m) => [m.id, m.contextWindow]), [["claude-sonnet", 200_000]]);
  });

  it("are looked for again when a turn names one that is not listed yet, also on one node", async (t) => {
    const { base, lookUp } = await mesh(t, [{ id: "late", context_length: 65_536 }]);
    for (const id of ["late", "late@office-01"]) {
      const model = await lookUp(id);
      assert.deepEqual([model?.id, model?.provider, model?.baseUrl, model?.contextWindow], [id, "clawmatrix", base, 65_536]);
    }
    assert.equal(await lookUp("else"), undefined);
  });

  it("are looked for where the owner says", async (t) => {
    const { base, discover } = { ...(await mesh(t, [{ id: "m" }])), ...asked(new Node(folder(t))) };
    const found = (await discover({ models: { providers: { clawmatrix: { baseUrl: base, models: [] } } } }))!;
    assert.deepEqual("provider" in found && [found.provider.baseUrl, found.provider.models.map((m) => m.id)], [base, ["m"]]);
  });

  it("are none while no node runs", async (t) => {
    const { discover, lookUp } = asked(new Node(folder(t)));
    const config = { models: { providers: { clawmatrix: { baseUrl: `http://127.0.0.1:${await freePort()}/v1`, models: [] } } } };
    assert.equal(await discover(config), null);
    assert.equal(await lookUp("x", config), undefined);
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
