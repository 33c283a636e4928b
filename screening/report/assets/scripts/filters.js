// What the reader looks at: filters, search and order; and who is told when these change.

const view = { filters: [], search: "", sort: { name: "rank", descending: false }, rows: [] };
const watchers = [];

/** Whether a candidate passes a filter. */
function passes(filter, row) {
  if (filter.kind === "element") return elementsOf(row, filter.role).includes(filter.element) === !filter.without;
  const value = valueOf(filter.name, row);
  if (filter.kind === "flag") return Boolean(value) === filter.wanted;
  if (filter.kind === "text") {
    if (isSite(filter.name)) return filter.text.split(/[\s,;]+/).includes(value);
    return String(value ?? "").toLowerCase().includes(filter.text.toLowerCase());
  }
  return value !== null && value >= (filter.low ?? -Infinity) && value <= (filter.high ?? Infinity);
}

/** Whether a column is a site, with the symbol of an element. */
function isSite(name) {
  return Boolean(DATA.prototype) && [...DATA.prototype.sites, ...ROLES].includes(name);
}

/** A filter in words. */
function filterText(filter) {
  if (filter.kind === "element") {
    const where = filter.role ? ` on ${filter.role}` : "";
    return filter.without ? `no ${filter.element}${where}` : `${filter.element}${where}`;
  }
  const { label } = COLUMNS.get(filter.name);
  if (filter.kind === "flag") return `${label}: ${filter.wanted ? "yes" : "no"}`;
  if (filter.kind === "text") return isSite(filter.name) ? `${filter.text} on ${label}` : `${label} has “${filter.text}”`;
  const [low, high] = [filter.low, filter.high].map((limit) => String(limit ?? "").replace("-", "−"));
  if (filter.low === undefined) return `${label} ≤ ${high}`;
  return filter.high === undefined ? `${label} ≥ ${low}` : `${low} ≤ ${label} ≤ ${high}`;
}

/** What a search asks for: words that name an element ask for it, with a minus before them for none of it. */
function searchTests(search) {
  const symbols = new Set(DATA.symbols.slice(1));
  return search.split(/[\s,;]+/).filter(Boolean).map((word) => {
    const [, minus, symbol] = word.match(/^([-−]?)(.*)$/);
    if (symbols.has(symbol)) return (row) => passes({ kind: "element", element: symbol, without: Boolean(minus) }, row);
    const wanted = word.toLowerCase();
    const parts = partsOf(word);
    return (row) => searchable(row).includes(wanted) || (parts !== "" && partsOf(DATA.rows.formula[row]) === parts);
  });
}

/** Elements and numbers of a formula in one order, so that Cs2YAgCl6 finds Cs2AgYCl6; empty if it is no formula. */
function partsOf(formula) {
  const parts = formula.match(/[A-Z][a-z]?\d*/g) ?? [];
  return parts.length > 2 && parts.join("") === formula ? [...parts].sort().join(" ") : "";
}

const searchable = (() => {
  const known = [];
  const names = DATA.columns.filter((column) => column.kind === "text").map((column) => column.name);
  return (row) => (known[row] ??= names.map((name) => DATA.rows[name][row] ?? "").join("\n").toLowerCase());
})();

/** Compare two candidates by the column that decides; those without a value come last. */
function comparison({ name, descending }) {
  const cells = DATA.rows[name];
  const absent = (value) => value === null || value === undefined || value === "";
  const collate = new Intl.Collator("en", { numeric: true }).compare;
  return (one, other) => {
    const [a, b] = [cells[one], cells[other]];
    if (absent(a) || absent(b)) return absent(a) - absent(b) || one - other;
    const order = typeof a === "number" ? a - b : collate(a, b);
    return (descending ? -order : order) || one - other;
  };
}

/** Work out the candidates to show, and tell all who show them. */
function refresh() {
  const tests = [...searchTests(view.search), ...view.filters.map((filter) => (row) => passes(filter, row))];
  const rows = [];
  for (let row = 0; row < COUNT; row += 1) if (tests.every((test) => test(row))) rows.push(row);
  view.rows = rows.sort(comparison(view.sort));
  watchers.forEach((watcher) => watcher());
}

/** Put filters in place of those of the same column or role. */
function setFilters(...filters) {
  const key = (filter) => `${filter.kind === "element" ? "element" : filter.name} ${filter.role ?? ""}`;
  const keys = new Set(filters.map(key));
  view.filters = [...view.filters.filter((filter) => !keys.has(key(filter))), ...filters];
  refresh();
}

/** Take a filter away. */
function dropFilter(filter) {
  view.filters = view.filters.filter((other) => other !== filter);
  refresh();
}

/** Sort by a column; by the one that decides already the other way round. */
function sortBy(name) {
  const upwards = !view.sort.descending;
  const largestFirst = ["flag", "number"].includes(COLUMNS.get(name).kind) && /^(p_|in_|charge|band_gap|redox)/.test(name);
  view.sort = { name, descending: view.sort.name === name ? upwards : largestFirst };
  refresh();
}

/** The controls above the table. */
function setUpFilters() {
  const search = document.getElementById("search");
  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { view.search = search.value; refresh(); }, 120);
  });
  document.getElementById("quick").append(...quickFilters().map(quickControl));
  const form = document.getElementById("filter-form");
  showFilterForm(form, COLUMNS.has("e_above_hull") ? "e_above_hull" : "rank");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const filter = readFilter(form);
    if (filter) setFilters(filter);
    document.getElementById("add-filter").open = false;
  });
  watchers.push(showChips);
}

/** Filters at hand: those that leave out some of the candidates, and not all. */
function quickFilters() {
  const choices = [
    ["stable more likely than not", { kind: "range", name: "p_stable", low: 0.5 }],
    ["in domain", { kind: "flag", name: "in_domain", wanted: true }],
    ["not in training", { kind: "flag", name: "in_training", wanted: false }],
  ];
  return choices.filter(([, filter]) => {
    if (!has(filter.name)) return false;
    const rows = DATA.rows.index.reduce((passed, _, row) => passed + passes(filter, row), 0);
    return rows > 0 && rows < COUNT;
  });
}

function quickControl([label, filter]) {
  const box = make("input", { type: "checkbox" });
  box.addEventListener("change", () => (box.checked ? setFilters(filter) : dropFilter(filter)));
  watchers.push(() => { box.checked = view.filters.includes(filter); });
  return make("label", {}, box, ` ${label}`);
}

/** Fields for a filter of a column, which is chosen in the first. */
function showFilterForm(form, name) {
  const choice = make("select", { name: "column", "aria-label": "Column" },
    DATA.columns.map((column) => make("option", { value: column.name, selected: column.name === name }, headingText(column))));
  choice.addEventListener("change", () => showFilterForm(form, choice.value));
  const column = COLUMNS.get(name);
  const numbers = (label, field) => make("label", {}, `${label} `, make("input", { type: "number", step: "any", name: field }));
  const fields = {
    number: () => [numbers("from", "low"), numbers("to", "high")],
    flag: () => [make("select", { name: "wanted", "aria-label": "Value" }, make("option", { value: "1" }, "yes"), make("option", { value: "" }, "no"))],
    text: () => [make("input", { type: "text", name: "text", placeholder: isSite(name) ? "such as Ca, Sr" : "contains …", "aria-label": "Text" })],
  };
  form.replaceChildren(choice, make("p", { class: "small" }, column.meaning), ...fields[column.kind](),
    make("button", { class: "primary" }, "Filter"));
}

/** The filter that a form describes; null where it says nothing. */
function readFilter(form) {
  const given = Object.fromEntries(new FormData(form));
  const name = given.column;
  const { kind } = COLUMNS.get(name);
  if (kind === "flag") return { kind: "flag", name, wanted: Boolean(given.wanted) };
  if (kind === "text") return given.text ? { kind: "text", name, text: given.text } : null;
  const limit = (text) => (text === "" ? undefined : Number(text));
  const [low, high] = [limit(given.low), limit(given.high)];
  return low === undefined && high === undefined ? null : { kind: "range", name, low, high };
}

function showChips() {
  const chips = view.filters.map((filter) => {
    const remove = { type: "button", "aria-label": `Remove the filter ${filterText(filter)}`, onclick: () => dropFilter(filter) };
    return make("button", remove, `${filterText(filter)} ✕`);
  });
  document.getElementById("chips").replaceChildren(...chips);
}
