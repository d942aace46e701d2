"""timeline.html in a real browser: what it shows, filtered and sorted, is what the ledger's records say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from sw.abi.registers import Status, TraceKind
from tb.ledger.records import TRACE_DTYPE
from tb.ledger.run import load as read_run
from tb.sim.report import write as write_summary
from tb.timeline.packets import view
from tb.timeline.page import render
from tb.timeline.rates import rates
from tests.timeline.browser import ask, console, requests
from tests.timeline.conftest import FRAMES, Made
from tests.timeline.reading import Sent

WAIT_S = 20
PICTURE = Path("build/test/timeline.png")
"""What the page looked like last."""


def load(browser: Chrome, page: Path) -> None:
    browser.get(page.resolve().as_uri())
    settled(browser)


def settled(browser: Chrome) -> None:
    """The page follows its filters after a pause for whoever types."""
    WebDriverWait(browser, WAIT_S).until(lambda b: b.find_element(By.ID, "all").get_attribute("aria-busy") == "false")


def count(browser: Chrome) -> str:
    return browser.find_element(By.ID, "count").text


def choose(browser: Chrome, **values: str) -> None:
    """Set filters by their ids: a list's visible text, or a number."""
    browser.find_element(By.CSS_SELECTOR, "button[type=reset]").click()
    for name, value in values.items():
        field = browser.find_element(By.ID, name)
        if field.tag_name == "select":
            Select(field).select_by_visible_text(value)
        else:
            field.clear()
            field.send_keys(value)
    settled(browser)


def listed(browser: Chrome) -> list[list[str]]:
    """Every row of the list, by scrolling through all of it."""
    found: list[list[str]] = ask(browser, """
        const scroll = document.getElementById("scroll"), found = new Map();
        for (scroll.scrollTop = 0; ; scroll.scrollTop += 200) {
          await new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next)));
          const rows = [...document.querySelectorAll(".row")];
          const first = Number(document.getElementById("rows").style.transform.match(/[0-9]+/)[0]) / 26;
          rows.forEach((row, k) => found.set(first + k, [...row.children].map((cell) => cell.textContent)));
          if (scroll.scrollTop + scroll.clientHeight >= scroll.scrollHeight) break;
        }
        scroll.scrollTop = 0;
        return [...found.keys()].sort((a, b) => a - b).map((k) => found.get(k));""")
    return found


def row(packet: Sent) -> list[str]:
    name = max(packet.stages, key=lambda s: s[2] - s[1])[0]
    slowest = f"{name}, send" if name in ("to completion", "completion visible") else name
    return [
        *(packet.guest, "send", str(packet.number), packet.form, f"{packet.size:,}"),
        *(f"{packet.start:,}", f"{packet.total:,}", f"{packet.nic:,}", slowest, "", ""),
    ]


def took(packet: Sent, stage: str, ns: int) -> bool:
    return any(name == stage and end - start > ns for name, start, end in packet.stages)


FILTERS: list[tuple[dict[str, str], Callable[[Sent], bool]]] = [
    ({"guest": "guest2", "error": "none"}, lambda p: p.guest == "guest2"),
    ({"form": "inline"}, lambda p: p.form == "inline"),
    ({"direction": "send", "low": "64", "high": "100", "error": "none"}, lambda p: 64 <= p.size <= 100),
    ({"low": "101"}, lambda p: p.size >= 101),
    ({"stage": "payload read", "slower": "2000"}, lambda p: took(p, "payload read", 2000)),
    ({"stage": "copy"}, lambda p: p.form == "inline"),
    ({"slower": "30000"}, lambda p: any(b - a > 30000 for _, a, b in p.stages)),
    (
        {"guest": "guest3", "stage": "to wire", "slower": "4000", "low": "1000"},
        lambda p: p.guest == "guest3" and p.size >= 1000 and took(p, "to wire", 4000),
    ),
    ({"direction": "receive"}, lambda p: False),
]


def test_filters_show_what_the_ledger_has(made: Made, browser: Chrome) -> None:
    load(browser, made.folder / "timeline.html")
    total = FRAMES + len(made.reading.refused)
    assert count(browser) == f"{total} of {total} packets"
    for values, passes in FILTERS:
        choose(browser, **values)
        wanted = [packet for packet in made.reading.sent if passes(packet)]
        assert len(wanted) < FRAMES
        assert count(browser) == f"{len(wanted)} of {total} packets", values
        assert sorted(listed(browser)) == sorted(map(row, wanted)), values
    assert console(browser) == []
    assert requests(browser) == [(made.folder / "timeline.html").resolve().as_uri()]


def test_each_filter_lets_something_pass_and_something_not(made: Made) -> None:
    found = [sum(map(passes, made.reading.sent)) for _, passes in FILTERS]
    assert all(0 < n < FRAMES for n in found[:-1]), found


def test_errors_are_found(made: Made, browser: Chrome) -> None:
    load(browser, made.folder / "timeline.html")
    total = FRAMES + len(made.reading.refused)
    choose(browser, error="any")
    assert count(browser) == f"{len(made.reading.refused)} of {total} packets"
    found = sorted((cells[0], cells[5], cells[10]) for cells in listed(browser))
    assert found == sorted((f"endpoint {e}", f"{at:,}", Status(s).name) for e, at, s in made.reading.refused)
    one = Status(made.reading.refused[0][2])
    choose(browser, error=one.name)
    assert count(browser) == f"{sum(s == one for _, _, s in made.reading.refused)} of {total} packets"


def test_heads_sort(made: Made, browser: Chrome) -> None:
    load(browser, made.folder / "timeline.html")
    choose(browser, error="none")
    starts = sorted(made.reading.sent, key=lambda p: p.start)
    assert [cells[5] for cells in listed(browser)] == [f"{p.start:,}" for p in starts]
    for head, key in (("total", lambda p: p.total), ("bytes", lambda p: p.size), ("NIC share", lambda p: p.nic)):
        for down in (True, False):
            button = browser.find_element(By.XPATH, f"//div[@id='heads']/button[starts-with(., '{head}')]")
            button.click()
            assert button.get_attribute("aria-sort") == ("descending" if down else "ascending")
            column = [b.text.rstrip(" ▴▾") for b in browser.find_elements(By.CSS_SELECTOR, "#heads button")].index(head)
            values = sorted(map(key, made.reading.sent), reverse=down)
            assert [cells[column] for cells in listed(browser)] == [f"{value:,}" for value in values]


@pytest.mark.parametrize("form", ["inline", "pushed", "fetched"])
def test_a_packet_shows_its_stages(form: str, made: Made, browser: Chrome) -> None:
    load(browser, made.folder / "timeline.html")
    packet = [p for p in made.reading.sent if p.form == form][7]
    choose(browser, guest=packet.guest, form=form)
    ask(browser, """
        const scroll = document.getElementById("scroll");
        for (; ; scroll.scrollTop += 200) {
          await new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next)));
          const row = [...document.querySelectorAll(".row")].find((r) => r.children[2].textContent === given[0]);
          if (row) return row.click();
        }""", str(packet.number))
    pane = browser.find_element(By.ID, "detail")
    assert pane.find_element(By.TAG_NAME, "h3").text == f"{packet.guest}, send {packet.number}"
    cells = [[td.text for td in tr.find_elements(By.TAG_NAME, "td")] for tr in pane.find_elements(By.CSS_SELECTOR, "tr.stage")]
    assert cells == [[n, f"{b - a:,}", f"{(b - a) // 4:,}", f"{a // 4:,}"] for n, a, b in packet.stages]
    [total] = pane.find_elements(By.CSS_SELECTOR, "tr.total")
    end = packet.start + packet.total
    assert [td.text for td in total.find_elements(By.TAG_NAME, "td")] == [
        *("total", f"{packet.total:,}", f"{packet.total // 4:,}", f"to {end // 4:,}"),
    ]  # fmt: skip
    bars = ask(browser, "return [...document.querySelectorAll('.lane b')].map((b) => [b.style.left, b.style.width]);")
    drawn = [(float(left[:-1]), float(width[:-1])) for left, width in bars]
    for (left, width), (_, start, stop) in zip(drawn, packet.stages, strict=True):
        # the browser keeps a few decimals of a style
        assert left == pytest.approx(100 * (start - packet.start) / packet.total, abs=1e-3)
        assert width == pytest.approx(100 * (stop - start) / packet.total, abs=1e-3)


def test_charts_add_up(made: Made, browser: Chrome) -> None:
    load(browser, made.folder / "timeline.html")
    bars = ask(browser, "return document.getElementById('breakdown').data.map((t) => [t.name, t.y, t.x]);")
    groups = defaultdict(list)
    for packet in made.reading.sent:
        groups[f"{packet.guest}, {packet.form}"].append(packet)
    shown = {(group, name.removesuffix(", send")): ns for name, names, xs in bars for group, ns in zip(names, xs, strict=True)}
    sums: dict[tuple[str, str], int] = dict.fromkeys(shown, 0)
    for group, packets in groups.items():
        for packet in packets:
            for name, start, end in packet.stages:
                sums[group, name] += end - start
    assert shown == {key: total / len(groups[key[0]]) for key, total in sums.items()}
    for form in ("inline", "fetched"):
        choose(browser, form=form)
        own = [p for p in made.reading.sent if p.form == form]
        drawn = ask(browser, "const d = document.getElementById('histograms'); return [d.data, d.layout.annotations];")
        figures = [note["text"].strip() for note in drawn[1] if note["xanchor"] == "left"][1:]
        names = [trace["name"].removesuffix(", send") for trace in drawn[0]]
        assert sorted(names) == sorted(name for name, _, _ in own[0].stages)
        for name, trace, figure in zip(names, drawn[0], figures, strict=True):
            taken = sorted(end - start for p in own for n, start, end in p.stages if n == name)
            assert figure == f"{at(taken, 50):,} / {at(taken, 99):,}"
            for label, height in zip(trace["customdata"], trace["y"], strict=True):
                low, high = (int(word.replace(",", "")) for word in label.removesuffix(" ns").split(" to "))
                assert height == sum(low <= ns < high for ns in taken), (name, label)
            assert sum(trace["y"]) == len(own)
            [row_of] = [r for r in made.summary["latency"] if (r["form"], r["stage"]) == (form, name)]
            assert (row_of["median_ns"], row_of["p99_ns"]) == (at(taken, 50), at(taken, 99))
    areas = ask(browser, "return document.getElementById('throughput').data.map((t) => [t.name, t.x, t.y]);")
    assert [name for name, _, _ in areas] == [f"guest{n}, send" for n in range(4)]
    for name, us, gbps in areas:
        width = us[1] - us[0]
        sent = sum(p.size for p in made.reading.sent if f"{p.guest}, send" == name)
        assert sum(gbps) * width * 1000 / 8 == pytest.approx(sent)


def at(taken: list[int], percent: int) -> int:
    return taken[ceil(len(taken) * percent / 100) - 1]


def test_a_picture_of_it(made: Made, browser: Chrome) -> None:
    load(browser, made.folder / "timeline.html")
    choose(browser, error="none")
    browser.find_elements(By.CSS_SELECTOR, ".row")[2].click()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(PICTURE))
    drawn = ask(browser, """return ["#breakdown .bars path", "#histograms .bars path", "#throughput .scatter path", ".row .bar b"]
        .map((which) => [...document.querySelectorAll(which)].filter((e) => e.getBoundingClientRect().width > 0).length);""")
    assert all(number > 10 for number in drawn[:2]) and drawn[2] >= 4 and drawn[3] > 50
    # nothing runs out of its frame
    assert ask(browser, "return document.documentElement.scrollWidth <= innerWidth;")


def test_a_hundred_thousand_packets(browser: Chrome, tmp_path: Path) -> None:
    many = 100_000
    each = [
        (0, TraceKind.DOORBELL, 1), (4, TraceKind.GRANT, 0), (5, TraceKind.AUTHORISED, 0), (13, TraceKind.DATA_IN, 0),
        (16, TraceKind.WIRE_FIRST, 0), (30, TraceKind.WIRE_LAST, 64), (37, TraceKind.CPL_OUT, 1), (39, TraceKind.CPL_VISIBLE, 16),
    ]  # fmt: skip
    records = np.zeros((many, len(each)), TRACE_DTYPE)
    for k, (after, kind, info) in enumerate(each):
        records[:, k]["cycle"] = np.arange(many) * 40 + after
        records[:, k]["kind"] = kind
        records[:, k]["index"] = 0 if kind == TraceKind.CPL_VISIBLE else np.arange(many) % 2**16
        records[:, k]["info"] = info
    np.save(tmp_path / "trace.npy", records.ravel())
    setup = {"form": "PUSHED", "send_entries": 256}
    write_summary(tmp_path / "summary.json", {"command": "by hand", "endpoints": {"0": setup}})
    shown = view(read_run(tmp_path))
    (tmp_path / "timeline.html").write_text(render(shown, rates(shown.entries), "by hand"))
    load(browser, tmp_path / "timeline.html")
    assert count(browser) == "100,000 of 100,000 packets"
    rows, last = ask(browser, """
        const scroll = document.getElementById("scroll");
        scroll.scrollTop = scroll.scrollHeight;
        await new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next)));
        const rows = [...document.querySelectorAll(".row")];
        return [rows.length, [...rows.at(-1).children].map((cell) => cell.textContent)];""")
    assert rows < 60
    assert last[:8] == ["endpoint 0", "send", "99999", "inline", "64", f"{(many - 1) * 160:,}", "156", "64"]
    choose(browser, low="65")
    assert count(browser) == "0 of 100,000 packets"
    assert console(browser) == []
