/** What `/lobstah` and `openclaw lobstah status` tell: who is there, who owes what, the last receipts. */
import { printable } from "./printable.ts";
import { CommandFailed, type Program } from "./program.ts";

type Peer = { pubkey: string; label?: string; url: string; state: { status: string; models?: string[]; lastError?: string } };

type Running =
  | { running: false }
  | { running: true; what: string; router?: string; worker?: string; peers?: Peer[]; routerStats?: { requests: number }; problems?: string[] };

type Balance = {
  pubkey: string;
  self: { earned: number; spent: number; net: number };
  perPeer: { pubkey: string; earned: number; spent: number; net: number }[];
  selfServed: { earned: number };
};

type Entry = { side: string; at: string; receipt: { model: string; inputTokens: number; outputTokens: number; workerPubkey: string; requesterPubkey: string } };

export type Status = { process: Running; balance: Balance | null; receipts: Entry[] };

export async function readStatus(program: Program): Promise<Status> {
  const [process, balance, receipts] = await Promise.all([readRunning(program), readBalance(program), readReceipts(program)]);
  return { process, balance, receipts };
}

/** Exit code 1 means that nothing runs, which is an answer, too. */
async function readRunning(program: Program): Promise<Running> {
  try {
    return await program.json<Running>(["status", "--json"]);
  } catch (error) {
    if (error instanceof CommandFailed && /"running":\s*false/.test(error.message)) return { running: false };
    throw error;
  }
}

async function readBalance(program: Program): Promise<Balance | null> {
  return await unlessNew(() => program.json<Balance>(["balance", "--json"]), null);
}

async function readReceipts(program: Program): Promise<Entry[]> {
  const lines = await unlessNew(() => program.run(["ledger", "list", "--json", "--limit", "5"]), "");
  return lines.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as Entry);
}

/** A machine that never served or asked has no ledger yet. */
async function unlessNew<T>(read: () => Promise<T>, otherwise: T): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof CommandFailed && /no ledger/i.test(error.message)) return otherwise;
    throw error;
  }
}

const count = (n: number) => n.toLocaleString("en");

export function renderStatus(status: Status): string {
  return [...renderRunning(status.process), ...renderBalance(status), ...renderReceipts(status)].map(printable).join("\n");
}

function renderRunning(process: Running): string[] {
  if (!process.running) return ["nothing runs; a turn with a lobstah model starts it, or type: lobstah up"];
  const lines = [`${process.what} runs${process.router ? `, router ${process.router}/v1` : ""}, ${count(process.routerStats?.requests ?? 0)} requests so far`];
  for (const problem of process.problems ?? []) lines.push(`PROBLEM ${problem}`);
  const peers = process.peers ?? [];
  lines.push(peers.length === 0 ? "no peers; on another machine type lobstah invite, and here the line that it prints" : "peers");
  for (const peer of peers) {
    const why = peer.state.status !== "ready" && peer.state.lastError ? `: ${peer.state.lastError}` : "";
    lines.push(`  ${nameOf(peer)}  ${peer.state.status}${why}  ${(peer.state.models ?? []).join(", ")}`.trimEnd());
  }
  return lines;
}

function nameOf(peer: { pubkey: string; label?: string }): string {
  return peer.label || short(peer.pubkey);
}

function short(pubkey: string): string {
  return pubkey.slice(0, 12) + "…";
}

/** Names keys as the owner does. */
function namer({ process, balance }: Status): (pubkey: string) => string {
  const peers = process.running ? (process.peers ?? []) : [];
  return (pubkey) => {
    if (pubkey === balance?.pubkey) return "this machine";
    const peer = peers.find((p) => p.pubkey === pubkey);
    return peer ? nameOf(peer) : short(pubkey);
  };
}

function renderBalance(status: Status): string[] {
  const { balance } = status;
  if (balance === null) return ["no receipts yet"];
  const { earned, spent, net } = balance.self;
  const name = namer(status);
  return [
    `balance: earned ${count(earned)} tokens, spent ${count(spent)}, net ${count(net)}`,
    ...balance.perPeer.map((p) => `  ${name(p.pubkey)}: served us ${count(p.earned)}, we served it ${count(p.spent)}`),
  ];
}

function renderReceipts(status: Status): string[] {
  const { receipts } = status;
  if (receipts.length === 0) return [];
  const name = namer(status);
  return ["last receipts", ...receipts.map(({ at, side, receipt: r }) => {
    const other = side === "worker" ? `for ${name(r.requesterPubkey)}` : `by ${name(r.workerPubkey)}`;
    return `  ${at.slice(0, 19)}Z  ${r.model}  ${count(r.inputTokens)} in, ${count(r.outputTokens)} out, ${other}`;
  })];
}

export type Share = { sharing: boolean; addresses?: string[]; models?: string[]; onlyDemo?: boolean; allowed: number; finishing?: number };

export function renderShare(share: Share): string {
  if (!share.sharing) return `not sharing${share.finishing ? `; ${share.finishing} answers are still finished` : ""}`;
  const who = share.allowed === 0 ? "nobody is allowed yet: lobstah invite" : `${share.allowed} allowed`;
  const what = printable((share.models ?? []).join(", ")) + (share.onlyDemo ? " (which answers nothing; run an engine such as Ollama)" : "");
  return `sharing ${what} at ${(share.addresses ?? []).join(", ")}, ${who}`;
}
