#!/usr/bin/env bash
# statsmodels' Holm calls a comparison without a p value rejected where all others are, and counts it among them.
#
# Our guess: NaN is left out, or is at least never "rejected". Seen with statsmodels 0.15.0, NumPy and SciPy as its pip
# takes them: multipletests([0.001, 0.002, nan], method="holm") rejects all three; the first is adjusted to 0.003, three
# times its p, though two comparisons were made. Adjusted p values of NaN stay NaN.
# Fails where that changes. So lema leaves a comparison without a p out before it adjusts, and refuses NaN.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "statsmodels==0.15.0"
"$folder/venv/bin/python" - <<'PY'
import math

import statsmodels
from statsmodels.stats.multitest import multipletests

rejected, adjusted, *_ = multipletests([0.001, 0.002, math.nan], method="holm")
print("statsmodels", statsmodels.__version__, rejected.tolist(), adjusted.tolist())
assert rejected.tolist() == [True, True, True], "a comparison without a p is no longer called rejected"
assert math.isclose(adjusted[0], 0.003), "it is no longer counted among the others"
assert math.isnan(adjusted[2])
PY
