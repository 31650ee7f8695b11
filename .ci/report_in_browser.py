"""The report of a zoo in headless Chromium: no console error, filters, colours and the table's order work, no overflow.

So is a report whose every string tries to be HTML, a script or a formula: none of them may act.

usage: report_in_browser.py PAGE [PICTURE], of a zoo whose models differ in activation; PICTURE gets a screenshot.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from jaxzoo.report.page import build_page

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from contents import hostile_content

WIDTHS = {"laptop": 1280, "phone": 390}
FIND = "Bokeh.documents[0].all_models"
ROWS = f"""() => {{
    const table = [...{FIND}].find((model) => model.type == "DataTable")
    return table.view.filter.booleans.filter((each) => each).length
}}"""
COLORS = f"""() => [...{FIND}]
    .filter((model) => model.type == "Scatter" && String(model.fill_color.field).startsWith("color_"))
    .map((glyph) => glyph.fill_color.field)"""
# the tags that a string of the zoo has become, also where Bokeh hides them in the roots of its own
ACTING = """() => {
    const found = []
    const walk = (root) => {
        for (const element of root.querySelectorAll("*")) {
            if (element.matches("img[src=x], mjx-container, [href^=javascript]")) found.push(element.outerHTML)
            if (element.shadowRoot) walk(element.shadowRoot)
        }
    }
    walk(document)
    return found
}"""
# how far the rows of each table end before the right edge of its box; negative where the table scrolls
GAPS = """() => [...document.querySelectorAll(".scroll")].map((box) => {
    const host = box.querySelector(".bk-DataTable")
    const rows = host ? [...host.shadowRoot.querySelectorAll(".slick-row")] : [...box.querySelectorAll("tr")]
    const cells = rows.map((row) => row.lastElementChild.getBoundingClientRect().right)
    return box.getBoundingClientRect().right - Math.max(...cells)
})"""
CHOOSE = f"""([name, value]) => {{ [...{FIND}].find((model) => model.name == name).value = value }}"""


def open_page(browser: Browser, path: Path, width: int) -> tuple[Page, list[str]]:
    """The page once its charts are drawn, and what the console complained of, which goes on growing."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
    page.goto(path.resolve().as_uri())
    page.wait_for_function("window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle")
    page.wait_for_selector("canvas")
    return page, complaints


def check_controls(page: Page) -> None:
    """A filter leaves fewer models in the charts and the table, a choice of colour changes every chart of models."""
    everything = page.evaluate(ROWS)
    page.evaluate(CHOOSE, ["filter_activation", ["tanh"]])
    some = page.evaluate(ROWS)
    assert 0 < some < everything, (some, everything)
    page.get_by_text(f"{some} of {everything} models").wait_for()
    page.evaluate(CHOOSE, ["filter_activation", []])
    page.get_by_text(f"{everything} of {everything} models").wait_for()

    before = page.evaluate(COLORS)
    page.get_by_label("colour by").select_option("test accuracy")
    after = page.evaluate(COLORS)
    assert len(after) == len(before) >= 2
    assert set(after) == {"color_test_accuracy"}, after
    assert "color_test_accuracy" not in before, before

    header = page.locator(".slick-header-column", has_text="test accuracy").first
    header.click()
    cells = page.locator(".slick-row >> nth=0").locator(".slick-cell").all_inner_texts()
    assert "model" not in cells, cells
    first = [page.locator(".slick-row").nth(row).inner_text() for row in range(3)]
    header.click()
    page.wait_for_timeout(300)
    assert first != [page.locator(".slick-row").nth(row).inner_text() for row in range(3)], first


def check_hover(page: Page) -> None:
    """A point under the mouse says which model it is."""
    chart = page.locator(".bk-Figure").nth(0)
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    for share in (0.3, 0.4, 0.5, 0.6):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        page.wait_for_timeout(200)
        if page.locator(".bk-Tooltip").count():
            return
    raise AssertionError("no tooltip appears over the chart of accuracies")


def check_hostile(browser: Browser, path: Path) -> None:
    """No string of a zoo acts as HTML, as a script or as a formula, also in choices and tooltips that are opened."""
    path.write_text(build_page(hostile_content()))
    page, complaints = open_page(browser, path, WIDTHS["laptop"])
    page.locator(".choices").first.click()
    page.get_by_label("colour by").select_option(index=1)
    for chart in page.locator(".bk-Figure").all():
        chart.scroll_into_view_if_needed()
        chart.hover()
    page.wait_for_timeout(500)
    acting = page.evaluate(ACTING)
    assert not acting, acting
    assert page.evaluate("window.hurt === undefined"), page.evaluate("window.hurt")
    assert not complaints, complaints


def check_tables(page: Page) -> None:
    """The rows of every table reach its edge; on a narrow screen they go beyond, and the table scrolls."""
    gaps = page.evaluate(GAPS)
    assert len(gaps) >= 3, gaps
    assert max(gaps) <= 20, gaps  # pixels, of the members' scrollbar


def main(path: Path, picture: Path | None) -> None:
    """Raises AssertionError on the first thing that does not work."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert program, "no Chromium is installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, width in WIDTHS.items():
            page, complaints = open_page(browser, path, width)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name}: the page is {wide} pixels wide"
            assert page.locator("canvas").count() >= 5
            check_tables(page)
            if name == "laptop":
                if picture is not None:
                    page.screenshot(path=picture, clip={"x": 0, "y": 0, "width": width, "height": 2400}, full_page=True)
                check_controls(page)
                check_hover(page)
            assert not complaints, complaints
        with tempfile.TemporaryDirectory() as folder:
            check_hostile(browser, Path(folder) / "hostile.html")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
