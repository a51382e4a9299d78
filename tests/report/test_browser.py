"""Reports in a real browser: whole, legible and quiet, on any screen, in any light, and on paper."""

import base64
import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from pretrain.config import Experiment
from tests.report.test_report import budgets, written
from tests.report.test_terminal import INIT, tables
from tests.runs.test_looks_file import looked
from tests.runs.test_sample_file import sampled

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = "" if CHROMIUM and DRIVER else "needs a browser: apt-get install chromium chromium-driver"
SCRIPT = "<script>window.injected = 1</script>"
NAMES = (
    SCRIPT,
    '"><img src="http://example.invalid/x.png" onerror="window.injected = 1">',
    "</title></svg></style><svg onload='window.injected = 1'>--><iframe src=http://example.invalid></iframe>",
    f"{'long_' * 60}name$ with ${{}}_^ \u4e2d\u6587 \u202e\u0007",
)
SCREENS = [(width, light) for width in (1280, 400) for light in ("light", "dark")]

pytestmark = pytest.mark.skipif(bool(MISSING) and not os.environ.get("CI"), reason=MISSING)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a window or a network, in a profile of its own."""
    if MISSING:
        pytest.fail(MISSING)
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for option in (
        *("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars", "disable-dev-shm-usage", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync", "disable-extensions"),
        *("host-resolver-rules=MAP * ~NOTFOUND", f"user-data-dir={tmp_path_factory.mktemp('profile')}"),
    ):
        options.add_argument(f"--{option}")
    driver = webdriver.Chrome(options, Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()  # and its processes


def hostile(directory):
    """A report in which names are what nobody should choose."""
    arms = [
        ({INIT: init, "data.name": name, "finetune.labels": labels}, np.full(8, start), np.linspace(0.6, 0.7, 8) + gain)
        for name in NAMES
        for init, start, gain in (("pretrained", 0.2, 0.01), ("he", 0.5, 0.0))
        for labels in (50, 100, 1000)
    ]
    trials, curves = tables(arms)
    data = dataclasses.replace(Experiment().data, name=NAMES[0])
    made = sampled(n=4, labels=NAMES, trial_id=trials["trial_id"][-1].as_py())
    trials_of = [tuple(trials["trial_id"].to_pylist()[8 * arm : 8 * arm + 8]) for arm in (0, 3)]
    shown = looked(arms=trials_of)
    confused = tuple(each._replace(names=NAMES, counts=np.full((4, 4), 9)) for each in shown.confused)
    planes = tuple(each._replace(names=NAMES) for each in shown.planes)
    worst = shown.wrong[0]._replace(truths=NAMES[:3], predictions=NAMES[1:])
    shown = shown._replace(confused=confused, planes=planes, wrong=(worst,), missing=(f"Codes: {NAMES[0]}",))
    written(directory, trials, curves, dataclasses.replace(Experiment(), data=data), made, shown)
    return directory / "report.html"


@pytest.fixture(scope="module")
def pages(run, tmp_path_factory):
    """A real run's report, and reports of what is hostile, large or nearly nothing, by name."""
    path = tmp_path_factory.mktemp("pages")
    found = {"run": run / "report.html", "hostile": hostile(path / "hostile")}
    written(path / "labels", *budgets({50: 0.1, 100: 0.05, 1000: -0.04, 10000: -0.05}))
    found["labels"] = path / "labels" / "report.html"
    arms = [({"finetune.optimizer.learning_rate": index / 999}, [0.5], [0.6]) for index in range(40)]
    written(path / "one-seed", *tables(arms))
    found["one seed"] = path / "one-seed" / "report.html"
    # Of a convolution, whose features weigh windows smaller than the images.
    windows = sampled(filters=np.random.default_rng(0).normal(0, 1, (4, 3, 3, 1)).astype(np.float32))
    written(path / "windows", *tables([({}, np.full(8, 0.5), np.linspace(0.6, 0.7, 8))]), samples=windows)
    found["windows"] = path / "windows" / "report.html"
    written(path / "diverged", *tables([({}, np.ones(2), np.ones(2))], {(0, 0), (0, 1)}))
    found["diverged"] = path / "diverged" / "report.html"
    return found


def opened(browser, page, width, light="light"):
    """Opens a page on a screen; returns what it logged and which addresses it asked for."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": light}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for log in ("browser", "performance"):
        browser.get_log(log)  # empties it
    browser.get(page.as_uri())
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
    return browser.get_log("browser"), asked


@pytest.mark.parametrize("name", ["run", "hostile", "labels", "one seed", "windows", "diverged"])
def test_a_report_is_whole_and_quiet_on_every_screen(browser, pages, name):
    for width, light in SCREENS:
        logged, asked = opened(browser, pages[name], width, light)
        assert logged == []
        assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
        assert browser.execute_script("return [window.injected, document.scripts.length]") == [None, 0]
        assert not browser.execute_script("return document.querySelectorAll('iframe, img, [onload], [onerror]').length")
        across, seen = browser.execute_script(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert across <= seen == width


@pytest.mark.parametrize("name", ["run", "labels", "one seed", "windows", "hostile"])
def test_every_figure_is_drawn_within_the_page_with_caption_and_alternative(browser, pages, name):
    for width in (1280, 400):
        opened(browser, pages[name], width)
        figures = browser.execute_script(
            """return [...document.querySelectorAll("figure")].map(figure => {
                const svg = figure.querySelector("svg"), box = svg.getBoundingClientRect(), ink = svg.getBBox();
                return {
                    name: figure.id, left: box.left, right: box.right, height: box.height, ink: ink.width * ink.height,
                    alt: svg.getAttribute("aria-label"), role: svg.getAttribute("role"),
                    caption: figure.querySelector("figcaption").innerText, ratio: box.width / svg.viewBox.baseVal.width,
                };
            })"""
        )
        for figure in figures:
            assert 0 <= figure["left"] < figure["right"] <= width and figure["height"] > 100 and figure["ink"] > 10_000
            assert figure["role"] == "img" and len(figure["alt"]) > 20 and len(figure["caption"]) > 60
            # The smallest letters are of 9 points.
            assert 9 * figure["ratio"] > 8
        drawn = {figure["name"].removeprefix("figure-") for figure in figures}
        expected = {
            "run": {
                *("calibration", "codes", "confusion", "first_layer"),
                "first_batches",
                "differences",
                "shares",
                "slopes",
                "filters",
                "reconstructions",
                "phase_losses",
            },
            "labels": {"answer", "first_batches", "differences", "slopes", "gains"},
            "one seed": {"first_batches", "differences", "slopes"},
            "windows": {"first_batches", "filters", "reconstructions"},
            "hostile": {
                *("first_batches", "differences", "slopes", "gains", "filters", "reconstructions"),
                *("datasets_1", "datasets_2", "datasets_3", "calibration", "codes", "confusion", "wrong_rows"),
                "first_layer",
            },
        }
        assert drawn == expected[name]


@pytest.mark.parametrize("name", ["run", "labels", "one seed", "windows", "diverged"])
def test_no_table_scrolls_sideways_on_a_usual_screen(browser, pages, name):
    """Wide ones reach beyond the text on both sides, and none beyond the page."""
    opened(browser, pages[name], 1200)
    tables = browser.execute_script(
        """document.querySelectorAll("details:not(.config)").forEach(one => one.open = true);
        return [...document.querySelectorAll(".wide")].map(one => {
            const box = one.getBoundingClientRect();
            return [one.getAttribute("aria-labelledby"), one.scrollWidth - one.clientWidth, box.left, box.right];
        })"""
    )
    assert tables and all(more <= 0 and left >= 0 and right <= 1200 for _, more, left, right in tables), tables


def test_names_of_parts_of_figures_are_there_once_and_lead_somewhere(browser, pages):
    opened(browser, pages["run"], 1280)
    names, wanted = browser.execute_script(
        """const all = [...document.querySelectorAll("*")];
        return [all.map(one => one.id).filter(id => id), all.flatMap(one => [...one.attributes])
            .flatMap(one => [...one.value.matchAll(/^#([^ ]+)$|url\\(#([^)]+)\\)/g)]).map(one => one[1] || one[2])]"""
    )
    assert len(names) == len(set(names)) > 20
    # Colours by number look like names.
    assert {name for name in wanted if not all(letter in "0123456789abcdef" for letter in name)} <= set(names)


def contrast(browser, selector):
    """WCAG's contrast of a first element's letters with the page."""
    colours = browser.execute_script(
        "return [getComputedStyle(document.querySelector(arguments[0])).color, "
        "getComputedStyle(document.body).backgroundColor]",
        selector,
    )
    levels = []
    for colour in colours:
        parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        levels.append(np.dot(linear, (0.2126, 0.7152, 0.0722)) + 0.05)
    return max(levels) / min(levels)


def test_letters_stand_out_in_light_and_in_dark(browser, pages):
    backgrounds = set()
    for light in ("light", "dark"):
        opened(browser, pages["run"], 1280, light)
        backgrounds.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
        for selector in ("h1", "p", "figcaption", "td", "th", "figure svg"):
            assert contrast(browser, selector) > 7, (light, selector)
    assert len(backgrounds) == 2


def test_a_report_prints_dark_on_light_without_what_is_for_screens(browser, pages):
    opened(browser, pages["run"], 1280, "dark")
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert printed.startswith(b"%PDF-") and printed.count(b"/Type /Page\n") > 1
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": features})
    assert contrast(browser, "td") > 15
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.execute_script("return getComputedStyle(document.querySelector('details')).display") == "none"
    assert browser.execute_script("return document.querySelector('figure svg').getBoundingClientRect().height") > 100


def test_long_tables_scroll_in_their_boxes(browser, pages):
    opened(browser, pages["hostile"], 400)
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('.wide')].map(box => [box.scrollWidth, box.clientWidth, box.tabIndex])"
    )
    assert any(across > seen for across, seen, _ in boxes)
    assert all(focus == 0 and seen <= 400 for _, seen, focus in boxes)


def test_a_figure_with_a_script_would_be_seen(browser, tmp_path):
    """The checks above can fail: a page that does what reports must not is caught."""
    page = tmp_path / "bad.html"
    page.write_text(f"<body>{SCRIPT}<img src='missing.png'><p style='width: 2000px'>wide</p></body>")
    logged, asked = opened(browser, page, 400)
    assert logged and len(asked) > 1
    assert browser.execute_script("return window.injected") == 1
    assert browser.execute_script("return document.documentElement.scrollWidth") > 400
