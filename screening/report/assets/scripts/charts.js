// What all charts share: colours of the page, size, and drawing again when either changes.

const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const charts = [];

/** A colour of the page's style. */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** A chart in an element: what `options` gives is drawn, and drawn anew when the page asks for it; clicks go to `click`.
 * `fit` gives its height, if it follows from its width. */
function addChart(id, options, click, fit) {
  const element = document.getElementById(id);
  const entry = { chart: null };
  entry.draw = () => {
    if (fit) element.style.height = `${fit(element.clientWidth)}px`;
    entry.chart.resize();
    entry.chart.setOption({ ...common(), ...options(element.clientWidth) }, true);
  };
  entry.start = (renderer) => {
    entry.chart?.dispose();
    entry.chart = echarts.init(element, null, { renderer });
    if (click) entry.chart.on("click", click);
    entry.draw();
  };
  charts.push(entry);
  entry.start("canvas");
  let width = element.clientWidth;
  new ResizeObserver(() => {
    if (element.clientWidth === width || !element.clientWidth || onPaper) return;
    width = element.clientWidth;
    entry.draw();
  }).observe(element);
  return entry;
}

function common() {
  return {
    animation: false,
    textStyle: { fontFamily: "system-ui, sans-serif", color: colour("ink") },
    aria: { enabled: true },
  };
}

/** The tip of a point: a bold first line, and lines below it; built of texts, never of HTML. */
function tip(lines) {
  return {
    backgroundColor: colour("paper"), borderColor: colour("line"), textStyle: { color: colour("ink") }, confine: true,
    formatter: (point) => {
      const [first, ...rest] = lines(point) ?? [];
      if (first === undefined) return "";
      return make("div", { class: "tip" }, make("b", {}, first), rest.map((line) => make("div", {}, line)));
    },
  };
}

/** An axis of numbers. */
function numberAxis(name, more = {}) {
  return {
    type: "value", scale: true, name, nameLocation: "middle", nameGap: 28, nameTextStyle: { color: colour("ink") },
    axisLine: { show: true, lineStyle: { color: colour("line") } }, axisLabel: { color: colour("soft"), hideOverlap: true },
    splitLine: { lineStyle: { color: colour("faint") } }, ...more,
  };
}

/** Colours of values, with their legend below the chart. */
function colourScale(text, min, max, colours, more = {}) {
  return {
    type: "continuous", min, max, calculable: false, orient: "horizontal", left: "center", bottom: 0, itemHeight: 140, itemWidth: 12,
    text, textStyle: { color: colour("soft") }, inRange: { color: colours }, hoverLink: false, ...more,
  };
}

/** Tools of a chart: a part of it to look at, and a picture to save. */
function tools(name, zoom) {
  return {
    show: !onPaper, right: 0, top: 0, itemSize: 13, iconStyle: { borderColor: colour("soft") },
    feature: {
      ...(zoom ? { dataZoom: { filterMode: "none", title: { zoom: "Zoom in", back: "Zoom out" } }, restore: { title: "Reset" } } : {}),
      saveAsImage: { name, title: "Save as PNG", pixelRatio: 3, backgroundColor: colour("paper") },
    },
  };
}

/** The same, once the reader has seen the table change, and only the last time of several. */
function afterwards(draw) {
  let waiting;
  return () => {
    clearTimeout(waiting);
    waiting = setTimeout(draw, 150);
  };
}

/** Draw all charts in the colours of the page, on paper as vectors: canvases drawn just before printing may stay empty. */
function drawCharts() {
  charts.forEach(({ start }) => start(onPaper ? "svg" : "canvas"));
}
