"""A Chromium without a window, for tests of the report, skipped where there is none."""

import json
import shutil
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-unsafe-swiftshader"),
)
DRIVER, CHROMIUM = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("chromium-browser")


class Page:
    """A page in the browser, and what a reader does there."""

    def __init__(self, driver, folder):
        self.driver, self.folder = driver, folder

    def run(self, script, *arguments):
        """The value of a JavaScript function's body."""
        return self.driver.execute_script(script, *arguments)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def text(self, selector):
        """What an element says, whether it is in sight or not."""
        return self.one(selector).get_attribute("textContent")

    def cells(self, column):
        """What the rows of the table say in a column, those that are in the page."""
        return self.run(
            """const heads = [...document.querySelectorAll("#table th")];
            const at = heads.findIndex((head) => head.dataset.name === arguments[0]);
            const rows = [...document.querySelectorAll("#table tr[data-row]")];
            return rows.map((row) => row.children[at].textContent);""",
            column,
        )

    def click(self, selector):
        self.run(
            "document.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})", selector
        )
        self.one(selector).click()

    def wait(self, condition, seconds=10):
        """What a condition gives, once that is true."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, "nothing came of it"
            time.sleep(0.05)
        return found

    def search(self, text, told):
        """Search the table, until the line above it begins so."""
        typed = (
            "const e = document.getElementById('search'); e.value = arguments[0]; e.dispatchEvent(new Event('input'))"
        )
        self.run(typed, text)
        self.wait(lambda: self.text("#count").startswith(told))

    def point_at(self, chart, place, *, click=False):
        """Move the pointer to a place of a chart, in the units of its axes; the chart is scrolled into sight before."""
        x, y = self.run(
            """const element = document.getElementById(arguments[0]);
            element.scrollIntoView({ block: "center", behavior: "instant" });
            const [x, y] = echarts.getInstanceByDom(element).convertToPixel({ gridIndex: 0 }, arguments[1]);
            const frame = element.getBoundingClientRect();
            return [frame.left + x, frame.top + y];""",
            chart,
            place,
        )
        button = {"button": "left", "clickCount": 1}
        for kind, more in (("mouseMoved", {}), ("mousePressed", button), ("mouseReleased", button))[
            : 3 if click else 1
        ]:
            self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **more})

    def tip(self, chart):
        """What the tip of a chart says."""
        script = "return document.querySelector(`#${arguments[0]} .tip`)?.textContent"
        return self.wait(lambda: self.run(script, chart))

    def saved(self, pattern):
        """The one file that was saved."""
        (path,) = self.wait(lambda: [path for path in Path(self.folder).glob(pattern) if path.stat().st_size])
        return path

    def complaints(self):
        """Errors and warnings of the console; what the software renderer says of its speed is none."""
        said = self.driver.get_log("browser")
        return [line for line in said if line["level"] != "INFO" and "GL Driver Message" not in line["message"]]

    def requests(self):
        """Addresses that were asked for on a network."""
        events = (json.loads(line["message"])["message"] for line in self.driver.get_log("performance"))
        sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if url.startswith(("http", "ws"))]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One browser for all tests of a module, as it takes longer to start than a page to be looked at."""
    if not (DRIVER and CHROMIUM):
        pytest.skip("no Chromium: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser') / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@contextmanager
def opened(driver, path, folder, width):
    """A page in a tab of its own, which is the only one that anything is asked of until it is closed."""
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    try:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        still = [{"name": "prefers-reduced-motion", "value": "reduce"}]  # turning structures takes all of a processor
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": still})
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
        for log in ("browser", "performance"):
            driver.get_log(log)  # what is of the pages before
        driver.get(path.absolute().as_uri())
        yield Page(driver, folder)
    finally:
        driver.close()
        driver.switch_to.window(first)


@pytest.fixture
def browse(browser, tmp_path):
    """Open a page of some width; files that it saves go to the test's folder."""
    with ExitStack() as stack:
        yield lambda path, width=1400: stack.enter_context(opened(browser, path, tmp_path, width))
