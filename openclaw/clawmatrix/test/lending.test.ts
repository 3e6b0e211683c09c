import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isKeptFrom, Lending } from "../src/lending.ts";

const forbidden = [
  "gateway", "nodes", "cron", "automations", "sessions_spawn", "sessions_send", "sessions_list", "sessions", "subagents", "secrets", "secret_read", "plugins", "openclaw",
  "terminal", "portal", "computer", "mobile_ui", "screen", "conversations_send", "conversations_turn", "file_write", "file_fetch", "dir_list", "skill_workshop", "create_goal",
  "cluster_exec", "cluster_tool", "cluster_peers", "ask_user", "agents_wait", "node_inference", "config_set", "tool_call",
];

describe("what is lent to other nodes", () => {
  it("is nothing by default", () => {
    for (const config of [{}, { toolProxy: {} }, { toolProxy: { enabled: true } }, { toolProxy: { enabled: true, allow: [] } }, { bridge: { allow: [] } }, { toolProxy: { enabled: false, allow: ["*"] } }]) {
      const lending = new Lending(config);
      assert.equal(lending.empty, true, JSON.stringify(config));
      assert.equal(lending.lends("web_search"), false, JSON.stringify(config));
    }
  });

  it("is what the lists name, whoever may use it", () => {
    const lending = new Lending({ toolProxy: { enabled: true, allow: ["web_search", "memory_*"], callers: { home: { allow: ["browser"] } }, deny: ["memory_get"] } });
    const lent = ["web_search", "browser", "memory_search", "memory_get", "message"].filter((name) => lending.lends(name));
    assert.deepEqual(lent, ["web_search", "browser", "memory_search"]);
    assert.equal(lending.empty, false);
  });

  it("is narrowed by the bridge's own lists", () => {
    const lending = new Lending({ bridge: { allow: ["web_search", "browser"], deny: ["browser"] }, toolProxy: { enabled: true, allow: ["*"], deny: ["tts"] } });
    assert.deepEqual(["web_search", "browser", "tts", "message"].filter((name) => lending.lends(name)), ["web_search"]);
  });

  it("is never what rules over the gateway, whatever the lists say", () => {
    for (const name of forbidden) {
      for (const allow of [["*"], [name], [name.toUpperCase()], [name.slice(0, 3) + "*"]]) {
        assert.equal(new Lending({ bridge: { allow } }).lends(name), false, `${name} by ${allow}`);
        assert.equal(new Lending({ toolProxy: { enabled: true, allow } }).lends(name.toUpperCase()), false, `${name} by ${allow}`);
      }
    }
    assert.equal(new Lending({ bridge: { allow: ["gateway", "exec"] } }).empty, true);
  });

  it("is never what the node has itself, whose paths and commands the gateway does not know", () => {
    for (const name of ["exec", "read", "write", "edit", "list", "ls", "web_fetch"]) assert.equal(new Lending({ bridge: { allow: ["*", name] } }).lends(name), false, name);
  });

  it("is what runs commands by its name only, which a star is not", () => {
    for (const name of ["process", "apply_patch", "lobster"]) {
      assert.equal(new Lending({ bridge: { allow: ["*", name.slice(0, 3) + "*"] } }).lends(name), false, name);
      assert.equal(new Lending({ bridge: { allow: [name] } }).lends(name), true, name);
    }
    assert.equal(new Lending({ bridge: { allow: ["*"] } }).lends("browser"), true);
  });
});

describe("what tasks of other nodes may not make agents use", () => {
  const [task, own] = [{ runId: "clawmatrix-0d0d", sessionKey: "agent:main:main" }, { runId: "5f1c", sessionKey: "agent:main:main" }];

  it("is what rules over the gateway", () => {
    for (const tool of ["gateway", "secrets", "nodes", "automations", "cron", "sessions_spawn", "Terminal", "plugins"]) {
      assert.equal(isKeptFrom(task, tool), true, tool);
      assert.equal(isKeptFrom({ sessionKey: "agent:coder:clawmatrix-lob1ab" }, tool), true, tool);
      assert.equal(isKeptFrom(own, tool), false, tool);
      assert.equal(isKeptFrom({}, tool), false, tool);
    }
  });

  it("is not what agents work with", () => {
    for (const tool of ["exec", "read", "tool_call", "tool_search", "cluster_handoff", "web_search", "sessions_list"]) assert.equal(isKeptFrom(task, tool), false, tool);
  });
});
