// The table: all candidates can be scrolled to, but only the rows in sight are in the page.

const ROW_HEIGHT = 30;
const BEYOND = 12; // rows above and below what is in sight
const ON_PAPER = 50;
const PAPER_COLUMNS = new Set(["rank", "formula", "id", "e_above_hull", "e_above_hull_std", "p_stable", "p_perovskite", "p_tilted", "band_gap",
  "states", "perovskite", "known_e_above_hull"]);
const shownColumns = new Set(DATA.columns.filter((column) => !column.hidden).map((column) => column.name));
let tableBody;
let inSight = [0, 0];
let onPaper = false;

/** The columns that are shown; on paper those for which it is wide enough. */
function columnsShown() {
  return DATA.columns.filter((column) => (onPaper ? PAPER_COLUMNS : shownColumns).has(column.name));
}

/** Make the table, its menu of columns, and the button that saves it. */
function setUpTable() {
  const frame = document.getElementById("table");
  frame.addEventListener("scroll", () => requestAnimationFrame(() => showRows(false)), { passive: true });
  new ResizeObserver(() => showRows(true)).observe(frame);
  if (window.innerWidth <= 700) narrowColumns();
  const boxes = DATA.columns.map((column) => {
    const box = make("input", { type: "checkbox", checked: shownColumns.has(column.name) });
    box.addEventListener("change", () => {
      if (box.checked) shownColumns.add(column.name);
      else shownColumns.delete(column.name);
      showHead();
      showRows(true);
    });
    return make("label", { title: column.meaning }, box, ` ${headingText(column)}`);
  });
  document.getElementById("column-list").append(...boxes);
  document.getElementById("save-csv").addEventListener("click", saveTable);
  showHead();
  watchers.push(() => {
    frame.scrollTop = 0;
    const all = `${countText(COUNT)} ${COUNT === 1 ? "candidate" : "candidates"}`;
    document.getElementById("count").textContent = view.rows.length === COUNT ? all : `${countText(view.rows.length)} of ${all}`;
    showSort();
    showRows(true);
  });
}

/** On a narrow screen only what decides is shown at first. */
function narrowColumns() {
  const first = ["formula", "id", "e_above_hull", "e_above_hull_std", "p_stable", "p_perovskite", "states", "perovskite"];
  shownColumns.clear();
  first.filter(has).forEach((name) => shownColumns.add(name));
}

/** Characters that a column needs at most. */
function widthOf(column) {
  const cells = DATA.rows[column.name];
  let widest = 3;
  for (const cell of cells) widest = Math.max(widest, cellText(column, cell).length);
  return Math.min(widest, 34);
}

function showHead() {
  const heads = columnsShown().map((column) => {
    const sort = make("button", { type: "button", title: column.meaning, onclick: () => sortBy(column.name) },
      make("span", {}, column.label), make("small", {}, column.unit));
    const look = { scope: "col", "data-name": column.name, class: cellClass(column), style: `min-width: calc(${widthOf(column)}ch + 1.3rem)` };
    return make("th", look, sort);
  });
  tableBody = make("tbody");
  const table = make("table", {}, make("thead", {}, make("tr", {}, heads)), tableBody);
  document.getElementById("table").replaceChildren(table);
  showSort();
}

function cellClass(column) {
  const pinned = column.name === "formula" ? "pinned" : "";
  return `${column.kind === "number" ? "number" : ""} ${pinned}`.trim();
}

function showSort() {
  for (const head of document.querySelectorAll("#table th")) {
    const decides = head.dataset.name === view.sort.name;
    if (decides) head.setAttribute("aria-sort", view.sort.descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

/** Put the rows in sight into the page; nothing happens if they are there, unless it is asked for. */
function showRows(anew) {
  if (onPaper) return;
  const frame = document.getElementById("table");
  const first = Math.max(0, Math.floor(frame.scrollTop / ROW_HEIGHT) - BEYOND);
  const last = Math.min(view.rows.length, Math.ceil((frame.scrollTop + frame.clientHeight) / ROW_HEIGHT) + BEYOND);
  if (!anew && first === inSight[0] && last === inSight[1]) return;
  inSight = [first, last];
  fillBody(first, last);
}

function fillBody(first, last) {
  const columns = columnsShown();
  const rows = view.rows.slice(first, last).map((row) => tableRow(row, columns));
  const gap = (count) => make("tr", { class: "spacer", "aria-hidden": "true" },
    make("td", { colspan: columns.length, style: `height: ${count * ROW_HEIGHT}px` }));
  const none = make("tr", {}, make("td", { class: "empty", colspan: columns.length }, "No candidate passes these filters."));
  tableBody.replaceChildren(gap(first), ...(view.rows.length ? rows : [none]), gap(view.rows.length - last));
}

function tableRow(row, columns) {
  const cells = columns.map((column) => {
    const value = valueOf(column.name, row);
    const flag = ["in_domain", "charge_balanced"].includes(column.name) ? (value ? "yes" : "no") : "";
    const title = column.kind === "text" && String(value ?? "").length > 24 ? value : null;
    return make("td", { class: `${cellClass(column)} ${flag}`.trim(), title }, shownValue(column, row));
  });
  const open = () => openCard(row);
  return make("tr", { tabindex: "0", "data-row": row, onclick: open, onkeydown: (event) => event.key === "Enter" && open() }, cells);
}

/** On paper the first candidates are shown, whatever is in sight; afterwards these again. */
function showOnPaper(begins) {
  onPaper = begins;
  showHead();
  if (!begins) {
    showRows(true);
    return;
  }
  const shown = Math.min(ON_PAPER, view.rows.length);
  fillBody(0, shown);
  tableBody.lastChild.remove();
  document.getElementById("print-note").textContent =
    `The first ${shown} of ${countText(view.rows.length)} candidates${view.filters.length ? `, filtered: ${view.filters.map(filterText).join("; ")}` : ""}.`;
}

/** A cell of a CSV file; a text that a spreadsheet would take for a formula has an apostrophe before it. */
function csvCell(value) {
  if (value === null || value === undefined) return "";
  const text = String(value);
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Save the candidates that pass the filters, in their order, with all columns. */
function saveTable() {
  const names = ["index", ...DATA.columns.map((column) => column.name)];
  const lines = view.rows.map((row) => names.map((name) => {
    const value = valueOf(name, row);
    return csvCell(COLUMNS.get(name)?.kind === "flag" ? Boolean(value) : value);
  }).join(","));
  saveFile(`${fileName(document.querySelector("h1").textContent)}.csv`, `${[names.join(","), ...lines].join("\n")}\n`, "text/csv");
}
