# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only
"""Frees memory of the host."""

from __future__ import annotations

from ansible_collections.xmem.xen.plugins.plugin_utils import output
from ansible_collections.xmem.xen.plugins.plugin_utils.action import XmemAction
from ansible_collections.xmem.xen.plugins.plugin_utils.command import Command, options


class ActionModule(XmemAction):
    """Runs xmem reclaim."""

    ARGUMENTS = {
        "size": {"type": "str", "required": True},
        "from": {"type": "list", "elements": "str", "required": True},
        "floor": {"type": "list", "elements": "str"},
        "priority": {"type": "str", "choices": ["order", "even"]},
        "or_restore": {"type": "bool", "default": False},
        "patience": {"type": "str"},
        "keep_free": {"type": "str"},
        "lock_timeout": {"type": "str"},
    }

    def command(self, params):
        """The command to run."""
        flags = self.dry_run() + options(
            params, "from", "floor", "priority", "or_restore", "patience", "keep_free", "lock_timeout"
        )
        return Command("reclaim", flags, (params["size"],))

    def result(self, objects):
        """What was reclaimed."""
        return output.reclaim(objects)
