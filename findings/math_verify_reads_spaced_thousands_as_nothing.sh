#!/usr/bin/env bash
# math-verify takes TeX's thin space between thousands for a mixed number's: 12\,000 is 0, and equal to 35\,000.
#
# Our guess: 12\,000 is 12000, as 12{,}000 and 12,\!000 are. Seen with math-verify 0.9.0 (latex2sympy2_extended 1.11.0):
# of $12\,000$ and $35\,000$ each is 0, so either is right where the other is the reference, and 12000 is wrong;
# $1\,500$ is 1 + 500 = 501, $12\,000$ is 12 * 000. \; and \: and a plain space within dollars do the same.
# Fails where that changes. So lema joins spaced thousands before anything is compared, and asks math-verify last.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
    "math-verify==0.9.0" "latex2sympy2_extended==1.11.0"
"$folder/venv/bin/python" - <<'PY'
from importlib.metadata import version

from math_verify import parse, verify


def is_right(answer: str, reference: str) -> bool:
    return bool(verify(parse(reference), parse(answer)))


print("math-verify", version("math-verify"), parse(r"$12\,000$"), parse(r"$1\,500$"), parse("$12{,}000$"))
assert is_right("$12{,}000$", "$12000$"), "thousands with a comma are no longer read"
assert is_right(r"$35\,000$", r"$12\,000$"), "spaced thousands are no longer all equal"
assert is_right("$0$", r"$12\,000$"), "they are no longer 0"
assert not is_right("$12000$", r"$12\,000$"), "12000 is now 12000"
assert is_right("$501$", r"$1\,500$"), "a thin space no longer adds"
assert is_right("$0$", r"$12\;000$") and is_right("$0$", r"$12\:000$") and is_right("$0$", "$12 000$")
PY
