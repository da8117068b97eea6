// The sessions that have finished and were remarkable, each with its course as bars.

import { element, svg } from "./dom.js";
import { byId, routeColumn, WORKER } from "./sessions.js";
import { Table, text } from "./table.js";
import { seconds } from "./text.js";

const WIDTH = 1000;
const LANE = 14;
// The top and the height of each kind within the lane of its pool; a later kind is drawn over an earlier one.
const BARS = { hold: [0, 14], transaction: [4, 6], idle: [4, 6], wait: [4, 6], "early release": [6, 2] };
const NARROWEST = 3;

export function finishedTable(parent, filterBy) {
  return new Table(parent, {
    caption: "Finished sessions that were slow, failed, rolled back, retried or of unknown outcome", keyOf: byId,
    empty: "No session was remarkable so far.", few: 20,
    columns: [
      { title: "Ago", kind: "number", value: (item) => -item.ended_at, show: text((item) => seconds(item.now - item.ended_at)) },
      routeColumn(filterBy), WORKER,
      { title: "Took", kind: "number", value: (item) => item.duration, show: text((item) => seconds(item.duration)), once: true },
      { title: "Why it is here", kind: "reasons", value: (item) => item.reasons.join(), show: reasons },
      { title: "Course", kind: "course", show: course, once: true },
      { title: "Statements", kind: "number", value: (item) => item.statements, show: text((item) => item.statements), once: true },
      { title: "Trace", kind: "trace", show: text((item) => item.trace_id ?? ""), once: true },
    ],
  });
}

/** Add the reasons that are not shown yet, because a session is known to be retried only when it has ended. */
function reasons(cell, item) {
  for (const reason of item.reasons.slice(cell.children.length)) cell.append(element("span", { class: "tag", "data-reason": reason }, reason));
}

function course(cell, item) {
  const pools = [...new Set(item.parts.map((part) => part.pool))];
  const kinds = Object.keys(BARS);
  const parts = item.parts.toSorted((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind));
  const scale = WIDTH / (item.duration || 1);
  const height = LANE * Math.max(pools.length, 1);
  const drawn = svg("svg", { class: "course", viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", role: "img",
    "aria-label": told(item.parts) });
  drawn.style.height = `${height}px`;
  for (const part of parts) {
    const [top, tall] = BARS[part.kind] ?? BARS.hold;
    drawn.append(svg("rect", {
      class: part.kind.replace(" ", "-"), x: part.from * scale, y: top + LANE * pools.indexOf(part.pool),
      width: Math.max((part.to - part.from) * scale, NARROWEST), height: tall,
    }, svg("title", {}, `${part.kind} of ${part.pool}: ${seconds(part.to - part.from)}, from ${seconds(part.from)}`)));
  }
  cell.append(drawn);
}

/** Tell the course in words: the time of each kind. */
function told(parts) {
  const totals = new Map();
  for (const part of parts) totals.set(part.kind, (totals.get(part.kind) ?? 0) + part.to - part.from);
  return [...totals].map(([kind, total]) => `${kind} ${seconds(total)}`).join(", ");
}
