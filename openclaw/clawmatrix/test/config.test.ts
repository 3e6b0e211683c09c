import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, it } from "node:test";
import { Compile } from "typebox/schema"; // by which the host validates
import { hasConfiguration, homeOf, isLoopback, isThisMachine, nodeConfiguration, type ClawmatrixConfig } from "../src/config.ts";
import { Node } from "../src/node.ts";
import { createProvider } from "../src/provider.ts";
import { toolNames } from "../src/tools.ts";
import { folder } from "./fakes.ts";

const bridge = { url: "http://127.0.0.1:18789/plugins/clawmatrix", tokenFile: "/h/bridge.token" };
const around = { gatewayUrl: "ws://127.0.0.1:18789", bridge };

function node(config: ClawmatrixConfig): any {
  const text = nodeConfiguration(config, around);
  return text === undefined ? undefined : JSON.parse(text);
}

describe("the node's configuration", () => {
  it("has the fields of the original as they are, and the ways to this gateway", () => {
    const original = {
      nodeId: "office-01", secret: "your-shared-secret", listen: false, peers: [{ nodeId: "cloud-01", url: "wss://cloud-01.example.com:19000" }],
      agents: [{ id: "coder", description: "Writes code", tags: ["coding"], accept: ["home-01"] }], models: [{ id: "claude-sonnet", provider: "anthropic" }], tags: ["office", "gpu"],
      toolProxy: { enabled: true, allow: ["exec", "web_search"], deny: ["write"] },
    };
    assert.deepEqual(node(original), { ...original, gateway: { url: around.gatewayUrl }, toolProxy: { gateway: bridge, ...original.toolProxy } });
  });

  it("has no bridge where no tools are lent, and keeps one that is named", () => {
    assert.equal(node({ nodeId: "a", secret: "s", toolProxy: { enabled: false, allow: ["*"] } }).toolProxy.gateway, undefined);
    assert.equal(node({ nodeId: "a", secret: "s" }).toolProxy, undefined);
    const other = { url: "http://127.0.0.1:1/x", tokenFile: "/t" };
    assert.deepEqual(node({ nodeId: "a", secret: "s", toolProxy: { enabled: true, gateway: other } }).toolProxy.gateway, other);
    assert.deepEqual(node({ nodeId: "a", secret: "s", gateway: { url: "ws://127.0.0.1:2", tokenFile: "/t" } }).gateway, { url: "ws://127.0.0.1:2", tokenFile: "/t" });
  });

  it("lets this gateway's agents take tasks from nobody whom the owner has not named", () => {
    const { agents } = node({ nodeId: "a", secret: "s", agents: [{ id: "main" }, { id: "none", accept: [] }, { id: "open", accept: ["*"] }, { id: "script", command: ["cat"] }] });
    assert.deepEqual(agents.map((a: { accept?: string[] }) => a.accept), [["(nobody)"], ["(nobody)"], ["*"], undefined]);
  });

  it("leaves the plugin's own fields out", () => {
    const config = node({ nodeId: "a", secret: ["new", "old"], binary: "/b", home: "/h", bridge: { allow: ["x"] }, nonOwnerTools: [] });
    assert.deepEqual(Object.keys(config).sort(), ["agents", "gateway", "nodeId", "secret"]);
    assert.deepEqual(config.secret, ["new", "old"]);
  });

  it("is the owner's own file where the plugin's config describes no node", () => {
    assert.equal(node({}), undefined);
    assert.equal(node({ listen: false, listenHost: "0.0.0.0", listenPort: 19000, proxyPort: 19001 }), undefined, "defaults of the schema, which the host fills in");
    assert.equal(node({ binary: "/b", home: "/h", bridge: { allow: ["web_search"] } }), undefined);
    assert.throws(() => node({ tags: ["x"] }), /needs nodeId and secret/);
  });

  it("names the bridge only where the node can go to it", () => {
    for (const url of ["http://127.0.0.1:18789", "http://localhost:1", "http://[::1]:1"]) assert.equal(isLoopback(url), true, url);
    for (const url of ["https://127.0.0.1:18789", "http://192.168.1.7:18789", "http://127.evil.example", ""]) assert.equal(isLoopback(url), false, url);
    for (const url of ["https://127.0.0.1:18789", "http://127.1.2.3:1"]) assert.equal(isThisMachine(url), true, url);
    for (const url of ["https://192.168.1.7:18789", "http://127.evil.example", "", undefined]) assert.equal(isThisMachine(url), false, String(url));
    assert.equal(JSON.parse(nodeConfiguration({ nodeId: "a", secret: "s", toolProxy: { enabled: true } }, { gatewayUrl: "ws://x", bridge: undefined })!).toolProxy.gateway, undefined);
  });

  it("is looked for in the home", async (t) => {
    const home = folder(t);
    assert.equal(await hasConfiguration(home), false);
    fs.writeFileSync(path.join(home, "config.json"), "{}");
    assert.equal(await hasConfiguration(home), true);
  });

  it("lies in a folder that depends on that", () => {
    assert.equal(homeOf({ nodeId: "a", secret: "s" }, "/state", {}), "/state/clawmatrix");
    assert.equal(homeOf({}, "/state", { CLAWMATRIX_HOME: "/else" }), "/else");
    assert.equal(homeOf({}, "/state", {}), path.join(os.homedir(), ".clawmatrix"));
    assert.equal(homeOf({ home: "~/mesh" }, "/state", {}), path.join(os.homedir(), "mesh"));
    assert.throws(() => homeOf({ home: "mesh" }, "/state", {}), /must be an absolute path/);
  });
});

describe("the manifest", () => {
  const read = (name: string) => JSON.parse(fs.readFileSync(path.join(import.meta.dirname, "..", name), "utf8"));
  const manifest = read("openclaw.plugin.json");

  it("names what the code registers", () => {
    assert.deepEqual(manifest.contracts.tools, toolNames);
    assert.deepEqual(manifest.configSchema.properties.nonOwnerTools.items.enum, toolNames);
    assert.deepEqual(manifest.providers, [createProvider(() => new Node("/h"), () => {}).id]);
    assert.equal(manifest.version, read("package.json").version);
  });

  it("has every field of the original, with its default", () => {
    const { properties } = manifest.configSchema;
    const defaults = Object.fromEntries(["listen", "listenHost", "listenPort", "proxyPort"].map((name) => [name, properties[name].default]));
    assert.deepEqual(defaults, { listen: false, listenHost: "0.0.0.0", listenPort: 19000, proxyPort: 19001 });
    for (const name of ["nodeId", "secret", "peers", "agents", "models", "tags", "toolProxy"]) assert.ok(properties[name], name);
    const proxy = properties.toolProxy.properties;
    assert.deepEqual([proxy.enabled.default, proxy.maxOutputBytes.default], [false, 1_048_576]);
    assert.ok(proxy.allow && proxy.deny);
  });

  it("takes configurations of the original as they are, and no field that it does not know", () => {
    const schema = Compile(manifest.configSchema);
    const hub = [{ nodeId: "cloud-01", url: "wss://cloud-01.example.com:19000" }];
    const office = {
      nodeId: "office-01", secret: "your-shared-secret", listen: false, peers: hub, agents: [{ id: "coder", description: "Writes code", tags: ["coding"] }],
      models: [{ id: "claude-sonnet", provider: "anthropic" }, { id: "deepseek-coder", provider: "ollama" }], tags: ["office", "gpu"],
      toolProxy: { enabled: true, allow: ["exec", "read", "edit", "web_search"], deny: ["write", "browser", "sessions_spawn"] },
    };
    const good = [
      {}, office, { nodeId: "cloud-01", secret: "s", listen: true, listenPort: 19000, peers: [], agents: [], models: [], tags: ["cloud"] },
      { nodeId: "a", secret: ["new", "old"], trust: "verified", toolProxy: { enabled: true, maxOutputBytes: 1, callers: { home: { allow: ["exec"], paths: ["/srv"], commands: ["git log **", ["make", "all targets"]] } } } },
    ];
    for (const config of good) assert.equal(schema.Check(config), true, JSON.stringify([config, schema.Errors(config)]));
    const bad = [
      { listn: true }, { nodeId: "a" }, { secret: "s" }, { nodeId: "a b", secret: "s" }, { ...office, peers: [{ url: "http://x" }] }, { ...office, trust: "everybody" }, { ...office, listenPort: 70_000 },
      { ...office, toolProxy: { enabled: true, alow: [] } }, { ...office, agents: [{ id: "a", acept: [] }] }, { nonOwnerTools: ["exec"] },
    ];
    for (const config of bad) assert.equal(schema.Check(config), false, JSON.stringify(config));
  });

  it("is strict at every level", () => {
    const check = (schema: any, where: string) => {
      if (schema?.type === "object") {
        assert.notEqual(schema.additionalProperties, undefined, where);
        for (const [name, part] of Object.entries(schema.properties ?? {})) check(part, `${where}.${name}`);
        if (typeof schema.additionalProperties === "object") check(schema.additionalProperties, `${where}.*`);
      }
      if (schema?.type === "array") check(schema.items, `${where}[]`);
    };
    check(manifest.configSchema, "config");
  });
});
