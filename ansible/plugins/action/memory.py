# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only
"""Sets the memory of one domain."""

from __future__ import annotations

from ansible_collections.xmem.xen.plugins.plugin_utils import output
from ansible_collections.xmem.xen.plugins.plugin_utils.action import XmemAction
from ansible_collections.xmem.xen.plugins.plugin_utils.command import Command, options


class ActionModule(XmemAction):
    """Runs xmem set or xmem max."""

    ARGUMENTS = {
        "domain": {"type": "str", "required": True},
        "size": {"type": "str"},
        "max": {"type": "str"},
        "raise_max": {"type": "bool", "default": False},
        "force": {"type": "bool", "default": False},
        "wait": {"type": "raw"},
        "patience": {"type": "str"},
        "within": {"type": "str"},
        "keep_free": {"type": "str"},
        "lock_timeout": {"type": "str"},
    }
    RULES = {
        "mutually_exclusive": [
            ("size", "max"),
            *(("max", name) for name in ("raise_max", "wait", "patience", "within", "keep_free")),
        ],
        "required_one_of": [("size", "max")],
    }

    def command(self, params):
        """The command to run."""
        flags = self.dry_run() + options(params, "force", "lock_timeout")
        if params["max"] is not None:
            return Command("max", flags, (params["domain"], params["max"]))
        flags += options(params, "raise_max", "wait", "patience", "within", "keep_free")
        return Command("set", flags, (params["domain"], params["size"]))

    def result(self, objects):
        """The change."""
        return output.change(objects)
