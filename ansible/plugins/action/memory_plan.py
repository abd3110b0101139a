# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only
"""Sets the memory of several domains."""

from __future__ import annotations

from ansible_collections.xmem.xen.plugins.plugin_utils import output
from ansible_collections.xmem.xen.plugins.plugin_utils.action import XmemAction
from ansible_collections.xmem.xen.plugins.plugin_utils.command import Command, options


class ActionModule(XmemAction):
    """Runs xmem apply."""

    ARGUMENTS = {
        "plan": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "options": {
                "domain": {"type": "str", "required": True},
                "size": {"type": "str", "required": True},
            },
        },
        "raise_max": {"type": "bool", "default": False},
        "partial": {"type": "bool", "default": False},
        "force": {"type": "bool", "default": False},
        "wait": {"type": "raw"},
        "patience": {"type": "str"},
        "within": {"type": "str"},
        "keep_free": {"type": "str"},
        "lock_timeout": {"type": "str"},
    }

    def command(self, params):
        """The command to run."""
        flags = self.dry_run() + options(
            params, "raise_max", "partial", "force", "wait", "patience", "within", "keep_free", "lock_timeout"
        )
        plan = "".join(f"{line['domain']} {line['size']}\n" for line in params["plan"])
        return Command("apply", flags, ("-",), plan)

    def result(self, objects):
        """The changes."""
        return output.changes(objects)
