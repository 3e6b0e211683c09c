/** The service with the real program. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { Daemon, findProgram, writePrivate } from "../src/daemon.ts";
import { NotRunning } from "../src/node.ts";
import { folder, freePort, Log, realClawmatrix, secret, startNode, type Cleanup } from "./fakes.ts";

async function daemon(t: Cleanup, home: string, config?: object) {
  const log = new Log();
  const text = config === undefined ? undefined : JSON.stringify(config);
  const it = new Daemon({ binary: realClawmatrix(), home, config: text, env: process.env }, log);
  t.after(() => it.stop());
  return { daemon: it, log };
}

const mode = (file: string) => fs.statSync(file).mode & 0o777;

describe("the service", () => {
  it("starts the node with a configuration that only its owner reads, and stops it", async (t) => {
    const home = path.join(folder(t), "clawmatrix");
    const { daemon: it, log } = await daemon(t, home, { nodeId: "a", secret, proxyPort: await freePort() });
    it.start();
    await log.until(/^info clawmatrix: the node a runs \(process \d+\), its models are at http:\/\/127\.0\.0\.1:\d+\/v1$/);
    await log.until(/^warn clawmatrix: trust: secret/);
    if (process.platform !== "win32") assert.deepEqual([mode(path.join(home, "config.yaml")), mode(home)], [0o600, 0o700]);
    assert.equal((await it.node.status()).node, "a");
    await it.stop();
    await assert.rejects(it.node.status(), NotRunning);
    assert.ok(!log.lines.some((line) => line.includes(secret)), "the log tells the secret");
  });

  it("starts it again when it ends by itself", async (t) => {
    const { daemon: it, log } = await daemon(t, folder(t), { nodeId: "a", secret, proxyPort: await freePort() });
    it.start();
    const first = Number(/process (\d+)/.exec(await log.until(/the node a runs/))?.[1]);
    process.kill(first, "SIGKILL");
    await log.until(/^error clawmatrix: the node ended.*; it is started again in 1 s$/);
    await log.until(new RegExp(`the node a runs \\(process (?!${first}\\))`));
  });

  it("uses a node that runs already, and leaves it running", async (t) => {
    const home = folder(t);
    await startNode(t, home, { nodeId: "mine", secret, proxyPort: await freePort() });
    const { daemon: it, log } = await daemon(t, home);
    it.start();
    await log.until(/^info clawmatrix: uses the node mine \(process \d+\) that already runs/);
    await it.stop();
    assert.equal((await it.node.status()).node, "mine");
  });

  it("starts the node of the owner's own configuration", async (t) => {
    const home = folder(t);
    fs.writeFileSync(path.join(home, "config.yaml"), `nodeId: own\nsecret: ${secret}\nproxyPort: ${await freePort()}\n`, { mode: 0o600 });
    const { daemon: it, log } = await daemon(t, home);
    it.start();
    await log.until(/the node own runs/);
  });

  it("does not write over a configuration of somebody else", async (t) => {
    const home = folder(t);
    fs.writeFileSync(path.join(home, "config.yaml"), "nodeId: own\n");
    const { daemon: it, log } = await daemon(t, home, { nodeId: "a", secret });
    it.start();
    await log.until(/^error clawmatrix: .*config\.yaml is another configuration/);
    assert.equal(fs.readFileSync(path.join(home, "config.yaml"), "utf8"), "nodeId: own\n");
  });

  it("says why a node does not start, and does not try for ever", async (t) => {
    const { daemon: it, log } = await daemon(t, folder(t), { nodeId: "a", secret, peers: [{ url: "http://x" }] });
    it.start();
    await log.until(/^error clawmatrix: clawmatrix did not start: .*"http:\/\/x" is no address of a peer/);
    const { daemon: none, log: said } = await daemon(t, folder(t));
    none.start();
    await said.until(/^error clawmatrix: clawmatrix did not start: .*there is no configuration[^]*clawmatrix init begins a mesh/);
    await Promise.all([it.stop(), none.stop()]);
  });

  it("finds the program, or says how to install it", async (t) => {
    const dir = folder(t);
    await assert.rejects(findProgram(undefined, { PATH: dir }), /clawmatrix is not installed here\. Install clawmatrix on this machine/);
    await assert.rejects(findProgram("clawmatrix", {}), /must be an absolute path/);
    await assert.rejects(findProgram(path.join(dir, "none"), {}), /there is no program at/);
    assert.equal(await findProgram(realClawmatrix(), {}), realClawmatrix());
    assert.equal(await findProgram(undefined, { PATH: ["relative", dir, path.dirname(realClawmatrix())].join(path.delimiter) }), realClawmatrix());
  });

  it("writes its files whole, and for their owner alone", async (t) => {
    const file = path.join(folder(t), "new", "token");
    await writePrivate(file, "one");
    fs.writeFileSync(`${file}.${process.pid}.tmp`, "left over");
    await writePrivate(file, "two");
    assert.equal(fs.readFileSync(file, "utf8"), "two");
    assert.deepEqual(fs.readdirSync(path.dirname(file)), ["token"]);
    if (process.platform !== "win32") assert.equal(mode(file), 0o600);
  });
});
