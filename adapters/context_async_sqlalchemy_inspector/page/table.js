// A table whose rows stay in place while their cells change, with headings that sort.

import { element, setAttribute, setText, showList } from "./dom.js";
import { counted } from "./text.js";

const FEW = 50;
const MORE = 200;

export class Table {
  /**
   * columns: {title, kind, show(cell, item), value(item), once}. A column with `value` can be sorted by it. `kind` is the
   * class of its cells. `once` is for cells that never change, because their item does not.
   */
  constructor(parent, { caption, columns, keyOf, empty, few = FEW, shownCaption = false }) {
    this.columns = columns;
    this.keyOf = keyOf;
    this.few = few;
    this.sorted = null;
    this.most = few;
    this.items = [];
    this.body = element("tbody");
    this.headings = columns.map((column) => this.heading(column));
    this.table = element("table", {},
      element("caption", { class: shownCaption ? "shown" : "hidden" }, caption),
      element("thead", {}, element("tr", {}, ...this.headings)), this.body);
    this.empty = element("p", { class: "empty" }, empty);
    this.more = element("button", { type: "button", class: "more" });
    this.more.addEventListener("click", () => {
      this.most = this.most < this.items.length ? this.most + MORE : this.few;
      this.draw();
    });
    parent.append(element("div", { class: "scroll" }, this.table), this.empty, this.more);
  }

  heading(column) {
    const cell = element("th", { scope: "col", class: column.kind ?? "" });
    if (!column.value) {
      cell.append(column.title);
      return cell;
    }
    const button = element("button", { type: "button" }, column.title);
    button.addEventListener("click", () => this.sortBy(column));
    cell.append(button);
    cell.setAttribute("aria-sort", "none");
    return cell;
  }

  /** First the largest number or the first name, then the other way round, then as the server has it. */
  sortBy(column) {
    const first = column.kind === "number" ? -1 : 1;
    if (this.sorted?.column !== column) this.sorted = { column, direction: first };
    else this.sorted = this.sorted.direction === first ? { column, direction: -first } : null;
    this.columns.forEach((other, index) => {
      if (!other.value) return;
      const direction = this.sorted?.column === other ? this.sorted.direction : 0;
      this.headings[index].setAttribute("aria-sort", ["descending", "none", "ascending"][direction + 1]);
    });
    this.draw();
  }

  show(items) {
    this.items = items;
    this.draw();
  }

  draw() {
    let items = this.items;
    if (this.sorted) {
      const { column: { value }, direction } = this.sorted;
      items = items.toSorted((a, b) => direction * (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0));
    }
    const shown = items.slice(0, this.most);
    showList(this.body, shown, this.keyOf, (item) => this.row(item), (row, item) => this.update(row, item));
    this.table.hidden = items.length === 0;
    this.empty.hidden = items.length > 0;
    this.more.hidden = items.length <= this.few;
    const others = items.length - shown.length;
    setText(this.more, others ? `Show ${Math.min(others, MORE)} more of ${counted(items.length, "row")}` : `Show the first ${this.few} only`);
  }

  row(item) {
    const row = element("tr");
    for (const column of this.columns) {
      const cell = element("td", { "data-title": column.title, class: column.kind ?? "" });
      if (column.once) column.show(cell, item);
      row.append(cell);
    }
    return row;
  }

  update(row, item) {
    this.columns.forEach((column, index) => {
      if (!column.once) column.show(row.cells[index], item);
    });
  }
}

/** Make the function of a column that shows text. */
export function text(of) {
  return (cell, item) => setText(cell, of(item));
}

/** Make the function of a column that shows a share as a bar with its number. */
export function bar(of, written) {
  return (cell, item) => {
    if (!cell.firstElementChild) {
      cell.append(element("span"), element("span", { class: "bar", "aria-hidden": "true" }, element("i")));
    }
    const share = of(item);
    setText(cell.firstElementChild, written(share, item));
    cell.lastElementChild.firstElementChild.style.width = `${Math.min(share ?? 0, 1) * 100}%`;
    setAttribute(cell, "data-level", share >= 0.7 ? "high" : share >= 0.3 ? "some" : "low");
  };
}
