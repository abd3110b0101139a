# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only
"""Copies a file to a host that has no Python."""

from __future__ import annotations

import os
import re
import shlex
import tempfile

from ansible import constants as C
from ansible.errors import AnsibleActionFail

from ansible_collections.xmem.xen.plugins.plugin_utils.action import HostAction
from ansible_collections.xmem.xen.plugins.plugin_utils.files import RemoteFile, said


class ActionModule(HostAction):
    """Copies a file when its content or mode differs."""

    TRANSFERS_FILES = True

    ARGUMENTS = {
        "src": {"type": "path"},
        "content": {"type": "str"},
        "dest": {"type": "str", "required": True},
        "mode": {"type": "str", "default": "0644"},
        "validate": {"type": "str"},
    }
    RULES = {
        "mutually_exclusive": [("src", "content")],
        "required_one_of": [("src", "content")],
    }

    def perform(self):
        """Copies the file."""
        params = self.validate_argument_spec(self.ARGUMENTS, **self.RULES)[1]
        if not re.fullmatch(r"0[0-7]{3}", params["mode"]):
            # YAML reads a bare 0644 as the number 420.
            raise AnsibleActionFail(f'mode is {params["mode"]}, not four octal digits in quotes such as "0644"')
        if params["content"] is None:
            return self.copy(self._find_needle("files", params["src"]), params)
        source = self.local_file(params["content"])
        try:
            return self.copy(source, params)
        finally:
            os.unlink(source)

    def copy(self, source, params):
        """Copies the file source of the controller."""
        dest, mode = params["dest"], params["mode"]
        remote = RemoteFile(self, dest)
        result = {"dest": dest, "changed": not remote.is_current(source, mode)}
        if not result["changed"] or self._task.check_mode:
            return result
        remote.stage(source, mode)
        if params["validate"] is not None:
            run = self.shell(params["validate"].replace("%s", shlex.quote(remote.staged)))
            if run["rc"] != 0:
                remote.discard()
                raise AnsibleActionFail(f"the new {dest} is not valid: {said(run)}")
        remote.commit()
        return result

    def local_file(self, content):
        """A temporary file of the controller with this content."""
        handle, path = tempfile.mkstemp(dir=C.DEFAULT_LOCAL_TMP)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        return path
