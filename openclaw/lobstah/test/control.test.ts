/** What is typed, with the real lobstah. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { before, describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { Control, Misuse, type LobstahConfig } from "../src/control.ts";
import { Program, NotInstalled } from "../src/program.ts";
import { renderShare, renderStatus, type Share, type Status } from "../src/status.ts";
import { folder, freePort, ownHome, realLobstah, router, setting } from "./fakes.ts";

before(() => void realLobstah());

async function control(config: LobstahConfig = {}, stays = true) {
  const baseUrl = `http://127.0.0.1:${await freePort()}/v1`;
  return { baseUrl, control: new Control(() => ({ lobstahPath: realLobstah(), ...config }), () => baseUrl, stays) };
}

describe("what is typed", () => {
  it("tells that nothing runs, and starts nothing for it", async (t) => {
    ownHome(t);
    const { control: c } = await control();
    for (const words of [[], ["status"]]) {
      const { text, json } = await c.do(words);
      assert.match(text, /^nothing runs; .*lobstah up\nno receipts yet$/);
      assert.deepEqual(json, { process: { running: false }, balance: null, receipts: [] });
    }
    await assert.rejects(c.do(["share", "status"]), /nothing runs here that could lend/);
    await assert.rejects(c.do(["share", "off"]), /nothing runs here that could lend/);
  });

  it("starts a router to share, and ends it with itself", async (t) => {
    ownHome(t);
    const { control: c, baseUrl } = await control();
    t.after(() => c.stop());
    const on = await c.do(["share", "on"]);
    assert.match(on.text, /^sharing lobstah-demo \(which answers nothing; run an engine such as Ollama\) at .+, nobody is allowed yet: lobstah invite$/);
    assert.equal((on.json as Share).sharing, true);
    assert.ok((await fetch(`${baseUrl}/models`)).ok);
    assert.match((await c.do(["status"])).text, /^lobstah up runs, router http:.*\npeers\n {2}this machine {2}ready {2}lobstah-demo$/m);
    assert.match((await c.do(["share", "off"])).text, /^not sharing$/);
    await c.stop();
    await assert.rejects(fetch(`${baseUrl}/models`));
    assert.equal(((await c.do([])).json as Status).process.running, false);
  });

  it("starts one router for two who ask at once, and none that stays when it is stopped meanwhile", async (t) => {
    ownHome(t);
    const { control: c, baseUrl } = await control();
    t.after(() => c.stop());
    const both = await Promise.all([c.do(["share", "on"]), c.do(["share", "on"])]);
    assert.deepEqual(both.map(({ json }) => (json as Share).sharing), [true, true]);
    await c.stop();
    await assert.rejects(fetch(`${baseUrl}/models`));
    const asked = c.do(["share", "on"]).catch(() => undefined); // done by then, or called off
    const begun = async () => ((await c.do([])).json as Status).process.running;
    while (!(await begun().catch(() => true))) await pause(20); // while it begins there is no status
    await c.stop();
    await asked;
    await assert.rejects(fetch(`${baseUrl}/models`));
    assert.equal(((await c.do([])).json as Status).process.running, false);
  });

  it("leaves no router behind when it is killed", async (t) => {
    ownHome(t);
    const port = await freePort();
    const baseUrl = `http://127.0.0.1:${port}/v1`;
    const program = new URL("../src/program.ts", import.meta.url).href;
    const start = `const { Program, RouterChild } = await import(${JSON.stringify(program)});
      await RouterChild.start(new Program(${JSON.stringify(realLobstah())}), ${JSON.stringify(baseUrl)});
      console.log("started");
      setInterval(() => {}, 1000);`;
    const gateway = spawn(process.execPath, ["--input-type=module", "-e", start], { stdio: ["ignore", "pipe", "inherit"] });
    t.after(() => void gateway.kill("SIGKILL"));
    const said = await new Promise<string>((resolve) => {
      gateway.stdout.once("data", (chunk: Buffer) => resolve(chunk.toString()));
      gateway.once("exit", () => resolve("the program ended"));
    });
    assert.equal(said, "started\n");
    assert.ok((await fetch(`${baseUrl}/models`)).ok);
    gateway.kill("SIGKILL");
    const { control: c } = await control();
    for (;;) {
      const status = await c.do([]).catch(() => undefined); // nobody answers while it ends
      if (status && !(status.json as Status).process.running) break;
      await pause(100);
    }
    await assert.rejects(fetch(`${baseUrl}/models`));
  });

  it("starts none in a terminal, whose commands end", async (t) => {
    ownHome(t);
    await assert.rejects((await control({}, false)).control.do(["share", "on"]), /nothing runs here that could lend/);
  });

  it("is told how it is used", async () => {
    for (const words of [["share", "maybe"], ["stop"], ["share", "on", "now"], ["--help"]]) await assert.rejects((await control()).control.do(words), Misuse);
  });

  it("needs lobstah, and its path to be absolute", async (t) => {
    setting(t, "PATH", folder(t));
    await assert.rejects(Program.find(), NotInstalled);
    await assert.rejects(Program.find("/nowhere/lobstah").then((p) => p.run(["status"])), NotInstalled);
    await assert.rejects(Program.find("bin/lobstah"), /absolute path/);
  });
});

describe("the service", () => {
  it("runs nothing unless the owner said yes", async () => {
    const { control: c } = await control({ lobstahPath: "/nowhere/lobstah" });
    await c.start();
    await c.stop();
  });

  it("looks for peers where the owner said, and nowhere else", async (t) => {
    ownHome(t);
    const tracker = await router(t, { status: 200, body: `{"peers":[]}` });
    const place = tracker.baseUrl.replace("/v1", "");
    const { control: quiet } = await control();
    t.after(() => quiet.stop());
    await quiet.do(["share", "on"]);
    assert.doesNotMatch(JSON.stringify((await quiet.do([])).json), new RegExp(place));
    await quiet.stop();
    assert.equal(tracker.asked.length, 0);
    const { control: looking } = await control({ discoverFrom: [place] });
    t.after(() => looking.stop());
    await looking.start();
    for (const until = Date.now() + 60_000; tracker.asked.length === 0; await pause(20)) assert.ok(Date.now() < until, "nobody asked the tracker");
    assert.match(tracker.asked[0]?.url ?? "", /^\/peers/);
    await looking.stop();
  });

  it("lends from the start where the owner offered the machine", async (t) => {
    ownHome(t);
    const { control: c } = await control({ offer: true });
    t.after(() => c.stop());
    await c.start();
    assert.equal(((await c.do(["share"])).json as Share).sharing, true);
    await c.stop();
  });
});

it("the status names peers as their owner does", () => {
  const [me, ann, stranger] = ["lob1me00000000000", "lob1ann0000000000", "lob1str0000000000"] as const;
  const receipt = { model: "qwen3:4b", inputTokens: 1_234, outputTokens: 5, workerPubkey: ann, requesterPubkey: me };
  const status: Status = {
    process: {
      running: true, what: "lobstah up", router: "http://127.0.0.1:17475", routerStats: { requests: 3 }, problems: ["peers.json, line 2: broken"],
      peers: [{ pubkey: ann, label: "Ann", url: "u", state: { status: "unreachable", models: ["qwen3:4b"], lastError: "connection refused" } }],
    },
    balance: { pubkey: me, self: { earned: 10, spent: 20_000, net: -19_990 }, perPeer: [{ pubkey: ann, earned: 20_000, spent: 0, net: 20_000 }, { pubkey: stranger, earned: 0, spent: 10, net: -10 }], selfServed: { earned: 0 } },
    receipts: [{ side: "requester", at: "2026-11-22T08:00:00.123Z", receipt }, { side: "worker", at: "2026-11-22T07:00:00Z", receipt: { ...receipt, workerPubkey: me, requesterPubkey: stranger } }],
  };
  assert.equal(renderStatus(status), `lobstah up runs, router http://127.0.0.1:17475/v1, 3 requests so far
PROBLEM peers.json, line 2: broken
peers
  Ann  unreachable: connection refused  qwen3:4b
balance: earned 10 tokens, spent 20,000, net -19,990
  Ann: served us 20,000, we served it 0
  lob1str00000…: served us 0, we served it 10
last receipts
  2026-11-22T08:00:00Z  qwen3:4b  1,234 in, 5 out, by Ann
  2026-11-22T07:00:00Z  qwen3:4b  1,234 in, 5 out, for lob1str00000…`);
});

it("the status lets no other machine steer the terminal", () => {
  const evil = "x\u001b]0;owned\u0007\u202e";
  const status: Status = {
    process: { running: true, what: "lobstah up", peers: [{ pubkey: "lob1x", url: "u", state: { status: "unreachable", models: [evil], lastError: evil } }] },
    balance: null, receipts: [{ side: "worker", at: "2026-11-22T08:00:00Z", receipt: { model: evil, inputTokens: 1, outputTokens: 1, workerPubkey: "a", requesterPubkey: "b" } }],
  };
  const shown = [renderStatus(status), renderShare({ sharing: true, models: [evil], allowed: 1 })].join("\n");
  assert.doesNotMatch(shown, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
  assert.equal(shown.match(/x\?\]0;owned\?\?/g)?.length, 4);
});
