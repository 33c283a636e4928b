"use strict";
// The run as the page got it: columns of the listed candidates, by their place in the ranking from 0 on.

const DATA = JSON.parse(document.getElementById("data").textContent);
const COUNT = DATA.rows.index.length;
const ROLES = DATA.prototype ? [...new Set(DATA.prototype.roles)] : [""];

DATA.rows.rank = DATA.rows.index.map((_, row) => row + 1);
DATA.columns.unshift({
  name: "rank", label: "#", unit: "", meaning: "place in the ranking of this report", kind: "number", decimals: 0, hidden: false,
});
const COLUMNS = new Map(DATA.columns.map((column) => [column.name, column]));

/** The value of a column for a candidate; null where there is none. */
function valueOf(name, row) {
  const cells = DATA.rows[name];
  return cells === undefined ? null : cells[row];
}

/** Whether the report has a column. */
function has(name) {
  return COLUMNS.has(name);
}

/** Symbols of the elements on the sites of a role, or of all. */
const elementsOf = (() => {
  const found = new Map();
  const work = (row, role) => {
    if (!DATA.prototype) return [...new Set(DATA.rows.formula[row].match(/[A-Z][a-z]?/g) ?? [])];
    const { roles } = DATA.prototype;
    const numbers = DATA.species[row].filter((_, site) => role === undefined || roles[site] === role);
    return [...new Set(numbers.map((z) => DATA.symbols[z]))];
  };
  return (row, role) => {
    if (!found.has(role)) found.set(role, []);
    return (found.get(role)[row] ??= work(row, role));
  };
})();

/** The candidate of the run with an index; -1 if it is not listed. */
const rowOfIndex = (() => {
  const rows = new Map(DATA.rows.index.map((index, row) => [index, row]));
  return (index) => rows.get(index) ?? -1;
})();
