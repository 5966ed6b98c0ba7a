// The page of the verdict store. Everything that is shown goes through textContent: nothing that a contestant wrote is
// ever interpreted, and the page's policy (Trusted Types, no inline code) would refuse it if it were.
// The list and the pools are pushed over one WebSocket, which goes on from its cursor when it was cut.
"use strict";

const MOST_ROWS = 1000;
const TOKEN = "assize.token";
const THEME = "assize.theme";
const $ = (id) => document.getElementById(id);

const state = {
  token: null,
  socket: null,
  retryMillis: 500,
  cursor: null,
  submissions: new Map(),
  fresh: new Set(),
  selected: null,
  pools: null,
  reachedEnd: false,
  one: null,
  oneRequest: 0,
};

/** An element with a class, attributes and children; strings become text. */
function el(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (value === null || value === undefined) continue;
    if (name === "class") element.className = value;
    else element.setAttribute(name, String(value));
  }
  for (const child of children) {
    if (child === null || child === undefined) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

const VERDICTS = {
  AC: "Accepted", WA: "Wrong answer", TLE: "Time limit exceeded", MLE: "Memory limit exceeded",
  RTE: "Run-time error", CE: "Compiler error", OLE: "Output limit exceeded", JE: "Judging error: our fault, not the team's",
};
const EVENTS = {
  SubmissionReceived: "Received", SubmissionQueued: "Queued", JudgementRequested: "Judgement requested",
  JudgementAssigned: "Assigned", LeaseRevoked: "Taken back", AssignmentRefused: "Assignment refused",
  JudgementStarted: "Sandbox claimed", RunsFinished: "Tests run", JudgementCompleted: "Result signed",
  JudgementFaulted: "Fault of ours", JudgementConcluded: "Concluded",
};

function badge(entry, size) {
  if (entry.verdict) {
    return el("span", { class: size ? `badge ${size}` : "badge", "data-verdict": entry.verdict, title: VERDICTS[entry.verdict] }, entry.verdict);
  }
  return el("span", { class: size ? `badge ${size}` : "badge", "data-status": entry.status || "queued" }, entry.status || "pending");
}

function seconds(ns) {
  if (ns === null || ns === undefined) return "–";
  const value = ns / 1e9;
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(2)} s`;
}

function mebibytes(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const value = bytes / 1048576;
  return value < 10 ? `${value.toFixed(1)} MiB` : `${Math.round(value)} MiB`;
}

/** A value, and how much of its limit it is. */
function bar(value, limit, format) {
  if (value === null || value === undefined || !limit) return el("span", { class: "quiet-text" }, "–");
  const part = value / limit;
  const level = el("span", { class: "level" });
  level.style.width = `${Math.min(100, Math.max(part * 100, value > 0 ? 2 : 0))}%`;
  const words = `${format(value)} of ${format(limit)}`;
  return el(
    "span",
    { class: "bar", "data-over": part >= 1, "data-near": part >= 0.8 && part < 1, title: words },
    el("span", {}, format(value)),
    el("span", { class: "track", role: "img", "aria-label": words }, level),
  );
}

function clock(iso) {
  if (!iso) return "–";
  const moment = new Date(iso);
  const time = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  return moment.toDateString() === new Date().toDateString() ? time : `${moment.toLocaleDateString()} ${time}`;
}

const short = (digest) => (digest ? digest.replace(/^sha256:/, "").slice(0, 12) : "–");

/* ---- access ---- */

function takeToken() {
  const fragment = /^#token=(.+)$/.exec(location.hash);
  if (fragment) {
    sessionStorage.setItem(TOKEN, decodeURIComponent(fragment[1]));
    history.replaceState(null, "", location.pathname + "#/");
  }
  state.token = sessionStorage.getItem(TOKEN);
}

async function ask(path) {
  const answer = await fetch(path, { headers: { Authorization: `Bearer ${state.token}` } });
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.detail || answer.statusText), { status: answer.status });
  return body;
}

async function enter() {
  try {
    state.pools = await ask("/v1/pools");
  } catch (error) {
    if (error.status === 401 || error.status === 403) leave(error.message);
    else retry();
    return;
  }
  $("leave").hidden = false;
  route();
  connect();
}

function leave(reason) {
  sessionStorage.removeItem(TOKEN);
  state.token = null;
  state.cursor = null;
  state.submissions.clear();
  state.pools = null;
  if (state.socket) {
    const socket = state.socket;
    state.socket = null;
    socket.close();
  }
  $("leave").hidden = true;
  connection("off", "not connected");
  $("sign-in-error").hidden = !reason;
  $("sign-in-error").textContent = reason || "";
  route();
}

/* ---- live ---- */

function connection(kind, words) {
  $("connection").dataset.state = kind;
  $("connection").textContent = words;
}

function retry() {
  connection("waiting", "connecting again…");
  setTimeout(() => state.token && (state.socket === null ? enter() : connect()), state.retryMillis);
  state.retryMillis = Math.min(8000, state.retryMillis * 2);
}

function connect() {
  const address = new URL("/v1/activity/stream", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  if (state.cursor !== null) address.searchParams.set("after", state.cursor);
  const socket = new WebSocket(address, ["assize.v1", `assize.token.${state.token}`]);
  state.socket = socket;
  socket.addEventListener("open", () => {
    state.retryMillis = 500;
    connection("live", "live");
  });
  socket.addEventListener("message", (message) => take(JSON.parse(message.data)));
  socket.addEventListener("close", () => {
    if (state.socket !== socket) return;
    state.socket = null;
    retry();
  });
}

function take(message) {
  if (message.type === "snapshot" && state.cursor === null) state.submissions.clear();
  if (message.cursor !== undefined) state.cursor = message.cursor;
  if (message.pools) state.pools = message.pools;
  const arrived = [];
  for (const entry of message.submissions || []) {
    const before = state.submissions.get(entry.submission_id);
    if (message.type === "submissions" && (!before || before.verdict !== entry.verdict)) {
      state.fresh.add(entry.submission_id);
      if (entry.verdict) arrived.push(entry);
    }
    state.submissions.set(entry.submission_id, entry);
  }
  if (arrived.length) announce(arrived);
  if (message.pools) drawPools();
  if (message.submissions) {
    drawList();
    if (state.one && message.submissions.some((entry) => entry.submission_id === state.one)) showOne(state.one);
  }
}

function announce(entries) {
  const last = entries[0];
  $("announcer").textContent = entries.length === 1
    ? `${VERDICTS[last.verdict] || last.verdict} for ${last.problem}`
    : `${entries.length} verdicts arrived`;
}

/* ---- list ---- */

function ordered() {
  const all = [...state.submissions.values()].sort((one, other) => other.position - one.position);
  for (const entry of all.slice(MOST_ROWS)) state.submissions.delete(entry.submission_id);
  return all.slice(0, MOST_ROWS);
}

function wanted(entry, words) {
  const text = [entry.problem, entry.team, entry.language, entry.contest, entry.verdict || entry.status]
    .filter(Boolean).join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

function drawList() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const all = ordered();
  const shown = all.filter((entry) => wanted(entry, words));
  const rows = $("rows");
  const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.id : undefined;
  rows.replaceChildren(...shown.map(row));
  state.fresh.clear();
  if (focused) rows.querySelector(`a[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  const waiting = all.filter((entry) => entry.status !== "judged").length;
  $("tally").textContent = all.length ? `${all.length} shown, ${waiting} being judged` : "";
  $("empty").hidden = shown.length > 0;
  $("empty").textContent = all.length ? "Nothing fits this filter." : "No submission yet. The first one appears here by itself.";
  $("older").hidden = all.length < 50 || state.reachedEnd || all.length >= MOST_ROWS;
}

function row(entry) {
  const limits = entry.limits || {};
  const link = el("a", { href: `#/s/${encodeURIComponent(entry.submission_id)}`, "data-id": entry.submission_id }, entry.problem);
  const line = el(
    "tr",
    {
      class: state.fresh.has(entry.submission_id) ? "fresh" : null,
      "data-id": entry.submission_id,
      "aria-selected": entry.submission_id === state.selected,
    },
    el("td", {}, badge(entry)),
    el("td", { class: "clip", title: entry.problem }, link),
    el("td", { class: "wide" }, entry.language),
    el("td", { class: "wide clip", title: entry.team }, entry.team || "–"),
    el("td", {}, bar(entry.cpu_time_ns, limits.cpu_time_limit_ns, seconds)),
    el("td", { class: "middle" }, bar(entry.memory_peak_bytes, limits.memory_limit_bytes, mebibytes)),
    el("td", { class: "quiet-text" }, el("time", { datetime: entry.submitted_at, title: entry.submitted_at }, clock(entry.submitted_at))),
  );
  line.addEventListener("click", (event) => {
    if (event.target instanceof Element && !event.target.closest("a") && !String(getSelection())) open(entry.submission_id);
  });
  return line;
}

async function older() {
  const all = ordered();
  const page = await ask(`/v1/submissions?limit=100&before=${all[all.length - 1].position}`);
  for (const entry of page.submissions) state.submissions.set(entry.submission_id, entry);
  state.reachedEnd = page.before === null;
  drawList();
}

function move(step) {
  const lines = [...$("rows").children];
  if (!lines.length) return;
  const at = lines.findIndex((line) => line.dataset.id === state.selected);
  const next = lines[Math.min(lines.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
  state.selected = next.dataset.id;
  for (const line of lines) line.setAttribute("aria-selected", line === next);
  next.querySelector("a").focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

function open(id) {
  state.selected = id;
  location.hash = `#/s/${encodeURIComponent(id)}`;
}

/* ---- one submission ---- */

async function showOne(id) {
  const request = ++state.oneRequest;
  let found;
  try {
    found = await ask(`/v1/submissions/${encodeURIComponent(id)}`);
  } catch (error) {
    if (request === state.oneRequest) $("view-one").replaceChildren(back(), el("p", { class: "note" }, error.message));
    return;
  }
  if (request !== state.oneRequest || state.one !== id) return;
  const current = found.judgements.find((judgement) => judgement.current) || found.judgements[found.judgements.length - 1];
  const openBefore = new Set([...$("view-one").querySelectorAll("details[open]")].map((entry) => entry.dataset.key));
  $("view-one").replaceChildren(
    back(),
    el("div", { class: "title" }, badge(found, "large"), el("h1", {}, found.problem), el("span", { class: "quiet-text" }, VERDICTS[found.verdict] || "is being judged")),
    facts(found, current),
    ...(current ? judgementParts(current) : []),
    ...sources(found),
    el("h2", {}, "History"),
    timeline(found.timeline),
  );
  for (const entry of $("view-one").querySelectorAll("details")) entry.open = openBefore.has(entry.dataset.key);
  document.title = `${found.verdict || found.status} · ${found.problem} · Assize`;
}

const back = () => el("a", { class: "back", href: "#/" }, "← Submissions");

function facts(found, judgement) {
  const limits = judgement ? judgement.limits : {};
  const judged = Boolean(found.verdict);
  const entries = [
    ["CPU time", judged ? bar(judgement.cpu_time_ns, limits.cpu_time_limit_ns, seconds) : "–"],
    ["Wall time", judged ? bar(judgement.wall_time_ns, limits.wall_time_limit_ns, seconds) : "–"],
    ["Memory", judged ? bar(judgement.memory_peak_bytes, limits.memory_limit_bytes, mebibytes) : "–"],
    ["Language", found.language],
    ["Team", found.team || "–"],
    ["Contest", found.contest || "–"],
    ["Submitted", clock(found.submitted_at)],
    ["Executor", (judgement && judgement.executor) || "–"],
    ["Isolation", (judgement && judgement.isolation) || "–"],
    ["Image", el("span", { class: "mono", title: judgement && judgement.image_digest }, short(judgement && judgement.image_digest))],
    ["Problem version", el("span", { class: "mono", title: found.problem_version }, short(found.problem_version))],
    ["Submission", el("span", { class: "mono", title: found.submission_id }, found.submission_id)],
  ];
  return el("dl", { class: "facts" }, ...entries.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function judgementParts(judgement) {
  const parts = [];
  if (judgement.faults.length) {
    parts.push(el("h2", {}, "Faults of ours"), el("div", { class: "frame" }, el("ul", {}, ...judgement.faults.map(
      (fault) => el("li", {}, `${fault.executor} at ${fault.stage}${fault.message ? `: ${fault.message}` : ""}`)))));
  }
  if (judgement.compile) parts.push(...compilerPart(judgement.compile));
  if (judgement.note) parts.push(el("p", { class: "quiet-text" }, judgement.note));
  if (judgement.runs.length) {
    const notRun = judgement.tests_total - judgement.runs.length;
    parts.push(el("h2", {}, "Tests"), tests(judgement));
    if (notRun > 0) parts.push(el("p", { class: "quiet-text" }, `${notRun} more not run: the verdict was decided`));
  }
  return parts;
}

function compilerPart(report) {
  const words = report.succeeded ? "compiled" : report.limit_expired !== "NONE" ? `stopped by its limit (${report.limit_expired})` : "failed";
  const title = el("h2", {}, "Compiler ", el("span", { class: "state", "data-tone": report.succeeded ? "good" : "bad" }, `${words}, ${seconds(report.cpu_time_ns)}, ${mebibytes(report.memory_peak_bytes)}`));
  return report.output ? [title, el("div", { class: "frame" }, el("pre", { class: "compiler", tabindex: 0 }, report.output))] : [title];
}

function ending(run) {
  if (run.limit_expired !== "NONE") return `stopped: ${run.limit_expired.replace("_", " ").toLowerCase()} limit`;
  if (run.ending === "EXITED") return run.exit_code === null ? "exited" : `exit ${run.exit_code}`;
  if (run.ending === "SIGNALED") return run.signal === null ? "signal" : `signal ${run.signal}`;
  return "sandbox lost";
}

function tests(judgement) {
  const { limits } = judgement;
  const lines = judgement.runs.flatMap((run) => {
    const evidence = evidencePart(run);
    const line = el(
      "tr",
      { class: evidence ? "joined" : null },
      el("td", {}, badge(run)),
      el("th", { scope: "row", class: "mono" }, run.test),
      el("td", {}, bar(run.cpu_time_ns, limits.cpu_time_limit_ns, seconds)),
      el("td", { class: "wide" }, bar(run.wall_time_ns, limits.wall_time_limit_ns, seconds)),
      el("td", { class: "middle" }, bar(run.memory_peak_bytes, limits.memory_limit_bytes, mebibytes)),
      el("td", { class: "quiet-text" }, ending(run)),
    );
    return evidence ? [line, evidence] : [line];
  });
  const head = ["Verdict", "Test", "CPU time", "Wall time", "Memory", "End"];
  const classes = [null, null, null, "wide", "middle", null];
  return el("div", { class: "frame" }, el("table", { class: "tests" },
    el("caption", { class: "hidden-text" }, "Every test that was run, against its limits"),
    el("thead", {}, el("tr", {}, ...head.map((name, at) => el("th", { scope: "col", class: classes[at] }, name)))),
    el("tbody", {}, ...lines)));
}

function evidencePart(run) {
  const texts = [["Validator", run.validator_message], ["Standard output", run.stdout], ["Standard error", run.stderr]].filter(([, text]) => text);
  if (!texts.length) return null;
  const inside = texts.flatMap(([name, text]) => [el("div", { class: "quiet-text" }, name), el("pre", { tabindex: 0 }, text)]);
  return el("tr", {}, el("td", { colspan: 6, class: "evidence" }, el("details", { "data-key": run.test }, el("summary", {}, "What it printed"), ...inside)));
}

function sources(found) {
  const figures = found.files.map((file) => {
    const caption = el("figcaption", {}, file.name);
    if (file.text === null) return el("figure", { class: "frame file" }, caption, el("p", { class: "note" }, file.note));
    const lines = file.text.replace(/\n$/, "").split("\n").length;
    const numbers = Array.from({ length: lines }, (_, at) => at + 1).join("\n");
    return el("figure", { class: "frame file" }, caption, el("div", { class: "source-frame", tabindex: 0, role: "region", "aria-label": `Source ${file.name}` },
      el("div", { class: "source" }, el("pre", { "aria-hidden": "true" }, numbers), el("pre", {}, file.text))));
  });
  return [el("h2", {}, "Source"), ...figures];
}

function timeline(events) {
  const start = events.length ? Date.parse(events[0].at) : 0;
  return el("ol", { class: "frame timeline" }, ...events.map((event) => el(
    "li",
    { "data-late": /^came late/.test(event.detail) },
    el("time", { datetime: event.at, title: event.at }, `+${((Date.parse(event.at) - start) / 1000).toFixed(3)} s`),
    el("span", {}, EVENTS[event.event] || event.event),
    el("span", {}, event.detail),
  )));
}

/* ---- pools ---- */

function drawPools() {
  if ($("view-pools").hidden || !state.pools) return;
  const { executors, queue } = state.pools;
  const queued = queue.reduce((sum, cell) => sum + cell.queued, 0);
  const slots = executors.filter((executor) => !executor.silent).reduce((sum, executor) => sum + executor.slots, 0);
  const busy = executors.reduce((sum, executor) => sum + executor.running.length, 0);
  $("view-pools").replaceChildren(
    el("div", { class: "heading" }, el("h1", { id: "pools-title" }, "Pools and executors"),
      el("p", { class: "tally" }, `${executors.length} executor(s), ${busy} of ${slots} slots busy, ${queued} waiting`)),
    el("h2", {}, "Queue"),
    queueTable(queue),
    el("h2", {}, "Executors"),
    executors.length ? el("div", { class: "cards" }, ...executors.map(executorCard))
      : el("div", { class: "frame" }, el("p", { class: "empty" }, "No executor has reported yet.")),
  );
}

function queueTable(queue) {
  const lines = queue.flatMap((cell) => cell.languages.map((language) => el(
    "tr",
    {},
    el("th", { scope: "row" }, language.language),
    el("td", {}, cell.cell),
    el("td", {}, language.queued),
    el("td", {}, language.running),
    el("td", {}, language.held ? el("span", { class: "state", "data-tone": "warn" }, `${language.held} held`) : "0",
      language.held ? el("span", { class: "reason" }, language.held_reason) : null),
  )));
  if (!lines.length) return el("div", { class: "frame" }, el("p", { class: "empty" }, queue.length ? "Nothing waits." : "No cell has reported its queue yet."));
  return el("div", { class: "frame" }, el("table", {},
    el("caption", { class: "hidden-text" }, "Queue by language"),
    el("thead", {}, el("tr", {}, ...["Language", "Cell", "Waiting", "Running", "Held"].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...lines)));
}

function executorCard(executor) {
  const [tone, words] = executor.silent ? ["bad", "silent"] : executor.health ? ["bad", executor.health]
    : executor.draining ? ["warn", "draining"] : ["good", "well"];
  const busy = new Set(executor.running.map((entry) => entry.slot));
  const slots = Array.from({ length: Math.min(executor.slots, 256) }, (_, at) => el("span", { class: "slot", "data-busy": busy.has(at) }));
  return el(
    "article",
    { class: "card", "aria-label": `Executor ${executor.executor}` },
    el("header", {}, el("h3", {}, executor.executor), el("span", { class: "state", "data-tone": tone }, words), el("span", { class: "grow" }),
      el("span", { class: "slots", role: "img", "aria-label": `${busy.size} of ${executor.slots} slots busy` }, ...slots),
      el("span", { class: "state" }, `${busy.size}/${executor.slots} slots`)),
    el("table", {},
      el("caption", { class: "hidden-text" }, `Pools of ${executor.executor}`),
      el("thead", {}, el("tr", {}, ...["Language", "State", "Warm", "Isolation"].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...executor.pools.map((pool) => el("tr", {},
        el("th", { scope: "row", title: pool.image_digest }, pool.language),
        el("td", {}, el("span", { class: "state", "data-tone": pool.serving ? "good" : "bad" }, pool.serving ? "serving" : "not serving"),
          pool.reason ? el("span", { class: "reason" }, pool.reason) : null),
        el("td", {}, bar(pool.warm, pool.max_warm, (value) => `${value}`)),
        el("td", { class: "quiet-text" }, pool.isolation))))),
  );
}

/* ---- views and keys ---- */

function route() {
  const one = /^#\/s\/(.+)$/.exec(location.hash);
  const view = !state.token ? "sign-in" : one ? "one" : location.hash === "#/pools" ? "pools" : "list";
  for (const name of ["sign-in", "list", "one", "pools"]) $(`view-${name}`).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const before = state.one;
  state.one = view === "one" ? decodeURIComponent(one[1]) : null;
  document.title = view === "pools" ? "Pools · Assize" : "Assize";
  if (state.one) {
    if (before !== state.one) {
      $("view-one").replaceChildren();
      scrollTo(0, 0);
    }
    showOne(state.one);
  }
  if (view === "list") drawList();
  if (view === "pools") drawPools();
  if (view === "sign-in") $("token").focus();
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !state.token) return;
  const typing = event.target instanceof HTMLInputElement;
  if (event.key === "Escape") {
    if (typing) event.target.blur();
    else if (location.hash !== "#/") location.hash = "#/";
    return;
  }
  if (typing) return;
  const list = !$("view-list").hidden;
  if (event.key === "j" && list) move(1);
  else if (event.key === "k" && list) move(-1);
  else if (event.key === "Enter" && list && state.selected && event.target === document.body) open(state.selected);
  else if (event.key === "p") location.hash = "#/pools";
  else if (event.key === "/" && list) $("filter").focus();
  else return;
  event.preventDefault();
}

function theme(chosen) {
  if (chosen) document.documentElement.dataset.theme = chosen;
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  $("theme").textContent = dark ? "Light" : "Dark";
  return dark;
}

theme(localStorage.getItem(THEME));
$("theme").addEventListener("click", () => {
  const next = theme(document.documentElement.dataset.theme) ? "light" : "dark";
  localStorage.setItem(THEME, next);
  theme(next);
});
$("leave").addEventListener("click", () => leave());
$("older").addEventListener("click", older);
$("filter").addEventListener("input", drawList);
$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, $("token").value.trim());
  $("token").value = "";
  state.token = sessionStorage.getItem(TOKEN);
  enter();
});
addEventListener("hashchange", () => {
  const before = state.token;
  takeToken();
  if (state.token !== before && state.token) enter();
  else route();
});
addEventListener("keydown", keys);

takeToken();
if (state.token) enter();
else route();
