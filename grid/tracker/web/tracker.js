// The tracker's page. Everything that a stranger wrote is set as textContent,
// never as markup, and no stranger's text becomes a link.

const refreshTime = 30_000;
const $ = (id) => document.getElementById(id);

// element makes <name class=kind> holding text and other elements.
function element(name, kind, ...content) {
  const e = document.createElement(name);
  if (kind) e.className = kind;
  e.append(...content.filter((c) => c !== null));
  return e;
}

// plot draws numbers from old to new as bars; null is a gap.
function plot(values, top, what) {
  const space = "http://www.w3.org/2000/svg";
  const width = 3, height = 28;
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", `0 0 ${values.length * width} ${height}`);
  svg.setAttribute("class", "plot");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const title = document.createElementNS(space, "title");
  title.textContent = what;
  svg.append(title);
  values.forEach((value, i) => {
    if (value === null || value === undefined) return;
    const bar = document.createElementNS(space, "rect");
    const tall = Math.max(1, Math.min(1, value / top) * height);
    bar.setAttribute("x", i * width);
    bar.setAttribute("width", width - 1);
    bar.setAttribute("y", height - tall);
    bar.setAttribute("height", tall);
    if (value === 0) bar.setAttribute("class", "none");
    svg.append(bar);
  });
  return svg;
}

// age says how long ago something was.
function age(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  return `${Math.floor(s / 3600)} h ago`;
}

const plural = (n, one) => (n === 1 ? `1 ${one}` : `${n.toLocaleString("en")} ${one}s`);

// contextLength writes tokens in thousands.
const contextLength = (n) => (n >= 1024 ? `${Math.round(n / 1024)}k context` : `${n} context`);

function modelItem(m) {
  const button = element("button", "model", m.id);
  button.type = "button";
  button.addEventListener("click", () => search(`model:${m.id}`));
  const counts = m.day;
  return element("li", "", button, element("span", "count", plural(m.peers, "peer")),
    plot(counts, Math.max(1, ...counts), `peers over the last day, at most ${Math.max(0, ...counts)}`));
}

function modelLine(name, facts) {
  const told = [];
  if (facts) {
    if (facts.parameters) told.push(facts.parameters);
    if (facts.quantization) told.push(facts.quantization);
    if (facts.context_length) told.push(contextLength(facts.context_length));
    for (const c of facts.capabilities || []) told.push(c);
  }
  const line = element("li", "", element("b", "", name), ...told.map((t) => element("span", "fact", t)));
  if (facts && facts.digest) line.title = facts.digest;
  return line;
}

function price(p) {
  if (!p) return null;
  return element("span", "fact", `${p.input} in, ${p.output} out ${p.unit} per million tokens`);
}

function peerItem(peer, now) {
  const offer = peer.offer.announcement;
  const facts = new Map((offer.modelFacts || []).map((m) => [m.id, m]));
  const key = element("code", "key", offer.pubkey.slice(0, 16) + "…");
  key.title = offer.pubkey;
  const seen = peer.load.filter((n) => n !== null);
  // Who does not tell how many it takes at a time tells no load.
  const last = offer.concurrency && seen.length ? `${seen[seen.length - 1]} % busy` : "load not told";
  const models = (offer.models || []).map((name) => modelLine(name, facts.get(name)));
  const ways = (offer.reachableThrough || []).map((way) => element("span", "fact", `through ${way}`));
  return element("li", "peer",
    element("div", "who", element("h3", "", offer.label || "without a label"), key),
    element("div", "where", element("code", "", offer.url), ...ways),
    element("div", "facts",
      element("span", "fact tier", offer.tier || "best-effort"),
      offer.concurrency ? element("span", "fact", `${offer.concurrency} at a time`) : null,
      price(offer.price),
      element("span", "age", `announced ${age(now - offer.announcedAt)}`)),
    element("div", "load", plot(peer.load, 100, `load over the last day: ${last}`), element("span", "", last)),
    models.length ? element("ul", "offers", ...models) : element("p", "none", "It names no models."));
}

let shown = ""; // the search that is on the page
let turn = 0; // of answers; a late one is dropped

async function ask(q, after) {
  const parameters = new URLSearchParams();
  if (q) parameters.set("q", q);
  if (after) parameters.set("after", after);
  const response = await fetch(`/search?${parameters}`);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error?.message || `the tracker answered ${response.status}`);
  return answer;
}

async function show(q, after) {
  const mine = ++turn;
  let answer;
  try {
    answer = await ask(q, after);
  } catch (problem) {
    if (mine !== turn) return;
    $("problem").textContent = problem.message;
    $("problem").hidden = false;
    return;
  }
  if (mine !== turn) return;
  shown = q;
  $("problem").hidden = true;
  $("total").textContent = `${plural(answer.live, "peer")} here now`;
  $("total-day").replaceChildren(plot(answer.day, Math.max(1, ...answer.day), "peers over the last day"));
  const peers = answer.peers.map((p) => peerItem(p, answer.now));
  if (after) {
    $("peers").append(...peers);
  } else {
    $("peers").replaceChildren(...peers);
    $("models").replaceChildren(...answer.models.map(modelItem));
    $("no-models").hidden = answer.models.length > 0;
    $("no-peers").hidden = peers.length > 0;
  }
  $("more").hidden = !answer.next;
  $("more").dataset.after = answer.next || "";
  document.body.dataset.shown = String(mine); // for tests
}

function search(q) {
  $("q").value = q;
  const address = q ? `/?${new URLSearchParams({ q })}` : "/";
  if (address !== location.pathname + location.search) history.pushState(null, "", address);
  show(q);
}

const asked = () => new URLSearchParams(location.search).get("q") || "";

$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search($("q").value.trim());
});
$("more").addEventListener("click", () => show(shown, $("more").dataset.after));
addEventListener("popstate", () => {
  $("q").value = asked();
  show(asked());
});
// What is read further down is not taken away from under the reader.
setInterval(() => {
  if (!document.hidden && scrollY < 200) show(shown);
}, refreshTime);

$("q").value = asked();
show(asked());
