import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Caller } from "../src/bridge.ts";
import { gatewayTools, type Host } from "../src/toolbox.ts";

type Options = Record<string, unknown> & { sessionKey: string };

/** The host's maker of tools: notes what it is asked for. */
function host() {
  const [made, boxes]: [Options[], unknown[]] = [[], []];
  const load = async () => ({
    createOpenClawCodingTools: (options: Options) => (made.push(options), [{ name: "web_search" }]),
    resolveSandboxContext: async (of: unknown) => (boxes.push(of), { box: boxes.length }),
  }) as unknown as Host;
  const live = { tools: { deny: ["browser"] } };
  const api = { config: { old: true }, runtime: { config: { current: () => live }, agent: { resolveAgentWorkspaceDir: (_: unknown, agent: string) => `/ws/${agent}` } } };
  return { made, boxes, load, live, api: api as never };
}

const caller = (key: string): Caller => ({ node: "office", key, verified: true });
const never = new AbortController().signal;

describe("the gateway's tools for other nodes", () => {
  it("are made as for somebody who is not the owner, under the policy of now, in the agent's sandbox", async () => {
    const h = host();
    const tools = await gatewayTools(h.api, () => undefined, h.load)(caller("lob1" + "ab".repeat(32)), never);
    assert.deepEqual(tools, [{ name: "web_search" }]);
    const [options] = h.made;
    assert.equal(options?.senderIsOwner, false);
    assert.deepEqual([options?.senderId, options?.senderName, options?.agentId, options?.workspaceDir, options?.abortSignal], ["lob1" + "ab".repeat(32), "office", "main", "/ws/main", never]);
    assert.equal(options?.config, h.live, "not the config of the start");
    assert.deepEqual(options?.sandbox, { box: 1 });
    assert.deepEqual(h.boxes, [{ config: h.live, agentId: "main", sessionKey: options?.sessionKey, workspaceDir: "/ws/main" }]);
  });

  it("have a session for each node, which is marked as another node's", async () => {
    const h = host();
    const make = gatewayTools(h.api, () => "lender", h.load);
    for (const key of ["lob1" + "aa".repeat(32), "lob1" + "bb".repeat(32)]) await make(caller(key), never);
    await make(undefined, never);
    assert.deepEqual(h.made.map((options) => [options.sessionKey, options.senderIsOwner]), [
      [`agent:lender:clawmatrix-tools-lob1${"aa".repeat(16)}`, false], [`agent:lender:clawmatrix-tools-lob1${"bb".repeat(16)}`, false], ["agent:lender:clawmatrix-tools", false],
    ]);
  });
});
