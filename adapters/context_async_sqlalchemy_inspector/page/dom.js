// Helpers for the document. Names of routes and pools are data: they become text, and never markup.

const SVG = "http://www.w3.org/2000/svg";

/** Return a new element with attributes and children, which are elements or text. */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Return a new element of SVG. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Set the text of an element. An unchanged text is left alone, so that the browser has nothing to lay out again. */
export function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

const rowsOf = new WeakMap();

/**
 * Show a list: one child of the parent for each item, kept by key, so that focus, selection and scrolling stay.
 * `create(item)` makes a child, and `update(child, item)` brings it up to date.
 */
export function showList(parent, items, keyOf, create, update) {
  const focused = document.activeElement;
  const rows = rowsOf.get(parent) ?? new Map();
  const kept = new Map(items.map((item) => [String(keyOf(item)), item]));
  for (const [key, row] of rows) if (!kept.has(key)) row.remove();
  const next = new Map();
  let place = parent.firstElementChild;
  for (const [key, item] of kept) {
    const row = rows.get(key) ?? create(item);
    update(row, item);
    next.set(key, row);
    if (row === place) place = place.nextElementSibling;
    else parent.insertBefore(row, place);
  }
  rowsOf.set(parent, next);
  // A row that moves loses the focus.
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
}
