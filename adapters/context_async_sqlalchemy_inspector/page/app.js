// Asks for the state once a second, unless the page is hidden or frozen, and shows it.

import { element, setAttribute, setText, showList } from "./dom.js";
import { finishedTable } from "./finished.js";
import { limitOf, showPools } from "./pools.js";
import { blockedTable, routesTable, sessionsTable, showWaiting } from "./sessions.js";
import { clock, counted } from "./text.js";

const STATE = new URL("state.json", import.meta.url);
const VERSION = 1;
const EVERY = 1000;
const PATIENCE = 5000;
const MOST_LINES = 4;
const RANK = { waiting: 0, full: 1, calm: 2 };
const THEMES = ["auto", "light", "dark"];

const $ = (id) => document.getElementById(id);
const filterBy = (route) => { $("filter").value = route; show(); };
const tables = {
  sessions: sessionsTable($("sessions"), filterBy), routes: routesTable($("routes"), filterBy),
  finished: finishedTable($("finished"), filterBy), blocked: blockedTable($("blocked")),
};
let last = null;
let frozen = false;
let timer = null;
let asking = false;

// Ask

async function ask() {
  clearTimeout(timer);
  if (asking || frozen || document.hidden) return;
  asking = true;
  const began = performance.now();
  const { state, problem } = await answer();
  asking = false;
  timer = setTimeout(ask, Math.max(EVERY - (performance.now() - began), EVERY / 4));
  if (frozen) return;
  if (state) last = state;
  tell(problem);
  if (state) show();
}

async function answer() {
  try {
    const response = await fetch(STATE, { cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE) });
    if (response.status === 403) return { problem: "The server refuses: log in again by the URL that it printed at its last start." };
    if (!response.ok) return { problem: `The server answers with status ${response.status}.` };
    const state = await response.json();
    if (state.version !== VERSION) return { problem: "The server has another version than this page: reload the page." };
    return { state, problem: null };
  } catch (error) {
    const late = error.name === "TimeoutError";
    return { problem: late ? `The server has not answered within ${PATIENCE / 1000} s.` : "The server does not answer." };
  }
}

/** Tell whether the data are live, and why they are not. The text changes only with the case, so that it is read out once. */
function tell(problem) {
  const kind = problem ? "stale" : frozen ? "frozen" : document.hidden ? "paused" : "live";
  setAttribute(document.body, "data-live", kind);
  setText($("status"), { stale: "Not live", frozen: "Frozen", paused: "Paused", live: "Live" }[kind]);
  setText($("time"), last ? clock(last.now) : "");
  $("problem").hidden = !problem;
  const shown = last ? ` You see the state of ${clock(last.now)}.` : "";
  if (problem) setText($("problem"), problem + shown);
}

// Show

function show() {
  if (!last) return;
  for (const worker of last.workers) worker.key = keyOf(worker);
  showWorkers();
  const chosen = $("worker").value;
  const workers = last.workers.filter((worker) => !chosen || worker.key === chosen);
  const all = (of) => workers.flatMap((worker) => of(worker).map((item) => ({ ...item, worker, now: last.now })));
  for (const worker of workers) worker.byId = new Map(worker.sessions.shown.map((session) => [session.id, session]));
  const matches = filter();

  showSummary(workers);
  const pools = all((worker) => worker.pools);
  showPools($("pools"), pools);
  const queues = pools.filter((pool) => pool.waiting);
  showWaiting($("waiting"), queues, filterBy);
  $("nobody-waits").hidden = queues.length > 0;

  const sessions = all((worker) => worker.sessions.shown);
  const found = sessions.filter(matches);
  // A worker's own order is by the time that a connection is held; of several workers it is made again.
  if (workers.length > 1) found.sort((a, b) => held(b) - held(a));
  tables.sessions.show(found);
  setText($("sessions-count"), told(workers, sessions.length, found.length));
  tables.routes.show(all((worker) => worker.routes).sort((a, b) => b.held_idle - a.held_idle).filter(matches));
  tables.finished.show(all((worker) => worker.finished.shown).sort((a, b) => b.ended_at - a.ended_at).filter(matches));
  $("blocked-section").hidden = workers.every((worker) => worker.blocked === null);
  tables.blocked.show(all((worker) => (worker.blocked ?? []).map(
    (item) => ({ ...item, route: worker.byId.get(item.session)?.route }))));
}

const held = (session) => Math.max(0, ...session.connections.map((connection) => connection.held));

/** Return the process id, and the start too if workers in two containers have the same process id. */
function keyOf({ pid, started_at: startedAt }) {
  return last.workers.filter((other) => other.pid === pid).length > 1 ? `${pid} ${startedAt}` : String(pid);
}

function showWorkers() {
  const { workers } = last;
  document.body.classList.toggle("one-worker", workers.length === 1);
  $("worker-label").hidden = workers.length === 1;
  const chosen = $("worker").value;
  const options = [{ key: "", pid: "", name: `all ${workers.length}` }, ...workers];
  showList($("worker"), options, (worker) => worker.key, () => element("option"), (option, { key, pid, name }) => {
    option.value = key;
    setText(option, !pid || name.includes(pid) ? name : `${name} (${pid})`);
  });
  if (!workers.some((worker) => worker.key === chosen)) $("worker").value = "";
}

/** Make the function that tells whether an item has all words of the filter. */
function filter() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  return (item) => {
    if (!words.length) return true;
    const text = [item.route, item.kind, item.state, item.awaiting, item.outcome, item.trace_id, item.worker.name, item.worker.pid,
      ...(item.reasons ?? []), ...(item.connections ?? item.parts ?? []).flatMap(({ pool, backend_pid: pid }) => [pool, pid])];
    const lower = text.join("\n").toLowerCase();
    return words.every((word) => lower.includes(word));
  };
}

function told(workers, shown, found) {
  const total = workers.reduce((sum, worker) => sum + worker.sessions.total, 0);
  const states = {};
  for (const { sessions } of workers) {
    for (const [state, number] of Object.entries(sessions.by_state)) states[state] = (states[state] ?? 0) + number;
  }
  const parts = Object.entries(states).filter(([, number]) => number).map(([state, number]) => `${number.toLocaleString("en")} ${state}`);
  const limited = shown < total ? `; the ${shown} that hold for the longest are listed` : "";
  const filtered = found < shown ? `; ${found} match the filter` : "";
  return `${counted(total, "session")}${parts.length ? `: ${parts.join(", ")}` : ""}${limited}${filtered}`;
}

/** Show the answer first: the pools that are exhausted, and which route holds them. */
function showSummary(workers) {
  const many = last.workers.length > 1;
  const lines = [];
  for (const worker of workers) {
    const place = many ? `${worker.name}, ` : "";
    if (worker.error) lines.push({ key: worker.key, level: "full", rank: 0, text: `${place}${worker.error}`, holder: "" });
    worker.pools.forEach((pool, index) => {
      const { level, text, holder } = worker.summary[index];
      const waited = Math.max(0, ...pool.waiters.map((waiter) => waiter.waited));
      lines.push({ key: `${worker.key} ${pool.key}`, level, rank: RANK[level], waited, text: place + text, holder });
    });
  }
  lines.sort((a, b) => a.rank - b.rank || b.waited - a.waited);
  const calm = lines.filter((line) => line.level === "calm");
  let shown = lines.filter((line) => line.level !== "calm").slice(0, MOST_LINES);
  const hidden = lines.length - calm.length - shown.length;
  if (hidden) shown.push({ key: "more", level: "full", text: `and ${counted(hidden, "pool")} more`, holder: "" });
  if (!shown.length) shown = [calmLine(workers, calm)];
  if (last.note) shown.push({ key: "note", level: "full", text: last.note, holder: "" });
  showList($("summary"), shown, (line) => line.key, () => element("li", {}, element("strong"), element("span")), (node, line) => {
    setAttribute(node, "data-level", line.level);
    setText(node.firstElementChild, line.text);
    setText(node.lastElementChild, line.holder);
  });
}

function calmLine(workers, calm) {
  const pools = workers.flatMap((worker) => worker.pools);
  const used = pools.reduce((sum, pool) => sum + pool.used, 0);
  const limits = pools.map(limitOf);
  const most = limits.includes(null) ? "" : ` of ${limits.reduce((sum, limit) => sum + limit, 0)}`;
  const text = pools.length ? `All calm: no session waits, ${used}${most} connections in use` : "No pool is in use yet";
  return { key: "calm", level: "calm", text, holder: calm.length > 1 ? `in ${counted(calm.length, "pool")}` : "" };
}

// Controls

function freeze() {
  frozen = !frozen;
  setAttribute($("freeze"), "aria-pressed", frozen);
  setText($("freeze"), frozen ? "Go on" : "Freeze");
  tell(null);
  if (!frozen) ask();
}

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  setText($("theme"), `Theme: ${theme}`);
}

function remembered() {
  try {
    const theme = localStorage.getItem("theme");
    return THEMES.includes(theme) ? theme : "auto";
  } catch {
    return "auto";  // A browser can refuse to store anything.
  }
}

$("theme").addEventListener("click", () => {
  const theme = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  showTheme(theme);
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // It is the theme of this visit only.
  }
});
$("freeze").addEventListener("click", freeze);
$("filter").addEventListener("input", show);
$("worker").addEventListener("change", show);
document.addEventListener("visibilitychange", () => { tell(null); ask(); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target === $("filter");
  if (event.key === "Escape" && typing) {
    filterBy("");
    $("filter").blur();
  } else if (!typing && event.key === "/") {
    event.preventDefault();
    $("filter").focus();
    $("filter").select();
  } else if (!typing && event.target !== $("worker") && event.key === "f") freeze();
});

showTheme(remembered());
// A link can name a route: #filter=GET%20/orders
const linked = new URLSearchParams(location.hash.slice(1)).get("filter");
if (linked) $("filter").value = linked;
ask();
