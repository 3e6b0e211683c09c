/** What the entry registers with the host. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { OpenClawPluginApi } from "openclaw/plugin-sdk/plugin-entry";
import entry from "../index.ts";
import { toolNames } from "../src/tools.ts";
import { setting } from "../../lobstah/test/fakes.ts";
import { folder, Log, type Cleanup } from "./fakes.ts";

type Hook = (event: { toolName: string; runId?: string }, ctx: { runId?: string; sessionKey?: string }) => { block: boolean; blockReason: string } | undefined;
type Service = { start: (ctx: object) => Promise<void>; stop: () => Promise<void> };
type Route = { path: string; auth: string; match: string };

function register(t: Cleanup, registrationMode: string, pluginConfig: object = {}) {
  setting(t, "CLAWMATRIX_API_KEY", undefined);
  const got = { tools: [] as string[], log: new Log() } as { tools: string[]; log: Log; hook: Hook; service: Service; route: Route; provider: { id: string } };
  entry.register({
    registrationMode, pluginConfig, config: {}, logger: got.log,
    registerTool: (_: never, { name }: { name: string }) => got.tools.push(name), registerProvider: (provider: never) => (got.provider = provider), registerCli() {},
    registerHttpRoute: (route: never) => (got.route = route), registerService: (service: never) => (got.service = service), on: (_: string, hook: never) => (got.hook = hook),
  } as unknown as OpenClawPluginApi);
  return got;
}

describe("the entry", () => {
  it("registers the seven tools, the provider and the bridge, which has a token of its own", (t) => {
    const { tools, provider, route } = register(t, "full");
    assert.deepEqual([tools, provider.id, route.path, route.match, route.auth], [toolNames, "clawmatrix", "/plugins/clawmatrix", "prefix", "plugin"]);
  });

  it("offers a key where turns run, and leaves the environment of the host's commands alone", (t) => {
    for (const [mode, key] of [["full", "clawmatrix"], ["discovery", undefined], ["cli-metadata", undefined], ["setup-only", undefined]] as const) {
      register(t, mode);
      assert.equal(process.env.CLAWMATRIX_API_KEY, key, mode);
    }
  });

  it("keeps what rules over the gateway from turns of other nodes, and tells the owner", (t) => {
    const { hook, log } = register(t, "full");
    const blocked = { block: true, blockReason: "secrets is not for what other nodes ask" };
    assert.deepEqual(hook({ toolName: "secrets", runId: "clawmatrix-1" }, { sessionKey: "agent:main:main" }), blocked);
    assert.deepEqual(hook({ toolName: "secrets" }, { runId: "clawmatrix-1" }), blocked);
    assert.deepEqual(hook({ toolName: "secrets" }, { sessionKey: "agent:main:clawmatrix-lob1ab" }), blocked);
    assert.equal(hook({ toolName: "secrets", runId: "own" }, { sessionKey: "agent:main:main" }), undefined);
    assert.equal(hook({ toolName: "exec", runId: "clawmatrix-1" }, {}), undefined);
    assert.deepEqual([log.lines.length, log.lines.at(-1)], [3, "warn clawmatrix: kept secrets from what another node asked (agent:main:clawmatrix-lob1ab)"]);
  });

  it("says how a mesh begins where none is set up, and keeps the gateway going when the node cannot be run", async (t) => {
    const home = folder(t);
    const none = register(t, "full", { home });
    await none.service.start({ config: {} });
    assert.match(none.log.lines.join(), /^warn clawmatrix: no node is set up in .* yet: clawmatrix init begins a mesh, clawmatrix join LINE joins one/);
    const broken = register(t, "full", { home, binary: "/nowhere/clawmatrix", nodeId: "a", secret: "s" });
    await broken.service.start({ config: {} });
    assert.match(broken.log.lines.join(), /^error clawmatrix: there is no program at \/nowhere\/clawmatrix/);
    await Promise.all([none.service.stop(), broken.service.stop()]);
  });

  it("warns where the gateway gives programs no rights", async (t) => {
    for (const name of ["OPENCLAW_URL", "OPENCLAW_GATEWAY_PORT"]) setting(t, name, undefined);
    for (const [gateway, warned] of [[{ bind: "custom", customBindHost: "192.0.2.7" }, 1], [{ bind: "lan" }, 0], [{ tls: { enabled: true } }, 0]] as const) {
      const { service, log } = register(t, "full", { home: folder(t), binary: "/nowhere/clawmatrix", nodeId: "a", secret: "s" });
      await service.start({ config: { gateway } });
      assert.equal(log.lines.filter((line) => /^warn clawmatrix: this gateway does not listen on loopback/.test(line)).length, warned, JSON.stringify(gateway));
      await service.stop();
    }
  });
});
