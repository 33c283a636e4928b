// The histogram, the map of t and μ, and the map of pairs.

const REACH = 0.5; // energy above hull, eV/atom, at which colours end at the latest

const MOST_ON_PAPER = 820; // pixels that a page is high, with a heading and a legend

/** The energies between which colours change: nearly all, and none so high that it does not matter. */
function energyRange(energies) {
  const sorted = [...energies].sort((a, b) => a - b);
  const most = sorted[Math.floor(0.95 * (sorted.length - 1))];
  return [Math.min(0, sorted[0]), Math.min(REACH, Math.max(0.1, Math.ceil(20 * most) / 20))];
}

function setUpMaps() {
  addChart("histogram", histogramOptions, ({ dataIndex }) => {
    const { low, step } = DATA.histogram;
    const from = Number((low + step * dataIndex).toFixed(4));
    goToTable({ kind: "range", name: "e_above_hull", low: from, high: Number((from + step).toFixed(4)) });
  });
  if (has("tolerance_factor") && has("octahedral_factor")) {
    const entry = addChart("tmu", factorOptions, ({ data }) => openCard(data[3]));
    watchers.push(afterwards(entry.draw));
  } else {
    document.getElementById("map-figure").hidden = true;
  }
  const pairs = document.getElementById("pairs-figure");
  if (pairs && DATA.pairs.cells.length < 4) pairs.hidden = true;
  else if (pairs) setUpPairs();
}

/** Show the candidates that pass filters, and bring the table into sight. */
function goToTable(...filters) {
  setFilters(...filters);
  document.getElementById("candidates").scrollIntoView({ behavior: "auto" });
}

function histogramOptions(width) {
  const { low, step, counts } = DATA.histogram;
  const bars = counts.map((count, i) => [low + step * (i + 0.5), count]);
  const edge = (x, i) => x + (i ? step / 2 : -step / 2);
  return {
    grid: { left: 62, right: 16, top: 28, bottom: 46 },
    toolbox: tools("energies", true),
    tooltip: tip(({ data }) => data && [countText(data[1]) + (data[1] === 1 ? " candidate" : " candidates"),
      `${[0, 1].map((i) => numberText(edge(data[0], i), 2)).join(" to ")} eV/atom`]),
    xAxis: numberAxis("predicted energy above hull (eV/atom)", { min: low, max: low + step * counts.length, axisLabel: {
      color: colour("soft"), hideOverlap: true, showMinLabel: false, showMaxLabel: false, formatter: (x) => numberText(x, 2) } }),
    yAxis: numberAxis("candidates", { nameGap: 46, scale: false, minInterval: 1 }),
    series: [{
      type: "bar", data: bars, barWidth: Math.max(1, (0.92 * (width - 78)) / counts.length), itemStyle: { color: colour("accent") }, cursor: "pointer",
      markLine: { symbol: "none", silent: true, lineStyle: { color: colour("bad"), type: "solid", width: 1.5 },
        label: { formatter: `${DATA.stable_at}`, color: colour("bad") }, data: [{ xAxis: DATA.stable_at }] },
    }],
  };
}

/** t and μ of the listed candidates: those of the table in colours, the others faint below them. */
function factorOptions() {
  const shown = new Set(view.rows);
  const points = [[], []];
  for (let row = COUNT - 1; row >= 0; row -= 1) { // the best are drawn last
    const [t, mu] = [valueOf("tolerance_factor", row), valueOf("octahedral_factor", row)];
    if (t !== null && mu !== null) points[Number(shown.has(row))].push([t, mu, valueOf("p_stable", row) ?? 0, row]);
  }
  const scatter = (data, more) => ({ type: "scatter", data, symbolSize: COUNT > 2000 ? 5 : 8, progressive: 0, ...more });
  return {
    grid: { left: 52, right: 16, top: 28, bottom: 86 },
    toolbox: tools("t-mu", true),
    tooltip: tip(({ data }) => pointLines(data[3])),
    xAxis: numberAxis("tolerance factor t"),
    yAxis: numberAxis("octahedral factor μ", { nameGap: 36 }),
    visualMap: colourScale([`P(≤${DATA.stable_at}) = 1`, "0"], 0, 1, VIRIDIS, { dimension: 2, seriesIndex: 1 }),
    series: [scatter(points[0], { itemStyle: { color: colour("faint") }, silent: true }), scatter(points[1], { itemStyle: { opacity: 0.85 } })],
  };
}

/** A candidate in the lines of a tip. */
function pointLines(row) {
  const told = ["p_stable", "p_perovskite", "tolerance_factor", "octahedral_factor", "tau"].filter((name) => has(name) && valueOf(name, row) !== null);
  return [`${valueOf("formula", row)}, rank ${row + 1}`, energyText(valueOf("e_above_hull", row), valueOf("e_above_hull_std", row)),
    ...told.map((name) => `${COLUMNS.get(name).label} = ${cellText(COLUMNS.get(name), valueOf(name, row))}`)];
}

function setUpPairs() {
  const place = new Map(DATA.order.map((symbol, i) => [symbol, i]));
  const mirrored = DATA.pairs.sites[1] !== "B"; // B and B' may change places
  const cells = DATA.pairs.cells.flatMap(([a, b, ...rest]) => [[a, b, ...rest], ...(mirrored ? [[b, a, ...rest]] : [])]);
  const sorted = (column) => [...new Set(cells.map((cell) => cell[column]))].sort((a, b) => place.get(a) - place.get(b));
  const [first, second] = [sorted(0), sorted(1)];
  const element = document.getElementById("pairs");
  const wide = second.length >= first.length;
  const [across, down] = wide ? [second, first] : [first, second];
  element.style.minWidth = `${90 + 15 * across.length}px`;
  element.style.maxWidth = `${120 + 46 * across.length}px`;
  const names = wide ? DATA.pairs.sites : [...DATA.pairs.sites].reverse();
  const data = cells.map(([a, b, energy, deviation, formula, index]) => {
    const [x, y] = wide ? [b, a] : [a, b];
    return { value: [across.indexOf(x), down.indexOf(y), energy], told: { a, b, energy, deviation, formula, index } };
  });
  addChart("pairs", () => pairOptions(data, across, down, names), ({ data: { told } }) => goToPair(told, mirrored),
    () => Math.min(130 + Math.max(17, Math.min(26, 900 / down.length)) * down.length, onPaper ? MOST_ON_PAPER : Infinity));
}

function pairOptions(data, across, down, [downName, acrossName]) {
  const [least, most] = energyRange(data.map(({ value }) => value[2]));
  const axis = (values, name, gap, more) => ({ type: "category", data: values, name: `element on ${name}`, nameLocation: "middle", nameGap: gap,
    nameTextStyle: { color: colour("ink") }, axisTick: { show: false }, axisLine: { lineStyle: { color: colour("line") } },
    axisLabel: { color: colour("ink"), interval: 0, fontSize: 10 }, splitArea: { show: true, areaStyle: { color: [colour("panel")] } }, ...more });
  return {
    grid: { left: 52, right: 16, top: 30, bottom: 92 },
    toolbox: tools("pairs", false),
    tooltip: tip(({ data: { told } }) => [told.formula, `lowest of ${told.a} and ${told.b}`, energyText(told.energy, told.deviation)]),
    xAxis: axis(across, acrossName, 26),
    yAxis: axis(down, downName, 34, { inverse: true }),
    visualMap: colourScale([`≥ ${numberText(most, 2)} eV/atom`, numberText(least, 2)], least, most, [...VIRIDIS].reverse(), { dimension: 2, left: 52 }),
    series: [{ type: "heatmap", data, progressive: 0, itemStyle: { borderColor: colour("paper"), borderWidth: 1 }, emphasis: { itemStyle: { borderColor: colour("ink") } } }],
  };
}

function goToPair({ a, b }, mirrored) {
  const on = (element, role) => ({ kind: "element", element, role });
  if (!mirrored) goToTable(on(a, "A"), on(b, "B"));
  else {
    view.search = document.getElementById("search").value = `${a} ${b}`;
    goToTable();
  }
}
