#!/usr/bin/env bash
# Ray tells of a node that died on the driver's stdout, though the driver asked for no logs.
#
# Our guess: log_to_driver=False and logging_level="ERROR" keep Ray silent, or it speaks on stderr. Seen with Ray
# 2.60.0: some thirty lines of the dead raylet's log, each node once or twice, on stdout: JSON that a program prints
# there is broken by them. RAY_DEDUP_LOGS_SKIP_REGEX="." set before Ray is imported keeps them away.
# Fails where that changes. So lema sets the variable.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "ray==2.60.0"
cat > "$folder/driver.py" <<'PY'
import sys
import time

import ray
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 * 2**20})
worker = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
try:
    cluster.remove_node(worker, allow_graceful=False)
    deadline = time.monotonic() + 60
    while sum(node["Alive"] for node in ray.nodes()) > 1 and time.monotonic() < deadline:
        time.sleep(0.5)
    time.sleep(3)
    print("ray", ray.__version__, file=sys.stderr)
finally:
    ray.shutdown()
    cluster.shutdown()
PY
export RAY_USAGE_STATS_ENABLED=0
"$folder/venv/bin/python" "$folder/driver.py" > "$folder/out"
echo "lines on stdout: $(wc -l < "$folder/out")"
grep -q raylet "$folder/out" || { echo "it no longer tells of the node there"; exit 1; }
RAY_DEDUP_LOGS_SKIP_REGEX=. "$folder/venv/bin/python" "$folder/driver.py" > "$folder/quiet"
[ ! -s "$folder/quiet" ] || { echo "the variable no longer keeps it quiet"; exit 1; }
