/** The programs of a test: our own, built from this tree, and the real OpenClaw. */
import { execFile, execFileSync, spawn, type ChildProcess } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { freePort } from "../lobstah/test/fakes.ts";

export { freePort };

const repository = path.resolve(import.meta.dirname, "../..");

/** Everything of one test is below it. */
export class World {
  readonly dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "openclaw-e2e-")));
  readonly bin = this.folder("bin");
  readonly #children: Running[] = [];

  folder(...names: string[]): string {
    const dir = path.join(this.dir, ...names);
    fs.mkdirSync(dir, { recursive: true });
    return dir;
  }

  build() {
    execFileSync("go", ["build", "-o", this.bin + path.sep, "./cmd/lobstah", "./cmd/lobster", "./cmd/clawmatrix"], { cwd: repository, stdio: ["ignore", "inherit", "inherit"] });
  }

  start(name: string, program: string, args: string[], env: NodeJS.ProcessEnv): Running {
    const running = new Running(name, program, args, env, path.join(this.folder("logs"), `${name}.log`));
    this.#children.push(running);
    return running;
  }

  /** Ends what was started, the newest first. */
  async end(keep: boolean) {
    for (const child of this.#children.reverse()) await child.stop();
    if (!keep) fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

export class Running {
  readonly name: string;
  readonly log: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #over = false;

  constructor(name: string, program: string, args: string[], env: NodeJS.ProcessEnv, log: string) {
    this.name = name;
    this.log = log;
    const out = fs.openSync(log, "a");
    this.#child = spawn(program, args, { env, stdio: ["ignore", out, out] });
    fs.closeSync(out);
    this.#exited = new Promise<void>((resolve) => {
      this.#child.once("error", () => resolve());
      this.#child.once("exit", () => resolve());
    }).then(() => void (this.#over = true));
  }

  printed(): string {
    return fs.readFileSync(this.log, "utf8");
  }

  /** Waits until look finds something. */
  async until<T>(what: string, look: () => Promise<T | undefined> | T | undefined, patience = 600_000): Promise<T> {
    for (const end = Date.now() + patience; ; await pause(100)) {
      const found = await look();
      if (found !== undefined) return found;
      if (this.#over) throw new Error(`${this.name} ended before ${what}:\n${this.printed().slice(-3000)}`);
      if (Date.now() > end) throw new Error(`${this.name}: no ${what} within ${patience / 1000} s:\n${this.printed().slice(-3000)}`);
    }
  }

  async kill() {
    this.#child.kill("SIGKILL");
    await this.#exited;
  }

  async stop(patience = 30_000) {
    if (this.#over) return;
    this.#child.kill("SIGTERM");
    await Promise.race([this.#exited, pause(patience, undefined, { ref: false })]);
    if (!this.#over) await this.kill();
  }
}

export type Output = { code: number; stdout: string; stderr: string };

export async function run(program: string, args: string[], env: NodeJS.ProcessEnv, patience = 600_000): Promise<Output> {
  return await new Promise((resolve, reject) => {
    execFile(program, args, { env, timeout: patience, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      if (error && typeof error.code !== "number") return reject(new Error(`${program} ${args.join(" ")}: ${error.message}\n${stdout}${stderr}`));
      resolve({ code: (error?.code as unknown as number) ?? 0, stdout, stderr });
    });
  });
}

/** What keeps a machine of a test from what else runs here. */
const alone = { LOBSTAH_WORKER_PORT: "0", LOBSTAH_ENGINE_PORTS: "1", OLLAMA_HOST: "127.0.0.1:1" };

/** A machine with its own lobstah home. */
export class Machine {
  readonly name: string;
  readonly home: string;
  readonly #world: World;
  process: Running | undefined;

  constructor(world: World, name: string) {
    this.#world = world;
    this.name = name;
    this.home = world.folder("home", name);
  }

  get env(): NodeJS.ProcessEnv {
    const { LOBSTAH_API_KEY: _, ...env } = process.env;
    return { ...env, PATH: `${this.#world.bin}${path.delimiter}${process.env.PATH}`, LOBSTAH_HOME: this.home, ...alone };
  }

  async lobstah(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await run(path.join(this.#world.bin, "lobstah"), args, this.env);
    if (code !== 0) throw new Error(`${this.name}$ lobstah ${args.join(" ")} ended with ${code}: ${stderr}`);
    return stdout;
  }

  /** Serves an engine's models. */
  async lend(engine: string) {
    const running = this.#world.start(this.name, path.join(this.#world.bin, "lobstah"), ["up", "--no-check", "--engine", engine, "--port", "0", "--worker-port", "0"], this.env);
    this.process = running;
    await running.until("router", () => running.printed().match(/^router +http\S+/m) ?? undefined, 60_000);
  }

  async join(lender: Machine) {
    const made = JSON.parse(await lender.lobstah("invite", this.name, "--address", "127.0.0.1", "--json")) as { invitation: string };
    await this.lobstah("join", made.invitation, "--no-ask", "--as", lender.name);
  }

  /** The nonces of its receipts. */
  async receipts(): Promise<{ nonce: string; side: string; workerPubkey: string; model: string }[]> {
    if (!fs.existsSync(path.join(this.home, "ledger.db"))) return [];
    const text = await this.lobstah("ledger", "list", "--json", "--limit", "10000");
    return text.split("\n").filter(Boolean).map((line) => {
      const { side, receipt } = JSON.parse(line) as { side: string; receipt: { nonce: string; workerPubkey: string; model: string } };
      return { side, ...receipt };
    });
  }
}

/** The real OpenClaw with a state of its own. */
export class OpenClaw {
  readonly env: NodeJS.ProcessEnv;
  readonly workspace: string;
  readonly config: string;
  readonly token = "e2e-token";
  readonly #world: World;
  readonly #name: string;
  port = 0;
  gateway: Running | undefined;

  constructor(world: World, name: string, machine: Machine) {
    this.#world = world;
    this.#name = name;
    const home = world.folder(name);
    this.workspace = world.folder(name, "workspace");
    this.config = path.join(home, "openclaw.json");
    this.env = {
      ...machine.env, OPENCLAW_HOME: home, OPENCLAW_STATE_DIR: world.folder(name, "state"), OPENCLAW_CONFIG_PATH: this.config,
      LOBSTER_STATE_DIR: path.join(home, "lobster"), LOBSTER_JOURNAL_DIR: "off", CI: "1", DO_NOT_TRACK: "1", OPENCLAW_NO_AUTO_UPDATE: "1",
      OPENCLAW_OFFLINE: "1", OPENCLAW_DISABLE_BONJOUR: "1", OPENCLAW_SKIP_CHANNELS: "1", OPENCLAW_SKIP_CRON: "1",
    };
  }

  /** The program, as openclaw/node_modules has it. */
  static get program(): string {
    return fs.realpathSync(path.join(repository, "openclaw/node_modules/openclaw/openclaw.mjs"));
  }

  async prepare() {
    this.port = await freePort();
    this.edit(() => ({
      gateway: {
        mode: "local", port: this.port, bind: "loopback", auth: { mode: "token", token: this.token },
        http: { endpoints: { chatCompletions: { enabled: true } } },
      },
      update: { checkOnStart: false }, discovery: { mdns: { mode: "off" } },
      agents: { defaults: { workspace: this.workspace, skipBootstrap: true } },
    }));
  }

  read(): Record<string, any> {
    return JSON.parse(fs.readFileSync(this.config, "utf8")) as Record<string, any>;
  }

  edit(change: (config: Record<string, any>) => Record<string, any>) {
    fs.writeFileSync(this.config, JSON.stringify(change(fs.existsSync(this.config) ? this.read() : {}), null, 2));
  }

  /** Types a command in a terminal. */
  async cli(...args: string[]): Promise<Output> {
    return await run(process.execPath, [OpenClaw.program, ...args], this.env);
  }

  async start() {
    this.gateway = this.#world.start(`${this.#name}-gateway`, process.execPath, [OpenClaw.program, "gateway", "run", "--port", String(this.port)], this.env);
    await this.gateway.until("readiness", async () => {
      const response = await fetch(`http://127.0.0.1:${this.port}/readyz`).catch(() => undefined);
      await response?.body?.cancel();
      return response?.ok ? true : undefined;
    });
  }

  /** One turn of an agent, in a session, with another model than the configured one if named. */
  async turn(session: string, message: string, model?: string): Promise<string> {
    const response = await fetch(`http://127.0.0.1:${this.port}/v1/chat/completions`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${this.token}`, "content-type": "application/json", "x-openclaw-session-key": `agent:main:${session}`,
        ...(model ? { "x-openclaw-model": model } : {}),
      },
      body: JSON.stringify({ model: "openclaw", messages: [{ role: "user", content: message }] }),
      signal: AbortSignal.timeout(600_000),
    });
    const body = await response.text();
    if (!response.ok) throw new Error(`the turn answers ${response.status}: ${body}\n${this.gateway?.printed().slice(-4000)}`);
    return (JSON.parse(body) as { choices: { message: { content: string } }[] }).choices[0]?.message.content ?? "";
  }

  /** Speaks to the gateway as a program of its owner does. */
  async call(method: string, params: object): Promise<any> {
    const socket = new WebSocket(`ws://127.0.0.1:${this.port}/`);
    try {
      return await converse(socket, this.token, method, params);
    } finally {
      socket.close();
    }
  }
}

type Frame = { type: string; id?: string; ok?: boolean; payload?: unknown; error?: { message: string }; event?: string };

function converse(socket: WebSocket, token: string, method: string, params: object): Promise<unknown> {
  const client = { id: "gateway-client", version: "0.1.0", platform: process.platform, mode: "backend" };
  const connect = { minProtocol: 4, maxProtocol: 4, client, role: "operator", scopes: ["operator.read", "operator.write", "operator.admin"], caps: [], auth: { token } };
  const send = (id: string, name: string, what: object) => socket.send(JSON.stringify({ type: "req", id, method: name, params: what }));
  return new Promise((resolve, reject) => {
    socket.addEventListener("error", () => reject(new Error("the gateway's socket broke")));
    socket.addEventListener("close", () => reject(new Error("the gateway's socket was closed")));
    socket.addEventListener("message", ({ data }) => {
      const frame = JSON.parse(String(data)) as Frame;
      if (frame.event === "connect.challenge") return send("1", "connect", connect);
      if (frame.type !== "res") return;
      if (!frame.ok) return reject(new Error(`${method}: ${frame.error?.message}`));
      if (frame.id === "1") return send("2", method, params);
      resolve(frame.payload);
    });
  });
}
