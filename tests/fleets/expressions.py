#!/usr/bin/env python3
"""The expressions of a dashboard, and the metrics that they and the alerting rules use.

    expressions.py names FILE METRICS      fails if FILE uses a metric that the file METRICS lacks
    expressions.py rules DASHBOARD         prints them as a rule file, for promtool
    expressions.py queries DASHBOARD       prints them one a line, with the dashboard's variables set
"""

import json
import re
import sys

# What node_exporter itself exports about the file, and what xmem prints only if a guest reports it.
OTHERS = {"node_textfile_mtime_seconds", "xmem_domain_used_bytes"}


def expressions(path):
    with open(path, encoding="utf-8") as file:
        dashboard = json.load(file)
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$instance", ".*").replace("$domain", ".*")


def names(path, metrics):
    with open(path, encoding="utf-8") as file:
        used = set(re.findall(r"\b(?:xmem|node)_[a-z_]+\b", file.read()))
    with open(metrics, encoding="utf-8") as file:
        known = set(re.findall(r"^# TYPE (\S+)", file.read(), re.MULTILINE))
    missing = used - known - OTHERS
    for name in sorted(missing):
        print(f"{path} uses {name}, which does not exist")
    if not used & known:
        print(f"{path} uses no metric at all")
    return 1 if missing or not used & known else 0


def main():
    command, path, *rest = sys.argv[1:]
    if command == "names":
        return names(path, *rest)
    if command == "rules":
        rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(expressions(path))]
        # JSON is YAML.
        print(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    else:
        print(*expressions(path), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
