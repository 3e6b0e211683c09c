/** What the entry registers, and how its commands answer. */
import assert from "node:assert/strict";
import { before, describe, it, type TestContext } from "node:test";
import type { OpenClawPluginApi } from "openclaw/plugin-sdk/plugin-entry";
import entry from "../index.ts";
import { ownHome, realLobstah } from "./fakes.ts";

before(() => void realLobstah());

type Command = { name: string; requiredScopes: string[]; acceptsArgs: boolean; handler: (ctx: { args?: string }) => Promise<{ text: string }> };
type Service = { id: string; start: () => Promise<void>; stop: () => Promise<void> };

function register(pluginConfig: object = {}) {
  const got = { errors: [] as string[] } as { command: Command; service: Service; provider: { id: string }; cli: (ctx: object) => void; errors: string[] };
  entry.register({
    config: { models: { providers: { lobstah: { baseUrl: "http://127.0.0.1:8/v1", models: [] } } } },
    pluginConfig: { lobstahPath: realLobstah(), ...pluginConfig },
    logger: { info() {}, warn() {}, error: (text: string) => got.errors.push(text) },
    registerProvider: (provider: never) => (got.provider = provider),
    registerCommand: (command: never) => (got.command = command),
    registerService: (service: never) => (got.service = service),
    registerCli: (cli: never) => (got.cli = cli),
  } as unknown as OpenClawPluginApi);
  return got;
}

/** Commander, as far as the entry uses it: finds the action of a command by its name. */
function terminal(cli: (ctx: object) => void) {
  const actions = new Map<string, (...given: unknown[]) => Promise<void>>();
  const command = (name: string) => {
    const self = { command, description: () => self, option: () => self, action: (act: never) => (actions.set(name.split(" ")[0] ?? name, act), self) };
    return self;
  };
  cli({ program: { command } });
  return async (name: string, ...given: unknown[]) => await actions.get(name)?.(...given, {}, {});
}

async function printed(t: TestContext, act: () => Promise<void>) {
  const out: string[] = [];
  for (const stream of [process.stdout, process.stderr]) {
    const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
    // The test runner's own reports, which are bytes, pass.
    t.mock.method(stream, "write", (...args: unknown[]) => (typeof args[0] === "string" ? out.push(args[0]) > 0 : write(...args)));
  }
  await act();
  t.mock.restoreAll();
  const code = process.exitCode;
  process.exitCode = undefined;
  return { text: out.join(""), code };
}

describe("the entry", () => {
  it("lets only owners use the chat command", () => {
    const { command, provider } = register();
    assert.deepEqual([command.name, command.requiredScopes, command.acceptsArgs, provider.id], ["lobstah", ["operator.admin"], true, "lobstah"]);
  });

  it("answers in the chat, also when something is wrong", async (t) => {
    ownHome(t);
    const { command } = register();
    assert.match((await command.handler({})).text, /^nothing runs/);
    assert.match((await command.handler({ args: " share   status " })).text, /^nothing runs here that could lend/);
    assert.match((await command.handler({ args: "dance" })).text, /^usage: /);
    assert.match((await register({ lobstahPath: "/nowhere/lobstah" }).command.handler({})).text, /is not installed here. Install lobstah/);
  });

  it("answers in the terminal, with exit codes", async (t) => {
    ownHome(t);
    const type = terminal(register().cli);
    assert.deepEqual(await printed(t, () => type("share", "on")), { text: "error: nothing runs here that could lend\nhint: start it first: lobstah up\n", code: 1 });
    assert.deepEqual(await printed(t, () => type("share", "maybe")), { text: "error: usage: status | share on | share off | share status\n", code: 2 });
    const status = await printed(t, () => type("status"));
    assert.deepEqual([status.code, status.text.split(";")[0]], [undefined, "nothing runs"]);
  });

  it("keeps the gateway going when the service cannot do what was asked", async () => {
    const { service, errors } = register({ lobstahPath: "/nowhere/lobstah", offer: true });
    await service.start();
    assert.match(errors.join(), /^lobstah: lobstah is not installed here/);
    await service.stop();
  });
});
