// The periodic table of where the best are.

/** Column and row of an element; the f block stands below. */
function placeInTable(z) {
  if (z >= 57 && z <= 70) return [z - 57 + 2, 7.4];
  if (z >= 89) return [z - 89 + 2, 8.4];
  const noble = [0, 2, 10, 18, 36, 54, 86, 118];
  const period = noble.findIndex((last) => z <= last);
  const after = z - noble[period - 1];
  const size = noble[period] - noble[period - 1];
  if (period === 1) return [z === 1 ? 0 : 17, 0];
  if (after <= 2) return [after - 1, period - 1];
  return [17 - (size - after), period - 1];
}

const SHADES = [
  ["share", "share expected to be stable", ([, count, expected]) => expected / count],
  ["energy", "lowest energy above hull", ([, , , energy]) => energy],
  ["table", "number in the table now", ([symbol], role) => countInTable(symbol, role)],
];
const periodic = { role: Object.keys(DATA.elements)[0], shade: "share" };

function setUpPeriodic() {
  const roles = Object.keys(DATA.elements).filter((role) => DATA.elements[role].length);
  if (!roles.length) {
    document.getElementById("elements-figure").hidden = true;
    return;
  }
  [periodic.role] = roles;
  const fit = (width) => 9.5 * cellSize(width) + 8;
  const entry = addChart("elements", periodicOptions, ({ data }) => data.told && goToTable({ kind: "element", element: data.told[0], role: periodic.role || undefined }), fit);
  const again = () => { updateTableCounts(); entry.draw(); };
  const buttons = roles.filter(Boolean).map((role) => {
    const press = () => { periodic.role = role; again(); buttons.forEach((other) => other.setAttribute("aria-pressed", other === button)); };
    const button = make("button", { type: "button", "aria-pressed": String(role === periodic.role), onclick: press }, `On ${role}`);
    return button;
  });
  const choice = make("select", { "aria-label": "What the colour says" }, SHADES.map(([name, text]) => make("option", { value: name }, text)));
  choice.addEventListener("change", () => { periodic.shade = choice.value; again(); });
  document.getElementById("elements-controls").append(...buttons, make("label", {}, "Colour: ", choice));
  watchers.push(afterwards(() => { if (periodic.shade === "table") again(); }));
}

let tableCounts = new Map();

function updateTableCounts() {
  tableCounts = new Map();
  if (periodic.shade !== "table") return;
  view.rows.forEach((row) => elementsOf(row, periodic.role || undefined).forEach((symbol) => tableCounts.set(symbol, (tableCounts.get(symbol) ?? 0) + 1)));
}

function countInTable(symbol) {
  return tableCounts.get(symbol) ?? 0;
}

/** Pixels of an element's cell. */
function cellSize(width) {
  return Math.min((width - 8) / 18, 52);
}

function periodicOptions(width) {
  const [, , shadeOf] = SHADES.find(([name]) => name === periodic.shade);
  const entries = new Map(DATA.elements[periodic.role].map((entry) => [entry[0], entry]));
  const cells = DATA.symbols.map((symbol, z) => {
    const told = entries.get(symbol);
    const value = told ? shadeOf(told, periodic.role) : null;
    return { name: symbol, value: [...placeInTable(z), value], told };
  }).slice(1);
  const there = cells.filter((cell) => cell.told);
  const values = there.map((cell) => cell.value[2]);
  const isEnergy = periodic.shade === "energy";
  const [least, most] = isEnergy ? energyRange(values) : [0, Math.max(...values, periodic.shade === "share" ? 0.01 : 1)];
  const size = cellSize(width);
  const cellShape = (params, api) => {
    const [x, y] = api.coord([api.value(0), api.value(1)]);
    const cell = params.dataInsideLength && (params.seriesIndex ? there : cells)[params.dataIndex];
    const fill = params.seriesIndex ? api.visual("color") : colour("panel");
    return {
      type: "rect", shape: { x: x - size / 2 + 1, y: y - size / 2 + 1, width: size - 2, height: size - 2, r: 2 },
      style: { fill }, emphasis: { style: { stroke: colour("ink"), lineWidth: 1.5 } },
      textContent: { style: { text: cell.name, fill: params.seriesIndex ? inkOn(fill) : colour("soft"), fontSize: size > 30 ? 14 : Math.max(9, size * 0.5) } },
      textConfig: { position: "inside" },
    };
  };
  const series = (data, more) => ({ type: "custom", renderItem: cellShape, data, encode: { x: 0, y: 1 }, ...more });
  const format = isEnergy ? (x) => numberText(x, 2) : (x) => (periodic.shade === "share" ? `${numberText(100 * x, x < 0.1 ? 1 : 0)} %` : countText(x));
  return {
    grid: { left: 4 + size / 2, width: 17 * size, top: size / 2 + 4, height: 8.4 * size },
    tooltip: tip(({ data }) => data.told && elementLines(data.told)),
    xAxis: { show: false, type: "value", min: 0, max: 17 },
    yAxis: { show: false, type: "value", min: 0, max: 8.4, inverse: true },
    visualMap: colourScale([`${isEnergy ? "≥ " : ""}${format(most)}`, format(least)], least, most, isEnergy ? [...VIRIDIS].reverse() : VIRIDIS,
      { dimension: 2, seriesIndex: 1, left: 2.6 * size, top: 0.6 * size, bottom: null, itemHeight: 4 * size }),
    series: [series(cells, { silent: true }), series(there, { cursor: "pointer" })],
  };
}

/** Dark letters on light colours, and the other way round. */
function inkOn(fill) {
  const [r, g, b] = echarts.color.parse(fill) ?? [0, 0, 0];
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#1d2530" : "#ffffff";
}

function elementLines([symbol, count, expected, energy, deviation, formula]) {
  const where = periodic.role ? ` on ${periodic.role}` : "";
  return [`${symbol}${where}`, `${countText(count)} candidates, ${numberText(expected, 1)} of them expected to be stable (${numberText((100 * expected) / count, 1)} %)`,
    `best: ${formula}, ${energyText(energy, deviation)}`];
}
