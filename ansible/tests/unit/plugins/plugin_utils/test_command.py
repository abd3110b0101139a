# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only
from __future__ import annotations

import subprocess

import pytest

from ansible_collections.xmem.xen.plugins.plugin_utils.command import Command, options


@pytest.mark.parametrize(
    "params, expected",
    [
        ({}, ()),
        ({"force": False, "wait": None}, ()),
        ({"force": True, "wait": True}, ("--force", "--wait")),
        ({"wait": "5m"}, ("--wait=5m",)),
        ({"wait": 300}, ("--wait=300",)),
        ({"keep_free": "1G"}, ("--keep-free=1G",)),
        ({"from": ["web", "-odd"]}, ("--from=web", "--from=-odd")),
        ({"from": []}, ()),
        ({"unasked": "x"}, ()),
    ],
)
def test_options(params, expected):
    assert options(params, "force", "wait", "keep_free", "from") == expected


def test_operands_never_look_like_options():
    argv = Command("set", ("--force",), ("--wait", "-256M")).argv("xmem")
    assert argv == ["xmem", "set", "--json", "--force", "--", "--wait", "-256M"]


@pytest.mark.parametrize("domain", ["web", "two words", "it's", "$(reboot)", "a;b", "-x", "über", "*"])
def test_the_shell_passes_operands_on_as_they_are(domain, tmp_path):
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    command = Command("list", (), (domain,))
    run = subprocess.run(["sh", "-c", command.shell(str(program))], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["list", "--json", "--", domain]


@pytest.mark.parametrize("plan", ["web 1G\n", "100%s 1G\n", "\\n 1G\n", "it's 1G\n" * 1000])
def test_the_shell_passes_standard_input_on_as_it_is(plan, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec cat\n")
    program.chmod(0o755)
    command = Command("apply", (), ("-",), plan)
    run = subprocess.run(["sh", "-c", command.shell(str(program))], capture_output=True, text=True, check=True)
    assert run.stdout == plan


def test_a_name_is_looked_for_in_sbin_as_well():
    assert Command("list").shell("xmem").startswith('PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" xmem list')
    assert Command("list").shell("/opt/xmem").startswith("/opt/xmem list")


def test_the_environment_is_passed_on():
    assert Command("list").shell("/opt/xmem", "XMEM_HOST=sim").startswith("XMEM_HOST=sim /opt/xmem list")
