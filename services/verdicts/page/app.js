// The page of Assize. No build step and no framework; what a contestant wrote only ever becomes text.
//
// Pushed, not polled. WebSocket /v1/activity/stream (subprotocols "assize.v1" and "assize.token.<token>") sends
//   {"kind": "snapshot", "submissions": [row, …newest first], "pools": pools}    once after connecting
//   {"kind": "submission", "submission": row}                                    at every change of one
//   {"kind": "pools", "pools": pools}                                            at every change of capacity or queue
// A new connection begins with a new snapshot, so nothing is missed by being away.

const ROWS_SHOWN = 300;
const RECONNECT_MS = [250, 500, 1000, 2000, 5000];

const state = { rows: new Map(), pools: null, fresh: new Set(), filter: "", detail: null, token: null, attempts: 0, socket: null };
const at = (id) => document.getElementById(id);

// Elements are only made here, and every string goes in as text.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

const milliseconds = (ns) => (ns === null || ns === undefined ? "" : `${(ns / 1e6).toLocaleString("en", { maximumFractionDigits: ns < 1e8 ? 1 : 0 })} ms`);
const mebibytes = (bytes) => (bytes === null || bytes === undefined ? "" : `${(bytes / 2 ** 20).toFixed(1)} MiB`);
const when = (text) => (text ? new Date(text) : null);
const clock = (text) => { const date = when(text); return date ? date.toLocaleTimeString([], { hour12: false }) : ""; };

function badge(row) {
  if (row.verdict) return make("span", { class: "badge", "data-verdict": row.verdict, title: VERDICTS[row.verdict] ?? "" }, row.verdict);
  return make("span", { class: "badge waiting" }, row.status ?? "…");
}
const VERDICTS = { AC: "Correct", WA: "Wrong answer", CE: "Compile error", RTE: "Run-time error", TLE: "Time limit exceeded", MLE: "Memory limit exceeded", OLE: "Output limit exceeded", JE: "Judging error: our fault" };

function meter(value, limit, label) {
  const share = limit > 0 ? value / limit : 0;
  const level = share >= 1 ? "over" : share >= 0.8 ? "high" : "low";
  const fill = make("i");
  fill.style.width = `${Math.min(100, share * 100).toFixed(1)}%`;
  return make("span", { class: "meter", role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": limit, "aria-valuenow": Math.min(value, limit), "data-level": level }, fill);
}

// ---- the list

function matches(row) {
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const text = [row.problem, row.team, row.language, row.verdict, row.status, row.contest, row.submission_id].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

function drawRows() {
  const shown = [...state.rows.values()].filter(matches).sort((a, b) => (a.submitted_at < b.submitted_at ? 1 : a.submitted_at > b.submitted_at ? -1 : a.submission_id < b.submission_id ? 1 : -1)).slice(0, ROWS_SHOWN);
  const focused = document.activeElement?.dataset?.submission;
  at("rows").replaceChildren(...shown.map(drawRow));
  if (focused) at("rows").querySelector(`[data-submission="${CSS.escape(focused)}"]`)?.focus();
  state.fresh.clear();
  at("empty").hidden = state.rows.size > 0;
  const counts = new Map();
  for (const row of state.rows.values()) { const key = row.verdict ?? "waiting"; counts.set(key, (counts.get(key) ?? 0) + 1); }
  at("tally").replaceChildren(...[...counts].sort().map(([key, count]) => make("span", {}, `${key} ${count}`)));
}

function drawRow(row) {
  const open = () => { location.hash = `#/submissions/${encodeURIComponent(row.submission_id)}`; };
  return make("tr", { tabindex: 0, "data-submission": row.submission_id, class: state.fresh.has(row.submission_id) ? "fresh" : null, onclick: open, onkeydown: (event) => { if (event.key === "Enter") open(); } },
    make("td", {}, badge(row)), make("td", {}, row.problem), make("td", {}, row.language), make("td", { class: "wide" }, row.team ?? ""),
    make("td", { class: "num" }, row.verdict ? milliseconds(row.cpu_time_ns) : ""), make("td", { class: "num wide" }, row.verdict ? mebibytes(row.memory_peak_bytes) : ""),
    make("td", { class: "num" }, make("time", { datetime: row.submitted_at, title: row.submitted_at }, clock(row.submitted_at))));
}

// ---- one submission

async function loadDetail(id) {
  const response = await fetch(`/v1/submissions/${encodeURIComponent(id)}`, { headers: { authorization: `Bearer ${state.token}` } });
  if (state.detail !== id) return;
  if (response.status === 401) return signOut("The token was not accepted.");
  if (!response.ok) return at("detail").replaceChildren(make("p", { class: "empty" }, response.status === 404 ? "No such submission (yet)." : `The server answered ${response.status}.`));
  drawDetail(await response.json());
}

function fact(name, ...value) { return make("div", {}, make("dt", {}, name), make("dd", {}, ...value)); }

function drawDetail(it) {
  at("submission-title").replaceChildren(`${it.problem} `, badge(it));
  const current = it.judgements.find((judgement) => judgement.current) ?? it.judgements.at(-1);
  at("detail").replaceChildren(...[
    make("dl", { class: "facts" }, fact("Submission", it.submission_id), fact("Language", it.language), fact("Team", it.team ?? "–"), fact("Contest", it.contest ?? "–"), fact("Received", it.submitted_at),
      ...(current ? [fact("Largest CPU time", milliseconds(current.cpu_time_ns)), fact("Largest memory", mebibytes(current.memory_peak_bytes)), fact("Executor", current.executor ?? "–"), fact("Image", current.image_digest ?? "–")] : [])),
    ...it.judgements.flatMap((judgement) => drawJudgement(judgement, it.judgements.length)),
    make("h3", {}, "Source"),
    ...(it.files ?? []).flatMap((file) => [make("p", { class: "soft" }, file.name), make("pre", { tabindex: 0 }, file.text ?? "(not text, or not kept)")]),
    make("h3", {}, "History"),
    make("ol", { class: "timeline" }, ...(it.timeline ?? []).map((entry) => make("li", {}, make("time", { datetime: entry.at }, `${clock(entry.at)} `), `${entry.event} `, make("span", { class: "soft" }, entry.detail ?? "")))),
  ].filter(Boolean));
}

function drawJudgement(judgement, count) {
  const compile = judgement.compile;
  const limits = judgement.limits ?? {};
  const parts = [];
  if (count > 1) parts.push(make("h3", {}, "Judgement"), make("p", {}, badge(judgement), ` ${judgement.current ? "current" : "not current"}`));
  for (const fault of judgement.faults ?? []) parts.push(make("p", { role: "note" }, `Fault at ${fault.stage} on ${fault.executor}: ${fault.message}`));
  if (compile?.output) parts.push(make("h3", {}, "Compiler"), make("pre", { tabindex: 0 }, compile.output));
  if (judgement.runs?.length) {
    parts.push(make("h3", {}, `Tests (${judgement.runs.length}${judgement.tests_total ? ` of ${judgement.tests_total}` : ""})`),
      make("table", { class: "scroll" }, make("thead", {}, make("tr", {}, ...["Test", "Verdict", "CPU time", "Memory", "How it ended"].map((name) => make("th", { scope: "col" }, name)))),
        make("tbody", {}, ...judgement.runs.map((run) => make("tr", {}, make("td", {}, run.test), make("td", {}, badge(run)),
          make("td", {}, milliseconds(run.cpu_time_ns), meter(run.cpu_time_ns, limits.cpu_time_limit_ns ?? 0, `CPU time of ${run.test}`)),
          make("td", {}, mebibytes(run.memory_peak_bytes), meter(run.memory_peak_bytes, limits.memory_limit_bytes ?? 0, `Memory of ${run.test}`)),
          make("td", {}, ending(run)))))));
    for (const run of judgement.runs) for (const [name, text] of [["output", run.stdout], ["error output", run.stderr], ["validator", run.validator_message]]) {
      if (text) parts.push(make("p", { class: "soft" }, `${run.test}: ${name}`), make("pre", { tabindex: 0 }, text));
    }
  }
  return parts;
}

function ending(run) {
  if (run.limit_expired && run.limit_expired !== "NONE") return `${run.limit_expired.toLowerCase().replace("_", " ")} limit`;
  if (run.signal !== null && run.signal !== undefined) return `signal ${run.signal}`;
  return run.exit_code === null || run.exit_code === undefined ? run.ending ?? "" : `exit ${run.exit_code}`;
}

// ---- pools

function drawPools() {
  const pools = state.pools ?? { executors: [], pools: [], queue: [] };
  const table = (headings, rows) => make("table", { class: "scroll" }, make("thead", {}, make("tr", {}, ...headings.map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, ...rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell))))));
  at("pools-detail").replaceChildren(
    make("h3", {}, "Queue"),
    table(["Cell", "Queued", "Running", "Bound", "Longest wait"], pools.queue.map((cell) => [cell.cell, cell.queued, cell.running, cell.bound, milliseconds(cell.oldest_wait_ns)])),
    ...pools.queue.filter((cell) => cell.depths?.length).map((cell) => table(["Language", "Queued", "Running", "Held"], cell.depths.map((depth) => [depth.language, depth.queued, depth.running, depth.held ? `${depth.held}: ${depth.held_reason}` : 0]))),
    make("h3", {}, "Executors"),
    table(["Executor", "Slots", "State"], pools.executors.map((executor) => [executor.executor, make("span", {}, `${executor.running.length} of ${executor.slots}`, meter(executor.running.length, executor.slots, `Slots of ${executor.executor}`)), executor.alive === false ? "silent" : executor.health || (executor.draining ? "draining" : "well")])),
    make("h3", {}, "Warm sandboxes"),
    table(["Language", "Executor", "Isolation", "Warm", "Serving"], pools.pools.map((pool) => [pool.language, pool.executor, pool.isolation, make("span", {}, `${pool.warm} (${pool.min_warm}–${pool.max_warm})`, meter(pool.warm, pool.max_warm, `Warm sandboxes of ${pool.language}`)), pool.serving ? "yes" : pool.reason])));
}

// ---- the stream

function connect() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/activity/stream`, ["assize.v1", `assize.token.${state.token}`]);
  state.socket = socket;
  socket.addEventListener("message", (event) => { if (socket === state.socket) take(JSON.parse(event.data)); });
  socket.addEventListener("close", (event) => {
    if (socket !== state.socket) return;
    if (event.code === 4401 || event.code === 4403) return signOut("The token was not accepted.");
    show("lost", "connection lost, trying again");
    setTimeout(connect, RECONNECT_MS[Math.min(state.attempts++, RECONNECT_MS.length - 1)]);
  });
}

function take(message) {
  if (message.kind === "snapshot") {
    state.attempts = 0;
    state.rows = new Map(message.submissions.map((row) => [row.submission_id, row]));
    state.pools = message.pools;
    show("live", "live");
    drawPools();
    if (state.detail) loadDetail(state.detail);
  } else if (message.kind === "submission") {
    const row = message.submission;
    state.rows.set(row.submission_id, { ...state.rows.get(row.submission_id), ...row });
    state.fresh.add(row.submission_id);
    if (state.detail === row.submission_id) loadDetail(row.submission_id);
  } else if (message.kind === "pools") {
    state.pools = message.pools;
    drawPools();
    return;
  }
  requestDraw();
}

let drawing = false;
function requestDraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; drawRows(); });
}

function show(kind, text) { at("connection").dataset.state = kind; at("connection").textContent = text; }

// ---- where we are, keys, token, theme

function route() {
  const [view, id] = location.hash.replace(/^#\//, "").split("/");
  state.detail = view === "submissions" && id ? decodeURIComponent(id) : null;
  const chosen = !state.token ? "sign-in" : state.detail ? "submission" : view === "pools" ? "pools" : "submissions";
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== chosen;
  for (const link of document.querySelectorAll("nav a")) link.toggleAttribute("aria-current", false);
  document.querySelector(`nav a[data-view="${chosen === "pools" ? "pools" : "submissions"}"]`).setAttribute("aria-current", "page");
  if (state.detail) { at("submission-title").textContent = "…"; at("detail").replaceChildren(); loadDetail(state.detail); }
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input, textarea");
  if (event.key === "Escape") { if (typing) event.target.blur(); else if (state.detail) location.hash = "#/submissions"; return; }
  if (typing) return;
  if (event.key === "/") { event.preventDefault(); at("filter").focus(); }
  if (event.key === "j" || event.key === "k") {
    const rows = [...at("rows").children];
    const next = rows.indexOf(document.activeElement) + (event.key === "j" ? 1 : -1);
    rows[Math.max(0, Math.min(rows.length - 1, next))]?.focus();
  }
}

function signIn(token) { state.token = token; sessionStorage.setItem("assize.token", token); state.attempts = 0; route(); connect(); }
function signOut(reason) { state.token = null; sessionStorage.removeItem("assize.token"); state.socket = null; show("lost", "signed out"); at("sign-in-error").textContent = reason; route(); at("token").focus(); }

function start() {
  const theme = localStorage.getItem("assize.theme");
  if (theme) document.documentElement.dataset.theme = theme;
  at("theme").addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("assize.theme", document.documentElement.dataset.theme);
  });
  at("filter").addEventListener("input", () => { state.filter = at("filter").value; drawRows(); });
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  at("sign-in").querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); at("sign-in-error").textContent = ""; signIn(at("token").value.trim()); });
  window.addEventListener("hashchange", route);
  document.addEventListener("keydown", keys);
  // A token comes once in the fragment, which never reaches a server or its logs, and leaves the address at once.
  const given = /^#token=([\w-]+)$/.exec(location.hash);
  if (given) history.replaceState(null, "", `${location.pathname}#/submissions`);
  const token = given?.[1] ?? sessionStorage.getItem("assize.token");
  if (token) signIn(token); else { show("lost", "signed out"); route(); }
}

start();
