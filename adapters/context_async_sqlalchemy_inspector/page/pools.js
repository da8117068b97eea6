// The pools as cards, each with its last minute.

import { element, setAttribute, setText, showList, svg } from "./dom.js";
import { counted, seconds } from "./text.js";

const SECONDS = 60;
const HEIGHT = 30;
const MOST_SHOWN = 2.5;

/** Return how many connections a pool may have, or null if it has no limit. */
export function limitOf(pool) {
  if (pool.size == null || pool.max_overflow == null) return null;
  return pool.size + pool.max_overflow || null;
}

export function showPools(parent, pools) {
  showList(parent, pools, (pool) => `${pool.worker.key} ${pool.key}`, create, update);
}

function create() {
  const card = element("article", { class: "card" });
  const parts = {
    name: element("h3"), worker: element("span", { class: "tag worker" }), server: element("p", { class: "server" }),
    used: element("strong"), limit: element("span"), others: element("span", { class: "others" }),
    chart: chart(), limits: element("p", { class: "facts" }), advice: element("p", { class: "advice" }),
  };
  card.parts = parts;
  card.append(
    element("div", { class: "title" }, parts.name, parts.worker), parts.server,
    element("p", { class: "use" }, parts.used, parts.limit, parts.others),
    parts.chart, parts.limits, parts.advice);
  return card;
}

function update(card, pool) {
  const { parts } = card;
  const limit = limitOf(pool);
  setText(parts.name, pool.name);
  setText(parts.worker, pool.worker.name);
  setText(parts.server, pool.server ?? "");
  setText(parts.used, pool.used);
  setText(parts.limit, limit === null ? " in use" : ` of ${limit} in use`);
  setText(parts.others, `${pool.waiting} waiting · ${pool.idle} idle`);
  setAttribute(card, "data-level", pool.waiting ? "waiting" : limit !== null && pool.used >= limit ? "full" : "calm");
  drawChart(parts.chart, pool, limit);
  setText(parts.limits, limits(pool));
  setText(parts.advice, pool.advice?.text ?? "");
}

function limits(pool) {
  const facts = [`Peak: ${pool.peak_used} in use, ${pool.peak_waiting} waiting.`];
  if (pool.size != null) {
    const overflow = pool.max_overflow == null ? "no limit" : `${pool.max_overflow} overflow`;
    facts.push(`Size ${pool.size} + ${overflow}.`);
  }
  if (pool.timeout != null) facts.push(`Time-out ${seconds(pool.timeout)}.`);
  const shed = [pool.max_wait == null ? null : typeof pool.max_wait === "number" ? seconds(pool.max_wait) : pool.max_wait,
    pool.max_waiting == null ? null : `${pool.max_waiting} waiting`].filter(Boolean);
  if (shed.length) facts.push(`Sheds above ${shed.join(" or ")}.`);
  return facts.join(" ");
}

function chart() {
  return svg("svg", { class: "chart", viewBox: `0 0 ${SECONDS} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
    svg("path", { class: "waiting" }), svg("path", { class: "used" }), svg("path", { class: "limit" }));
}

/** Draw the connections in use, and above them the sessions that wait. */
function drawChart(node, pool, limit) {
  const { history } = pool;
  const most = (index) => Math.max(0, ...history.map((second) => second[index]));
  // A long queue is cut off, because the connections in use would be a flat line below it.
  const highest = Math.max(1, ...history.map(([used, waiting]) => used + waiting));
  const top = 1.05 * (limit === null ? highest : Math.max(limit, Math.min(highest, limit * MOST_SHOWN)));
  const y = (value) => (HEIGHT * (1 - value / top)).toFixed(2);
  const area = (values) => {
    const start = SECONDS - values.length;
    const steps = values.map((value, index) => `L${start + index} ${y(value)}H${start + index + 1}`).join("");
    return values.length ? `M${start} ${HEIGHT}${steps}V${HEIGHT}Z` : "";
  };
  const [waiting, used, line] = node.children;
  setAttribute(waiting, "d", area(history.map(([inUse, wait]) => (wait ? inUse + wait : 0))));
  setAttribute(used, "d", area(history.map(([inUse]) => inUse)));
  setAttribute(line, "d", limit === null ? "" : `M0 ${y(limit)}H${SECONDS}`);
  setAttribute(node, "aria-label", `The last minute: at most ${counted(most(0), "connection")} in use, ${most(1)} waiting.`);
}
