# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only
from __future__ import annotations

import pytest

from ansible.errors import AnsibleActionFail

from ansible_collections.xmem.xen.plugins.plugin_utils.files import RemoteFile, binary_for, version

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("xmem 0.2.0\n", (0, 2, 0)),
        ("Last login\r\nxmem 10.0.1-rc1\r\n", (10, 0, 1)),
        ("sh: xmem: not found", None),
        ("", None),
    ],
)
def test_version(text, expected):
    assert version(text) == expected


def test_binary_for(tmp_path):
    binary = tmp_path / "xmem-aarch64"
    binary.write_text("")
    assert binary_for(str(tmp_path), "aarch64") == str(binary)
    assert binary_for(str(binary), "x86_64") == str(binary)
    with pytest.raises(AnsibleActionFail, match="no xmem-x86_64"):
        binary_for(str(tmp_path), "x86_64")


class Host:
    """An action whose host gives a fixed answer."""

    def __init__(self, stdout="", rc=0):
        self.answer = {"rc": rc, "stdout": stdout, "stderr": "no such luck" if rc else ""}

    def shell(self, command):
        return self.answer


@pytest.mark.parametrize(
    "stdout, expected",
    [
        (f"{EMPTY}  -\n644\n", True),
        (f"Welcome\r\n{EMPTY}  -\r\n644\r\n", True),
        (f"{EMPTY}  -\n600\n", False),
        (f"{EMPTY.replace('e', 'f')}  -\n644\n", False),
        ("", False),
    ],
)
def test_is_current(stdout, expected, tmp_path):
    source = tmp_path / "source"
    source.write_text("")
    assert RemoteFile(Host(stdout), "/there").is_current(str(source), "0644") is expected


def test_a_file_that_cannot_be_read_fails(tmp_path):
    with pytest.raises(AnsibleActionFail, match="cannot read /there: no such luck"):
        RemoteFile(Host(rc=1), "/there").is_current(str(tmp_path), "0644")
