# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only
"""Reads the memory of domains and their host."""

from __future__ import annotations

from ansible_collections.xmem.xen.plugins.plugin_utils import output
from ansible_collections.xmem.xen.plugins.plugin_utils.action import XmemAction
from ansible_collections.xmem.xen.plugins.plugin_utils.command import Command


class ActionModule(XmemAction):
    """Runs xmem list."""

    ARGUMENTS = {
        "domains": {"type": "list", "elements": "str", "default": []},
    }

    def command(self, params):
        """The command to run."""
        return Command("list", operands=tuple(params["domains"]))

    def result(self, objects):
        """The domains and the host."""
        return output.listing(objects)
