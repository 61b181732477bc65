"""Vega-Lite specifications drawn as SVG and PNG, by a renderer in a process of its own.

    draw([figure.spec])[0].svg          # "<svg ...>"
    draw([{"mark": "none"}])[0]         # Drawn(svg="", png=b"", fault="Vega-Lite to Vega conversion failed")

All text goes through printable.characters before. The renderer is native code with a JavaScript engine: where it ends
all the same, with its process, that costs the figure that it was at. The process reads one JSON object, and writes a
line a figure as soon as that is drawn.
"""

import base64
import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from lema_local import printable
from lema_local.errors import MissingPackageError
from lema_local.hardware import die_with_parent
from lema_local.report.charts import Spec

PNG_SCALE = 2.0
SECONDS_A_FIGURE = 60.0
_RENDERER = (sys.executable, "-m", __name__)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure as drawn; else `fault` says, in one line, why it could not be."""

    svg: str = ""
    png: bytes = b""
    fault: str = ""


def draw(specs: Sequence[Spec], *, png: bool = False, renderer: Sequence[str] = _RENDERER) -> list[Drawn]:
    """Each specification drawn, in their order, as SVG and with `png` as PNG too. MissingPackageError where there is no
    renderer."""
    if importlib.util.find_spec("vl_convert") is None:
        raise MissingPackageError("Figures need vl-convert-python: pip install 'lema-local[report]'")
    found: list[Drawn] = []
    while len(found) < len(specs):
        drawn, end = _rendered(specs[len(found) :], png, renderer)
        found += drawn
        if len(found) < len(specs):
            found.append(Drawn(fault=end))
    return found


def _rendered(specs: Sequence[Spec], png: bool, renderer: Sequence[str]) -> tuple[list[Drawn], str]:
    """The figures that one process of the renderer has drawn, and how it ended."""
    given = json.dumps({"specs": printable.all_characters(specs), "png": png}).encode()
    patience_s = SECONDS_A_FIGURE * len(specs)
    try:
        done = subprocess.run(
            renderer, input=given, capture_output=True, timeout=patience_s, preexec_fn=die_with_parent()
        )
        output, end = done.stdout, f"the renderer ended by itself, {_named(done.returncode)}"
    except subprocess.TimeoutExpired as late:
        output, end = late.stdout or b"", f"the renderer took longer than {patience_s:g} s"
    rows = [json.loads(line) for line in output.splitlines(keepends=True) if line.endswith(b"\n")]
    return [Drawn(row["svg"], base64.b64decode(row["png"]), printable.line(row["fault"])) for row in rows], end


def _named(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"code {code}"


def _main() -> None:
    import vl_convert

    given = json.load(sys.stdin)
    for spec in given["specs"]:
        svg, png, fault = "", b"", ""
        try:
            svg = vl_convert.vegalite_to_svg(spec)
            png = vl_convert.vegalite_to_png(spec, scale=PNG_SCALE) if given["png"] else b""
        except ValueError as error:  # its one kind of error
            fault = str(error).strip().partition("\n")[0][:200] or "no reason given"
        sys.stdout.write(json.dumps({"svg": svg, "png": base64.b64encode(png).decode(), "fault": fault}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
