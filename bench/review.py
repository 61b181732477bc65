"""Review at size: how long drawing a sample takes, how soon a key press is answered, and what the server's memory is.

    python bench/review.py [--rationales 1000000] [--sample 50] [--keep FILE]

The database is generated: four reasoners, two correctors, five levels, a correction for every second rationale, texts
of 600 characters. Times of answers are those of a browser's request on loopback (a cookie, a POST, the next correction
as JSON) to `lema review` in a process of its own; where there is Chromium, also from key press to what is on the
screen. A measurement, not a test: it never fails on time.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from lema_local.records.store import Store, Writer
from lema_local.review.draw import draw, read_events, read_items
from lema_local.review.sampling import SampleSize, Wish

FILL = """
create or replace macro key(kind, k) as md5(kind || k)::uuid;
create or replace macro steps(k) as 'Step 1: ' || md5('a' || k) || repeat(' and then some more of it', 10) || chr(10) ||
    'Step 2: ' || md5('b' || k) || repeat(' which makes so many', 12) || ' The answer is ' || k || '.';
insert into problem
select key('p', k), 'bench', 'train', 'How many are ' || k || '? ' || md5('q' || k), '' || k, 'number', steps(k),
    '' || (1 + k % 5), null, null
from range($n // 20) as t(k);
insert into completion
select key(kind, k), purpose, model, model, template, key('p', k % ($n // 20)), mistake, null, '{}', 0, steps(k),
    'stop', 100, 150, 0.5, null, purpose, false, now(), null, 1
from (
    select k, 'r' as kind, 'sample' as purpose, 'reasoner-' || (k % 4) as model, 'sample_number.1' as template,
        null::uuid as mistake
    from range($n) as t(k)
    union all
    select k, 'c', 'correct', 'corrector-' || (k // 2 % 2), 'correct_number.1', key('r', k) from range(0, $n, 2) as t(k)
);
insert into rationale
select key('r', k), key('p', k % ($n // 20)), 'reasoner-' || (k % 4), '7', k % 2 = 1, k % 2 = 1, 'exact', false
from range($n) as t(k);
insert into correction
select key('c', k), key('p', k % ($n // 20)), key('r', k), 'corrector-' || (k // 2 % 2), false, 2, 'The second step.',
    steps(k), '' || k, k % 3 < 2, case when k % 3 < 2 then null else 'wrong answer' end, null, null, null, null, null,
    null, null
from range(0, $n, 2) as t(k);
"""


def fill(db: Path, rationales: int) -> None:
    with Writer(db) as store, store.connect(write=True) as connection:
        for statement in FILL.split(";\n"):
            if statement.strip():
                connection.execute(statement.replace("$n", str(rationales)))


def timed(label: str, work: object) -> object:
    began = time.perf_counter()
    found = work()  # type: ignore[operator]
    print(f"{label:44} {time.perf_counter() - began:7.3f} s")
    return found


def spread(label: str, seconds: list[float]) -> None:
    ordered = sorted(1000 * s for s in seconds)
    at = {share: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.95)}
    print(f"{label:44} median {at[0.5]:.1f} ms, 95% {at[0.95]:.1f} ms, most {ordered[-1]:.1f} ms, n {len(ordered)}")


def answers(address: str) -> list[float]:
    """Seconds from each grade to the next correction, until all are graded."""
    parts = urlsplit(address)
    connection = HTTPConnection(parts.netloc)
    connection.request("GET", f"/?{parts.query}")
    first = connection.getresponse()
    first.read()
    cookie = (first.getheader("set-cookie") or "").partition(";")[0]
    headers = {"cookie": cookie, "origin": f"http://{parts.netloc}", "content-type": "application/json"}
    mine = f"/api/as/bench-{uuid4()}"  # a kept database has the grades of runs before
    connection.request("GET", mine, headers=headers)
    item = json.loads(connection.getresponse().read())["item"]
    took = []
    while item is not None:
        body = {"id": str(uuid4()), "event": "grade", "correction": item["id"], "grade": "good", "note": None}
        began = time.perf_counter()
        connection.request("POST", mine, json.dumps(body), headers)
        item = json.loads(connection.getresponse().read())["item"]
        took.append(time.perf_counter() - began)
    return took


def key_presses(address: str) -> list[float]:
    """Seconds from key press to the next correction on the screen, measured by the page; [] without a browser."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from browser import chromium, missing, open_page

    if missing():
        print(f"no browser: {missing()}")
        return []
    with chromium() as browser, open_page(browser, address) as tab:
        tab.page.fill("#own-name", f"screen-{uuid4()}")
        tab.page.keyboard.press("Enter")
        tab.page.locator("#title").wait_for()
        total = int(tab.page.inner_text("#count").split()[-1])
        for number in range(total):
            tab.page.keyboard.press("2")
            tab.page.locator("#count", has_text=re.compile(rf"^{number + 1} of")).wait_for()
            tab.page.locator("#grades[hidden], [data-grade=good][aria-disabled=false]").first.wait_for(state="attached")
        return [
            each / 1000 for each in tab.page.evaluate("performance.getEntriesByName('answer').map(e => e.duration)")
        ]


def measure(process: "subprocess.Popen[str]", began: float) -> None:
    """What a server that was just started does until it is stopped."""
    address = process.stdout.readline().strip() if process.stdout else ""
    print(f"{'from the command to the address':44} {time.perf_counter() - began:7.3f} s")
    spread("a grade's answer", answers(address))
    pressed = key_presses(address)
    if pressed:
        spread("key press to screen", pressed)
    status = Path(f"/proc/{process.pid}/status").read_text()
    memory = re.search(r"VmHWM:\s+(\d+) kB", status)
    print(f"{'most memory of the server':44} {int(memory[1]) / 1024 if memory else 0:7.0f} MB")
    began = time.perf_counter()
    process.send_signal(signal.SIGINT)
    process.wait()
    print(f"{'from Ctrl-C to all grades in the database':44} {time.perf_counter() - began:7.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rationales", type=int, default=1_000_000)
    parser.add_argument("--sample", type=int, default=50, help="of each corrector")
    parser.add_argument("--keep", type=Path, help="make the database here, or use the one that is here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        db = options.keep or Path(folder) / "lema.duckdb"
        if not db.exists():
            timed(f"making {options.rationales:,} rationales", lambda: fill(db, options.rationales))
        print(f"{'file':44} {db.stat().st_size / 1e6:7.0f} MB")
        store, wish = Store(db), Wish(size=SampleSize(options.sample))
        ids = timed(f"drawing {options.sample} of each corrector", lambda: draw(store, wish))
        timed("reading their texts", lambda: read_items(store, ids))  # type: ignore[arg-type]
        timed("reading the events before", lambda: read_events(store))
        began = time.perf_counter()
        command = [sys.executable, "-c", "from importlib.metadata import entry_points as e; "
                   "e(group='console_scripts')['lema'].load()()", "review", "--db", str(db), "--port", "0",
                   "--sample", str(options.sample)]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                measure(process, began)
            finally:
                process.terminate()
        (row,) = store.rows("select count(*) as n from review")
        print(f"{'grades in the database':44} {row['n']:7}")


if __name__ == "__main__":
    main()
