// The open sessions, who waits for whom, the routes, and the sessions that are blocked on the server.

import { element, setAttribute, setText, showList } from "./dom.js";
import { bar, Table, text } from "./table.js";
import { counted, percent, seconds } from "./text.js";

export const WORKER = { title: "Worker", kind: "worker", value: (item) => item.worker.pid, show: text((item) => item.worker.name) };

export const byId = (item) => `${item.worker.key} ${item.id ?? item.session}`;

export function heldLongest(session) {
  return Math.max(0, ...session.connections.map((connection) => connection.held));
}

/** Make a column with the route, which filters by it when it is pressed. */
export function routeColumn(filterBy) {
  return {
    title: "Route", kind: "route", value: (item) => item.route,
    show(cell, item) {
      if (!cell.firstElementChild) {
        const button = element("button", { type: "button", title: "Filter by this route" });
        button.addEventListener("click", () => filterBy(button.textContent));
        cell.append(button, element("span", { class: "tag" }));
      }
      setText(cell.firstElementChild, item.route);
      setText(cell.lastElementChild, item.kind && item.kind !== "request" ? item.kind : "");
    },
  };
}

function state(cell, session) {
  setText(cell, session.state);
  setAttribute(cell, "data-state", session.state);
}

function connections(session) {
  return session.connections.map(({ pool, backend_pid: pid }) => (pid ? `${pool} · ${pid}` : pool)).join(", ");
}

export function sessionsTable(parent, filterBy) {
  return new Table(parent, {
    caption: "Open sessions, those that hold a connection for the longest first", keyOf: byId, empty: "No session is open.",
    columns: [
      routeColumn(filterBy), WORKER,
      { title: "State", kind: "state", value: (session) => session.state, show: state },
      { title: "Age", kind: "number", value: (session) => session.age, show: text((session) => seconds(session.age)) },
      { title: "Held", kind: "number", value: heldLongest,
        show: text((session) => (session.connections.length ? seconds(heldLongest(session)) : "")) },
      { title: "Idle", kind: "number", value: (session) => session.idle_share,
        show: bar((session) => session.idle_share, (share, session) => (session.connections.length ? percent(share) : "")) },
      { title: "Awaits", kind: "line", value: (session) => session.awaiting ?? "", show: text((session) => session.awaiting ?? "") },
      { title: "Connection", kind: "connection", value: connections, show: text(connections) },
      { title: "Transactions", kind: "number", value: (session) => session.transactions, show: text((session) => session.transactions) },
      { title: "Statements", kind: "number", value: (session) => session.statements, show: text((session) => session.statements) },
    ],
  });
}

export function routesTable(parent, filterBy) {
  return new Table(parent, {
    caption: "Routes of the last 5 minutes by the time that they held a connection idle", empty: "No route has held a connection.",
    keyOf: (route) => `${route.worker.key} ${route.route}`,
    columns: [
      routeColumn(filterBy), WORKER,
      { title: "Held idle", kind: "number", value: (route) => route.held_idle, show: text((route) => seconds(route.held_idle)) },
      { title: "Of held", kind: "number", value: (route) => route.held_idle / (route.held || 1),
        show: bar((route) => route.held_idle / (route.held || 1), (share, route) => `${percent(share)} of ${seconds(route.held)}`) },
      { title: "Sessions", kind: "number", value: (route) => route.sessions, show: text((route) => route.sessions) },
      { title: "Early releases", kind: "number", value: (route) => route.early_releases, show: text((route) => route.early_releases) },
      { title: "Change", kind: "wide", show: text((route) => route.text) },
    ],
  });
}

export function blockedTable(parent) {
  return new Table(parent, {
    caption: "Statements that wait for a lock", keyOf: byId, empty: "No statement is blocked.",
    columns: [
      { title: "Session", kind: "route", show: text((item) => item.route ?? `session ${item.session}`) }, WORKER,
      { title: "For", kind: "number", value: (item) => item.seconds, show: text((item) => seconds(item.seconds)) },
      { title: "Backend", kind: "number", show: text((item) => item.backend_pid) },
      { title: "Blocked by backends", kind: "number", show: text((item) => item.blocked_by.join(", ")) },
    ],
  });
}

/** Show each pool that sessions wait for: their routes on one side, the routes that hold its connections on the other. */
export function showWaiting(parent, pools, filterBy) {
  showList(parent, pools, (pool) => `${pool.worker.key} ${pool.key}`, () => createSides(filterBy), (node, pool) => {
    setText(node.parts.title, `Pool ${pool.name}`);
    setText(node.parts.worker, pool.worker.name);
    node.parts.waiting.show(waitingRoutes(pool));
    node.parts.holding.show(holdingRoutes(pool));
  });
}

function createSides(filterBy) {
  const node = element("div", { class: "card sides" });
  const title = element("h3");
  const worker = element("span", { class: "tag worker" });
  const left = element("div");
  const right = element("div");
  node.append(element("div", { class: "title" }, title, worker), left, right);
  const keyOf = (item) => item.key;
  const waiting = new Table(left, {
    caption: "These wait", shownCaption: true, keyOf, empty: "The sessions that wait are not known.",
    columns: [routeColumn(filterBy),
      { title: "Sessions", kind: "number", show: text((item) => item.count) },
      { title: "Up to", kind: "number", show: text((item) => seconds(item.longest)) }],
  });
  const holding = new Table(right, {
    caption: "for these, which hold its connections", shownCaption: true, keyOf, empty: "The sessions that hold them are not known.",
    columns: [routeColumn(filterBy),
      { title: "Holds", kind: "number", show: text((item) => counted(item.count, "connection")) },
      { title: "Up to", kind: "number", show: text((item) => seconds(item.longest)) },
      { title: "Idle", kind: "number", show: bar((item) => item.idle / (item.held || 1), percent) },
      { title: "Awaits", kind: "line", show: text((item) => item.line) }],
  });
  node.parts = { title, worker, waiting, holding };
  return node;
}

function waitingRoutes(pool) {
  const routes = new Map();
  for (const { route, waited } of pool.waiters) {
    const entry = routes.get(route) ?? { key: route, route, count: 0, longest: 0 };
    entry.count += 1;
    entry.longest = Math.max(entry.longest, waited);
    routes.set(route, entry);
  }
  return [...routes.values()].sort((a, b) => b.longest - a.longest);
}

/** Group the holders by their route and the line that they await. */
function holdingRoutes(pool) {
  const routes = new Map();
  for (const id of pool.holders) {
    const session = pool.worker.byId.get(id);
    if (!session) continue;
    const line = session.awaiting ?? "";
    const key = `${session.route}\n${line}`;
    const entry = routes.get(key) ?? { key, route: session.route, line, count: 0, longest: 0, held: 0, idle: 0 };
    for (const connection of session.connections) {
      if (connection.pool_key !== pool.key) continue;
      entry.count += 1;
      entry.longest = Math.max(entry.longest, connection.held);
      entry.held += connection.held;
      entry.idle += connection.idle;
    }
    routes.set(key, entry);
  }
  return [...routes.values()].sort((a, b) => b.idle - a.idle);
}
