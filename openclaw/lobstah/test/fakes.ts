/** A router that says what a test wants, the real lobstah, and somebody who answers questions. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";

const repository = path.resolve(import.meta.dirname, "../../..");

type Cleanup = Pick<TestContext, "after">;

export function folder(t: Cleanup): string {
  const dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "openclaw-lobstah-")));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export type Router = { baseUrl: string; asked: { url: string; key: string | undefined }[] };

/** A router with these models, or any answer to GET /v1/models. */
export async function router(t: Cleanup, answer: object[] | { status: number; body: string }): Promise<Router> {
  const asked: Router["asked"] = [];
  const server = http.createServer((request, response) => {
    asked.push({ url: request.url ?? "", key: request.headers.authorization });
    if (request.url === "/healthz") return response.end(`{"status":"ok"}`);
    const [status, body] = Array.isArray(answer) ? [200, JSON.stringify({ object: "list", data: answer })] : [answer.status, answer.body];
    response.writeHead(status, { "content-type": "application/json" }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => void server.closeAllConnections());
  t.after(() => void server.close());
  return { baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, asked };
}

export function setting(t: Cleanup, name: string, value: string | undefined) {
  const before = process.env[name];
  const set = (to: string | undefined) => (to === undefined ? delete process.env[name] : (process.env[name] = to));
  t.after(() => void set(before));
  set(value);
}

/** Ports of this process's block that are left; guards hold the blocks until it ends. */
let [next, end] = [0, 0];
const guards: net.Server[] = [];

/** A port that nobody listens on, below those that systems give by themselves; none is given twice. */
export async function freePort(): Promise<number> {
  for (;;) {
    if (next === end) await claim();
    const port = next++;
    const server = await listen(port);
    if (server === undefined) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

/** Takes a block that no other process of tests has, those in Go included (internal/testport), by listening on its first port. */
async function claim() {
  for (let tries = 0; tries < 1_000; tries++) {
    const begin = 20_000 + 200 * Math.floor(Math.random() * 60);
    const guard = await listen(begin);
    if (guard === undefined) continue;
    guards.push(guard.unref());
    [next, end] = [begin + 1, begin + 200];
    return;
  }
  throw new Error("all ports for tests are taken");
}

async function listen(port: number): Promise<net.Server | undefined> {
  const server = net.createServer();
  return await new Promise((resolve) => server.once("error", () => resolve(undefined)).listen(port, "127.0.0.1", () => resolve(server)));
}

let built: string | undefined;

/** Builds the real lobstah, once for each run of the tests. */
export function realLobstah(): string {
  if (built === undefined) {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), "lobstah-build-"));
    process.on("exit", () => fs.rmSync(dir, { recursive: true, force: true }));
    built = path.join(dir, process.platform === "win32" ? "lobstah.exe" : "lobstah");
    execFileSync("go", ["build", "-o", built, "./cmd/lobstah"], { cwd: repository, stdio: ["ignore", "inherit", "inherit"] });
  }
  return built;
}

/** Gives the real lobstah a home of its own, out of the way of what else runs here. */
export function ownHome(t: Cleanup): string {
  const home = folder(t);
  setting(t, "LOBSTAH_HOME", home);
  setting(t, "LOBSTAH_WORKER_PORT", "0");
  setting(t, "LOBSTAH_ENGINE_PORTS", "1");
  setting(t, "OLLAMA_HOST", "127.0.0.1:1");
  return home;
}
