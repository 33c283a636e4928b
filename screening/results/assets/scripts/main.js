// Everything is put in place, in the reader's colours, and on paper in those of paper.

const dark = window.matchMedia("(prefers-color-scheme: dark)");

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  drawCharts();
}

showTheme(dark.matches ? "dark" : "light");
setUpFilters();
setUpTable();
refresh();
setUpMaps();
setUpPeriodic();
setUpCard();

dark.addEventListener("change", () => showTheme(dark.matches ? "dark" : "light"));
window.addEventListener("beforeprint", () => { showTheme("light"); showOnPaper(true); });
window.addEventListener("afterprint", () => { showTheme(dark.matches ? "dark" : "light"); showOnPaper(false); });
document.addEventListener("click", (event) => { // menus close when something else is clicked
  document.querySelectorAll("details.menu[open]").forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; });
});
