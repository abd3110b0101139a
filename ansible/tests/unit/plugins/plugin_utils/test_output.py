# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only
from __future__ import annotations

import json

import pytest

from ansible_collections.xmem.xen.plugins.plugin_utils import output

WEB = {"schema": 2, "command": "set", "simulated": False, "domid": 7, "name": "web", "uuid": "u"}
OLD = {"target_kib": 1024, "size_kib": 1024, "static_max_kib": None, "limit_kib": 2048}
NEW = {"target_kib": 512, "size_kib": 512, "static_max_kib": None, "limit_kib": 1536}
CHANGE = WEB | {"changed": True, "dry_run": False, "old": OLD, "new": NEW, "notes": []}
ERROR = {"kind": "refused", "exit_code": 4, "message": "too much", "hint": "ask for less", "state": "unchanged"}
FINDING = WEB | {
    "kind": "limit-too-low",
    "out_of_step": True,
    "message": "limit below target",
    "meaning": "allocations fail",
    "fix": "xmem check --repair 7",
    "repaired": False,
    "repair": None,
}


def lines(*objects):
    return "".join(json.dumps(one) + "\n" for one in objects)


def test_read_skips_what_is_no_object():
    text = "Last login: today\r\nhint: {no json}\r\n[1]\n{}\n" + lines(CHANGE)
    assert output.read(text.replace("\n", "\r\n")) == [CHANGE]


def test_results_are_not_events():
    assert output.results([WEB | {"event": "progress"}, CHANGE]) == [CHANGE]


def test_read_of_another_schema_fails():
    with pytest.raises(output.OutputError, match="schema 1"):
        output.read(lines(CHANGE | {"schema": 1}))


def test_change():
    result = output.change([CHANGE])
    assert result["changed"] is True
    assert (result["domid"], result["old"], result["new"]) == (7, OLD, NEW)
    assert result["diff"] == [{"before_header": "web (7)", "after_header": "web (7)", "before": OLD, "after": NEW}]
    assert "schema" not in result and "failed" not in result


@pytest.mark.parametrize("would_change", [True, False])
def test_a_dry_run_has_changed_what_it_would_change(would_change):
    one = CHANGE | {"changed": False, "would_change": would_change, "dry_run": True}
    assert output.change([one])["changed"] is would_change


def test_a_failure_has_kind_exit_code_and_hint():
    result = output.change([WEB | {"changed": False, "error": ERROR}])
    assert result["failed"] is True
    assert result["error"] == ERROR
    assert result["msg"] == "too much (hint: ask for less)"


def test_a_failed_wait_has_changed():
    error = ERROR | {"kind": "stuck", "exit_code": 8, "state": "changed", "hint": None}
    result = output.change([CHANGE | {"wait": {"end": "stuck"}, "error": error}])
    assert (result["failed"], result["changed"], result["msg"]) == (True, True, "too much")


def test_changes_say_what_became_of_each_domain():
    result = output.changes([CHANGE | {"line": 1}, WEB | {"line": 2, "changed": False, "error": ERROR}])
    assert [one["line"] for one in result["domains"]] == [1, 2]
    assert (result["changed"], result["failed"], result["error"]) == (True, True, ERROR)


def test_the_error_of_several_is_that_of_a_domain_out_of_step():
    worst = ERROR | {"kind": "out-of-step", "exit_code": 9}
    failed = [WEB | {"changed": False, "error": error} for error in (ERROR, worst)]
    assert output.changes(failed)["error"] == worst


GIVES = WEB | {"event": "gives", "size_kib": 1024, "gives_kib": 512, "excluded": None}
END = {"schema": 2, "command": "reclaim", "simulated": False}


def test_reclaim():
    result = output.reclaim([GIVES, CHANGE, WEB | {"event": "waited"}, END | {"reclaim": {"end": "reached"}}])
    assert (result["changed"], result["reclaim"], len(result["domains"])) == (True, {"end": "reached"}, 1)
    assert result["plan"][0]["gives_kib"] == 512
    assert result["diff"][0]["after"] == NEW


def test_reclaim_of_what_is_free_changes_nothing():
    result = output.reclaim([END | {"reclaim": {"end": "reached"}}])
    assert (result["changed"], result["domains"]) == (False, [])


def test_a_foreseen_reclaim_is_a_change():
    result = output.reclaim([GIVES | {"event": "would-give"}, END | {"reclaim": {"end": "planned"}}])
    assert result["changed"] is True
    assert (result["diff"][0]["before"], result["diff"][0]["after"]) == ({"size_kib": 1024}, {"size_kib": 512})


def test_a_reclaim_that_is_not_enough_is_a_failure():
    result = output.reclaim([END | {"reclaim": {"end": "not-enough"}, "error": ERROR}])
    assert (result["failed"], result["changed"], result["error"]) == (True, False, ERROR)


def test_listing():
    host = {"total_kib": 3, "free_kib": 2, "claimed_kib": 1}
    result = output.listing([WEB, {"schema": 2, "command": "list", "simulated": False, "host": host}])
    assert [one["name"] for one in result["domains"]] == ["web"]
    assert (result["host"], result["changed"]) == (host, False)


def test_out_of_step_is_a_failure():
    result = output.findings([FINDING, {"schema": 2, "command": "check", "summary": {"out_of_step": 1}}], dry_run=False)
    assert result["failed"] is True
    assert (result["error"]["kind"], result["error"]["exit_code"]) == ("limit-too-low", 9)
    assert result["msg"] == "web (7): limit below target"
    assert result["summary"] == {"out_of_step": 1}


@pytest.mark.parametrize("dry_run, finding", [(True, {"repair": "limit raised"}), (False, {"repaired": True, "repair": "x"})])
def test_what_is_or_would_be_repaired_is_a_change_and_no_failure(dry_run, finding):
    result = output.findings([FINDING | finding], dry_run)
    assert result["changed"] is True and "failed" not in result


def test_notices_are_no_failure():
    result = output.findings([FINDING | {"out_of_step": False}], dry_run=False)
    assert result["changed"] is False and "failed" not in result


@pytest.mark.parametrize(
    "one, expected",
    [({"name": "web", "domid": 7}, "web (7)"), ({"name": None, "domid": 7}, "domain 7"), ({}, "host")],
)
def test_title(one, expected):
    assert output.title(one) == expected
