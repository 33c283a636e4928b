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

/** Before printing the page becomes as wide as paper, so that charts are drawn for it; afterwards it is as it was. */
function print(begins) {
  document.documentElement.classList.toggle("printing", begins);
  document.querySelector(".glossary").open = begins;
  showOnPaper(begins);
  showTheme(!begins && dark.matches ? "dark" : "light");
}

dark.addEventListener("change", () => showTheme(dark.matches ? "dark" : "light"));
window.addEventListener("beforeprint", () => print(true));
window.addEventListener("afterprint", () => print(false));
document.addEventListener("click", (event) => { // menus close when something else is clicked
  document.querySelectorAll("details.menu[open]").forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; });
});
