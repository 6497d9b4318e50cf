"""The report in a real browser: laid out for a phone, asking nothing of the network, without an error.

Needs `chromium` on PATH (Debian's package of that name).
"""

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading

import pytest

from tune.report import write_report

pytestmark = pytest.mark.usefixtures("few_resamples")
PHONE_WIDTH = 390
PROBE = """<!doctype html>
<title>probe</title>
<style>body { margin: 0 } iframe { border: 0 }</style>
<iframe src="report.html" style="width: WIDTHpx; height: 900px"></iframe>
<pre id="found"></pre>
<script>
document.querySelector('iframe').addEventListener('load', event => {
  const page = event.target.contentWindow, root = page.document.documentElement;
  const boxes = [...page.document.querySelectorAll('body *')].filter(box => !box.closest('.scroll, pre, svg'));
  const outside = boxes.filter(box => box.getBoundingClientRect().right > root.clientWidth + 1);
  const pictures = [...page.document.querySelectorAll('figure svg')];
  document.getElementById('found').textContent = JSON.stringify({
    width: root.clientWidth,
    scrollWidth: root.scrollWidth,
    outside: outside.map(box => box.tagName + '.' + box.className),
    requests: page.performance.getEntriesByType('resource').map(entry => entry.name),
    sections: [...page.document.querySelectorAll('section')].map(section => section.id),
    flat: pictures.filter(picture => picture.getBoundingClientRect().height < 50).length,
    background: page.getComputedStyle(page.document.body).backgroundColor,
  });
});
</script>
"""


class Recorder(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and notes what was asked for."""

    def __init__(self, *args, asked, **kwargs):
        self.asked = asked
        super().__init__(*args, **kwargs)

    def log_message(self, *args):
        self.asked.append(self.path)


@pytest.fixture
def opened(tmp_path):
    """Return a function that opens a sweep directory's report and returns what the browser found."""
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("`chromium` must be on PATH to open the report; install Debian's package chromium")

    def open_report(directory, width=PHONE_WIDTH, options=()):
        (directory / "probe.html").write_text(PROBE.replace("WIDTH", str(width)), encoding="utf-8")
        asked = []
        handler = functools.partial(Recorder, directory=str(directory), asked=asked)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            command = [
                *(binary, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
                *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"),
                "--hide-scrollbars",  # a phone's take no room
                *(f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000", "--dump-dom"),
                *options,
                f"http://127.0.0.1:{server.server_port}/probe.html",
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
            server.shutdown()
        found = json.loads(re.search(r'<pre id="found">(\{.*?\})</pre>', done.stdout, re.DOTALL)[1])
        return found | {"asked": asked, "console": re.findall(r".*CONSOLE.*", done.stderr)}

    return open_report


def test_report_on_a_phone_fits_and_asks_nothing_of_the_network(tree, sweep, opened):
    directory = sweep(tree)
    write_report(directory)
    found = opened(directory)
    assert (found["width"], found["scrollWidth"]) == (PHONE_WIDTH, PHONE_WIDTH)
    assert found["outside"] == []
    assert found["requests"] == []
    assert set(found["asked"]) <= {"/probe.html", "/report.html", "/favicon.ico"}
    assert found["console"] == []
    assert found["flat"] == 0
    for section in ("final", "search", "parameters", "stopping", "time", "environment", "use"):
        assert section in found["sections"]


def test_report_in_the_dark_has_a_dark_page(tree, sweep, opened):
    directory = sweep(tree)
    write_report(directory)
    light = opened(directory)["background"]
    dark = opened(directory, options=["--blink-settings=preferredColorScheme=0"])["background"]
    brightness = [sum(map(int, re.findall(r"\d+", color)[:3])) for color in (light, dark)]
    assert brightness[0] > 600
    assert brightness[1] < 150
