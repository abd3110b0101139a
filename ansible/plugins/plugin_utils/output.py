# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only
"""What xmem printed, as Ansible reports it. Pure: nothing here runs anything."""

from __future__ import annotations

import json

SCHEMA = 2

# Keys of xmem's objects that say nothing about the host.
HEAD = ("schema", "command")


class OutputError(Exception):
    """The output is not that of an xmem that this collection understands."""


def read(stdout: str) -> list[dict]:
    """The objects that xmem printed.

    Lines that are not JSON objects are skipped: on a terminal, standard error is mixed in.
    """
    objects = []
    for line in stdout.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if not isinstance(value, dict) or "schema" not in value:
            continue
        if value["schema"] != SCHEMA:
            raise OutputError(
                f"xmem prints JSON of schema {value['schema']}, this collection reads schema {SCHEMA}: "
                "install the xmem of the same release"
            )
        objects.append(value)
    return objects


def results(objects: list[dict]) -> list[dict]:
    """The objects that are not events on the way to a result."""
    return [one for one in objects if "event" not in one]


def change(objects: list[dict]) -> dict:
    """The result of one change."""
    last = objects[-1]
    result = domain(last)
    result["changed"] = changed(last)
    result.update(failure(objects))
    return result | {"diff": diff(objects)}


def changes(objects: list[dict]) -> dict:
    """The result of the changes of several domains."""
    ends = results(objects)
    return {
        "changed": any(changed(one) for one in ends),
        "domains": [domain(one) for one in ends],
        "diff": diff(ends),
    } | failure(objects)


def reclaim(objects: list[dict]) -> dict:
    """The result of reclaim. A dry run prints no changes, but what each domain would give."""
    ends = [one for one in results(objects) if "domid" in one]
    plan = [domain(one) for one in objects if one.get("event") in ("gives", "would-give")]
    summaries = [one["reclaim"] for one in objects if "reclaim" in one]
    summary = summaries[0] if summaries else None
    foreseen = summary is not None and summary["end"] == "planned"
    return {
        "changed": foreseen or any(changed(one) for one in ends),
        "plan": plan,
        "domains": [domain(one) for one in ends],
        "reclaim": summary,
        "diff": planned_diff(plan) if foreseen else diff(ends),
    } | failure(objects)


def listing(objects: list[dict]) -> dict:
    """The domains and the host, as list prints them."""
    hosts = [one["host"] for one in objects if "host" in one]
    return {
        "changed": False,
        "domains": [domain(one) for one in objects if "domid" in one and "error" not in one],
        "host": hosts[0] if hosts else None,
    } | failure(objects)


def findings(objects: list[dict], dry_run: bool) -> dict:
    """The findings of check. What a repair in check mode would fix is no failure."""
    found = [domain(one) for one in objects if "kind" in one]
    summaries = [one["summary"] for one in objects if "summary" in one]
    would_repair = [one for one in found if dry_run and one["repair"] is not None]
    left = [one for one in found if one["out_of_step"] and not one["repaired"] and one not in would_repair]
    result = {
        "changed": bool(would_repair) or any(one["repaired"] for one in found),
        "findings": found,
        "summary": summaries[0] if summaries else None,
    }
    if left:
        result |= {
            "failed": True,
            "msg": "; ".join(f"{title(one)}: {one['message']}" for one in left),
            "error": {
                "kind": left[0]["kind"],
                "exit_code": 9,
                "message": left[0]["message"],
                "hint": left[0]["fix"],
                "state": "out-of-step",
            },
        }
    return result | failure(objects)


def domain(one: dict) -> dict:
    """An object without what is the same in all."""
    return {key: value for key, value in one.items() if key not in HEAD}


def changed(one: dict) -> bool:
    """Whether a run changed something or, in check mode, would have."""
    return bool(one.get("would_change") if one.get("dry_run") else one.get("changed"))


def failure(objects: list[dict]) -> dict:
    """What a failed task says; nothing if no object has an error."""
    errors = [one["error"] for one in objects if "error" in one]
    if not errors:
        return {}
    return {
        "failed": True,
        "msg": "; ".join(sentence(error) for error in errors),
        # A domain out of step matters most, as in xmem's own exit code.
        "error": max(errors, key=lambda error: error["exit_code"] == 9),
    }


def sentence(error: dict) -> str:
    """The message with its hint."""
    hint = error.get("hint")
    return f"{error['message']} (hint: {hint})" if hint else error["message"]


def diff(objects: list[dict]) -> list[dict]:
    """Old and new numbers of each domain, for diff mode."""
    return [
        {
            "before_header": title(one),
            "after_header": title(one),
            "before": one["old"],
            "after": one["new"],
        }
        for one in objects
        if one.get("old") is not None and one.get("new") is not None
    ]


def planned_diff(plan: list[dict]) -> list[dict]:
    """Sizes before and after a planned reclaim, for diff mode."""
    return [
        {
            "before_header": title(one),
            "after_header": title(one),
            "before": {"size_kib": one["size_kib"]},
            "after": {"size_kib": one["size_kib"] - one["gives_kib"]},
        }
        for one in plan
        if one["gives_kib"]
    ]


def title(one: dict) -> str:
    """The domain as xmem's own messages name it."""
    name, domid = one.get("name"), one.get("domid")
    if domid is None:
        return "host"
    return f"{name} ({domid})" if name else f"domain {domid}"
