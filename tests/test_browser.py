"""The pages in a real browser, as a phone and a laptop show them, by day and by night."""

import pytest
from browser import CHROMIUM, Browser
from subterra.report import build_report, render_overview
from test_report import rich_inputs

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium: apt-get install chromium")

PHONE, LAPTOP = 390, 1280
PAGES = ("report.html", "transcripts.html", "index.html")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of an agent's pages, with the page over all agents beside them."""
    folder = tmp_path_factory.mktemp("site")
    html, talks, summary = build_report(rich_inputs(folder))
    for name, text in zip(PAGES, (html, talks, render_overview([summary])), strict=True):
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


def test_no_page_is_wider_than_the_screen_complains_or_asks_for_anything(browser, site):
    for name in PAGES:
        for width in (PHONE, LAPTOP):
            for dark in (False, True):
                browser.open(site / name, width, dark)
                seen = browser.run("[innerWidth, document.documentElement.scrollWidth]")
                assert seen == [width, width], (name, width)
                assert browser.complaints() == []
                assert browser.requests() == [(site / name).as_uri()]


def test_every_link_leads_to_something_that_is_there(browser, site):
    for name in PAGES[:2]:
        browser.open(site / name, LAPTOP, False)
        links = browser.run("[...document.links].map(one => one.href)")
        pages = {link.partition("#")[0] for link in links}
        assert pages <= {(site / one).as_uri() for one in PAGES[:2]}
        wanted = {link for link in links if "#" in link}
        for page in pages:
            browser.open(site / page.rpartition("/")[2], LAPTOP, False)
            ids = browser.run("[...document.querySelectorAll('[id]')].map(one => one.id)")
            assert {link.partition("#")[2] for link in wanted if link.startswith(page)} <= set(ids)


def test_dark_and_light_are_two_and_both_can_be_read(browser, site):
    colours = (
        "['backgroundColor', 'color'].map(name => getComputedStyle(document.body)[name].match(/\\d+/g).map(Number))"
    )
    for name in PAGES:
        for dark in (False, True):
            browser.open(site / name, LAPTOP, dark)
            back, ink = map(sum, browser.run(colours))
            assert (back < ink) == dark and abs(back - ink) > 450


def test_a_link_to_a_talk_opens_it(browser, site):
    browser.open(site / "transcripts.html", PHONE, False)
    name = browser.run("document.querySelector('.chip.bad').hash.slice(1)")
    browser.run("document.querySelector('.chip.bad').click()")
    browser.run("new Promise(done => setTimeout(done, 50))")
    assert browser.run("[location.hash.slice(1), document.querySelector('details:target').open]") == [name, True]


def test_transcripts_can_be_filtered_without_a_script(browser, site):
    page = site / "without_script.html"
    text = (site / "transcripts.html").read_text(encoding="utf-8")
    page.write_text(text[: text.index("<script>")] + text[text.index("</script>") + 9 :], encoding="utf-8")
    browser.open(page, PHONE, False)
    shown = (
        "[...document.querySelectorAll('.t')].filter(one => one.offsetHeight).map(one => one.classList.contains('bad'))"
    )
    before = browser.run(shown)
    browser.run("document.querySelector('label[for=show-bad]').click()")
    after = browser.run(shown)
    assert after == [True] * sum(before) and 0 < len(after) < len(before)


def test_one_flowchart_is_shown_and_another_by_choice(browser, site):
    browser.open(site / "report.html", LAPTOP, False)
    shown = "[...document.querySelectorAll('.choice > .picture')].map(one => one.offsetHeight > 0)"
    assert browser.run(shown) == [True, False]
    browser.run("document.querySelector('label[for=shown-1]').click()")
    assert browser.run(shown) == [False, True]


def test_a_phone_has_pictures_of_its_own_width(browser, site):
    shown = "[...document.querySelectorAll('svg.plot')].filter(one => one.clientWidth).map(one => one.classList[1])"
    for width, kind in ((PHONE, "narrow"), (LAPTOP, "wide")):
        browser.open(site / "report.html", width, False)
        assert set(browser.run(shown)) == {kind}
