// Values as people read them, and elements of the page. Texts are only ever text: nothing here reads HTML.

/** An element of the page: attributes, or handlers whose names begin with "on"; children are elements or texts. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** A number with so many decimals and a true minus sign; nothing for null. */
function numberText(value, decimals) {
  if (value === null || value === undefined) return "";
  const text = value.toFixed(decimals);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

/** A count with separators. */
function countText(value) {
  return value.toLocaleString("en-US");
}

/** A value of a column as text. */
function cellText(column, value) {
  if (value === null || value === undefined) return "";
  if (column.kind === "number") return numberText(value, column.decimals);
  if (column.kind === "flag") return value ? "yes" : "no";
  return value;
}

/** A formula with its numbers below the line. */
function formulaNode(formula) {
  if (!/^[A-Za-z0-9().]+$/.test(formula)) return make("span", {}, formula);
  const parts = formula.split(/(\d+(?:\.\d+)?)/);
  return make("span", { class: "formula" }, parts.map((part, i) => (i % 2 ? make("sub", {}, part) : part)));
}

/** Oxidation states, such as "Ca2+ Ti4+ O2-", with the charges above the line. */
function statesNode(states) {
  const ions = states.split(" ").map((ion) => {
    const [, symbol, charge] = ion.match(/^([A-Z][a-z]?)(\d*(?:\.\d+)?[+-])$/) ?? [];
    return symbol ? [symbol, make("sup", {}, charge.replace("-", "−")), " "] : [ion, " "];
  });
  return make("span", {}, ions.flat());
}

/** A cell's content. */
function cellNode(column, value) {
  if (value === null || value === undefined || value === "") return "";
  if (column.name === "formula") return formulaNode(value);
  if (column.name === "states") return statesNode(value);
  return cellText(column, value);
}

/** A candidate's value of a column, as `cellNode`; a bound of an energy says that it is one. */
function shownValue(column, row) {
  const value = valueOf(column.name, row);
  const isBound = column.name === "known_e_above_hull" && value !== null && valueOf("known_is_bound", row);
  return isBound ? `≤ ${cellText(column, value)}` : cellNode(column, value);
}

/** A heading: label, and unit if there is one. */
function headingText(column) {
  return column.unit ? `${column.label} (${column.unit})` : column.label;
}

/** An energy with its deviation. */
function energyText(energy, deviation) {
  const told = numberText(energy, 3);
  return deviation === null ? `${told} eV/atom` : `${told} ± ${numberText(deviation, 3)} eV/atom`;
}

/** Give the reader a file. */
function saveFile(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** A text as a part of a file's name. */
function fileName(text) {
  return text.replace(/[^A-Za-z0-9.+-]+/g, "_").replace(/^[._]+/, "").slice(0, 80) || "candidate";
}
