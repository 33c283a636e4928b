// The card of a candidate.

const GROUPS = [
  ["Is it stable?", ["e_above_hull", "e_above_hull_std", "p_stable", "e_above_user_hull", "decomposition", "e_above_hull_cubic", "p_leaves", "e_if_stays", "e_if_leaves"]],
  ["Is it a perovskite?", ["p_perovskite", "perovskite", "p_tilted", "tolerance_factor", "octahedral_factor", "tau", "radii_imputed", "a_angstrom"]],
  ["Chemistry", ["states", "charge_balanced", "redox", "state_reluctance", "band_gap", "hhi"]],
  ["How far to trust it", ["in_domain", "domain_distance", "in_training", "known_e_above_hull", "known_is_bound", "known_source", "known_id", "known_as"]],
];
let viewer = null;
let cardRow = -1;

function setUpCard() {
  const dialog = document.getElementById("card");
  dialog.addEventListener("close", () => {
    stopViewer();
    if (location.hash.startsWith("#candidate=")) history.replaceState(null, "", location.pathname + location.search);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && !event.target.closest("input, select, canvas")) walk(step);
  });
  window.addEventListener("hashchange", openFromHash);
  openFromHash();
}

/** A card can be linked to: its candidate's index is in the address. */
function openFromHash() {
  const [, index] = location.hash.match(/^#candidate=(\d+)$/) ?? [];
  if (index !== undefined && rowOfIndex(Number(index)) >= 0) openCard(rowOfIndex(Number(index)));
}

function openCard(row) {
  const dialog = document.getElementById("card");
  stopViewer();
  cardRow = row;
  history.replaceState(null, "", `#candidate=${valueOf("index", row)}`);
  dialog.replaceChildren(cardHead(row), cardBody(row));
  if (!dialog.open) dialog.showModal();
  document.getElementById("close-card").focus();
  dialog.scrollTop = 0;
  startViewer(row);
}

/** The card of the candidate before or after this one in the table. */
function walk(step) {
  const next = view.rows[view.rows.indexOf(cardRow) + step];
  if (next !== undefined) openCard(next);
}

function cardHead(row) {
  const place = view.rows.indexOf(row);
  const button = (label, text, step, there) =>
    make("button", { type: "button", "aria-label": label, disabled: !there, onclick: () => walk(step) }, text);
  return make("div", { class: "card-head" },
    make("h2", { id: "card-title" }, formulaNode(valueOf("formula", row))),
    make("span", { class: "badge" }, `rank ${row + 1} of ${countText(COUNT)}`),
    make("span", { class: "badge" }, `candidate ${valueOf("index", row)}`),
    button("Previous", "←", -1, place > 0),
    button("Next", "→", 1, place >= 0 && place < view.rows.length - 1),
    make("button", { type: "button", class: "primary", id: "close-card", onclick: () => document.getElementById("card").close() }, "Close"));
}

function cardBody(row) {
  return make("div", { class: "card-body" },
    make("p", { class: "whole" }, verdict(row)),
    make("div", {}, structurePart(row), neighbourPart(row)),
    make("div", {}, GROUPS.map(([title, names]) => facts(title, names, row)), furtherFacts(row)),
    make("div", { class: "whole" }, filterPart(row)));
}

/** What the numbers say, in a sentence or two. */
function verdict(row) {
  const [energy, deviation, p] = ["e_above_hull", "e_above_hull_std", "p_stable"].map((name) => valueOf(name, row));
  const parts = [`Predicted ${energyText(energy, deviation)} above the hull. `];
  if (p !== null) parts.push(`The probability that it lies at ${DATA.stable_at} eV/atom or below is ${numberText(p, 3)}. `);
  const known = valueOf("known_e_above_hull", row);
  const bound = valueOf("known_is_bound", row) ? " or lower" : "";
  if (known !== null) parts.push(`DFT puts it at ${numberText(known, 3)} eV/atom${bound}. It is in the training data, so this is hardly a prediction. `);
  else if (valueOf("in_training", row)) parts.push("This composition is in the training data. ");
  if (valueOf("in_domain", row) === 0) parts.push("The model was not trained on all of its elements on these sites, or on anything like them: do not rely on the numbers. ");
  if (valueOf("domain_distance", row) > 0) parts.push("An element, or the combination of anions, is new to the model: the error may be larger than σ suggests. ");
  return parts.join("");
}

function facts(title, names, row) {
  const hasValue = (name) => !["", null].includes(valueOf(name, row)) && (name !== "known_is_bound" || valueOf(name, row));
  const there = names.filter((name) => has(name) && hasValue(name));
  if (!there.length) return null;
  const lines = there.filter((name) => name !== "e_above_hull_std" || !has("e_above_hull")).map((name) => {
    const column = COLUMNS.get(name);
    const value = name === "e_above_hull" ? energyText(valueOf(name, row), valueOf("e_above_hull_std", row)) : withUnit(column, row);
    return make("tr", { title: column.meaning }, make("th", {}, column.label), make("td", {}, value));
  });
  return [make("h3", {}, title), make("table", { class: "facts" }, make("tbody", {}, lines))];
}

function withUnit(column, row) {
  const content = shownValue(column, row);
  return column.unit ? make("span", {}, content, ` ${column.unit}`) : content;
}

/** What no group has, such as the texts that came with a candidate. */
function furtherFacts(row) {
  const told = new Set(["rank", "formula", ...GROUPS.flatMap(([, names]) => names), ...(DATA.prototype?.sites ?? []), ...ROLES]);
  return facts("As it was given", DATA.columns.map((column) => column.name).filter((name) => !told.has(name)), row);
}

function structurePart(row) {
  const crystal = crystalOf(row);
  if (!crystal) {
    const why = DATA.prototype ? "Its model predicts no lattice constant." : `This page holds structures of the best ${countText(DATA.structures.length)} only; “screen rank --cif” writes all.`;
    return make("p", {}, `No structure to show. ${why}`);
  }
  const symbols = [...new Map(crystal.atoms.map((atom) => [`${atom.symbol} ${atom.role ?? ""}`, atom])).values()];
  const legend = symbols.map((atom) => make("span", {},
    make("i", { style: `background: ${colourOf(atom.symbol)}` }), atom.role ? `${atom.symbol} on ${atom.role}` : atom.symbol));
  const [a, b, c, ...angles] = cellOf(crystal.lattice).map((value, i) => numberText(value, i < 3 ? 3 : 1));
  const turn = make("button", { type: "button", id: "turn", onclick: turnOrStop }, "Stop");
  return [
    make("div", { class: "viewer", id: "viewer", role: "img", "aria-label": "The structure, rotating" }),
    make("div", { class: "legend" }, legend),
    make("p", { class: "small" }, `${crystal.atoms.length} atoms in the cell; a, b, c = ${a}, ${b}, ${c} Å; α, β, γ = ${angles.join("°, ")}°. `,
      DATA.prototype ? "Ideal positions with the predicted lattice constant, not relaxed. Drag to rotate." : "As it was given. Drag to rotate."),
    make("div", { class: "controls" },
      make("button", { type: "button", class: "primary", id: "save-cif", onclick: () => saveCif(row) }, "Download CIF"), turn),
  ];
}

function colourOf(symbol) {
  return `#${($3Dmol.elementColors.Jmol[symbol] ?? 0x999999).toString(16).padStart(6, "0")}`;
}

function startViewer(row) {
  const element = document.getElementById("viewer");
  const crystal = crystalOf(row);
  if (!element || !crystal) return;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  try {
    viewer = showCrystal(element, crystal, getComputedStyle(document.body).backgroundColor, !still);
  } catch {
    viewer = null; // without WebGL
  }
  const turn = document.getElementById("turn");
  turn.hidden = !viewer;
  turn.textContent = still ? "Rotate" : "Stop";
  if (!viewer) element.replaceChildren(make("p", { class: "hint", style: "padding: 1rem" }, "This browser cannot draw structures: it has no WebGL. Download the CIF instead."));
}

function turnOrStop(event) {
  const turning = event.target.textContent === "Stop";
  viewer.spin(turning ? false : "y", 0.4);
  event.target.textContent = turning ? "Rotate" : "Stop";
}

/** Let go of the browser's graphics, of which it has few. */
function stopViewer() {
  if (!viewer) return;
  viewer.spin(false);
  const canvas = document.querySelector("#viewer canvas");
  viewer.clear?.();
  canvas?.getContext("webgl2")?.getExtension("WEBGL_lose_context")?.loseContext();
  viewer = null;
}

/** The compositions of the training that are most like it. */
function neighbourPart(row) {
  const title = make("h3", {}, "Most similar in the training");
  if (!DATA.neighbours) return [title, make("p", { class: "small" }, "The model does not store its training data, or is gone.")];
  const lines = DATA.neighbours.of[row].map((place) => {
    const [formula, symbols, energy, isBound, id] = DATA.neighbours.known[place];
    return make("tr", {}, make("td", {}, formulaNode(formula), make("div", { class: "small" }, exchangedText(row, symbols))),
      make("td", { class: "number" }, energy === null ? "not stored" : `${isBound ? "≤ " : ""}${numberText(energy, 3)}`), make("td", { class: "small" }, id ?? ""));
  });
  const head = ["compound, and how it differs", "DFT, eV/atom above hull", DATA.source ? `row of ${DATA.source}` : "row"].map((text) => make("th", {}, text));
  return [title, make("div", { class: "scroll" }, make("table", { class: "facts lines" }, make("tbody", {}, make("tr", {}, head), lines)))];
}

/** What another composition has in place of the elements of a candidate, role by role. */
function exchangedText(row, symbols) {
  const { roles } = DATA.prototype;
  const told = ROLES.flatMap((role) => {
    const rest = symbols.filter((_, site) => roles[site] === role);
    const gone = DATA.species[row].filter((_, site) => roles[site] === role).map((z) => DATA.symbols[z]).filter((symbol) => {
      const at = rest.indexOf(symbol);
      if (at >= 0) rest.splice(at, 1);
      return at < 0;
    });
    return rest.length ? [`${[...new Set(rest)].join(", ")} for ${[...new Set(gone)].join(", ")} on ${role}`] : [];
  });
  return told.join("; ") || "this very composition";
}

/** The filters of the run, which every candidate here passed, with its values. */
function filterPart(row) {
  if (!DATA.filters.length) return null;
  const lines = DATA.filters.map(({ text, meaning, column }) => make("tr", {},
    make("td", {}, make("code", {}, text)), make("td", {}, meaning),
    make("td", { class: "number" }, has(column) ? cellText(COLUMNS.get(column), valueOf(column, row)) : "passed")));
  const head = ["filter", "what passes", "this one"].map((text) => make("th", {}, text));
  return [make("h3", {}, "Filters it passed"),
    make("div", { class: "scroll" }, make("table", { class: "facts lines" }, make("tbody", {}, make("tr", {}, head), lines)))];
}
