# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only
"""Finds domains that are out of step, and repairs them."""

from __future__ import annotations

from ansible_collections.xmem.xen.plugins.plugin_utils import output
from ansible_collections.xmem.xen.plugins.plugin_utils.action import XmemAction
from ansible_collections.xmem.xen.plugins.plugin_utils.command import Command, options


class ActionModule(XmemAction):
    """Runs xmem check."""

    ARGUMENTS = {
        "domains": {"type": "list", "elements": "str", "default": []},
        "repair": {"type": "bool", "default": False},
        "lock_timeout": {"type": "str"},
    }

    def command(self, params):
        """The command to run."""
        flags = options(params, "repair", "lock_timeout")
        if params["repair"]:
            flags += self.dry_run()
        return Command("check", flags, tuple(params["domains"]))

    def result(self, objects):
        """The findings."""
        return output.findings(objects, dry_run=self._task.check_mode)
