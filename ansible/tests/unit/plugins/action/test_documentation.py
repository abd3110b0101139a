# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only
from __future__ import annotations

import importlib

import pytest
import yaml

from ansible_collections.xmem.xen.plugins.doc_fragments.xmem import ModuleDocFragment
from ansible_collections.xmem.xen.plugins.plugin_utils.action import COMMON, XmemAction

BASE = "ansible_collections.xmem.xen.plugins"
FRAGMENT = "xmem.xen.xmem"
MODULES = ("memory", "memory_plan", "reclaim", "memory_info", "memory_check", "push")


def spec(options):
    """An argument spec or the options of a documentation, in one form."""
    return {
        name: {
            key: spec(option[key]) if key == "suboptions" else option[key]
            for key in ("type", "required", "default", "choices", "elements", "suboptions")
            if key in option
        }
        for name, option in options.items()
    }


def renamed(arguments):
    return {
        name: {("suboptions" if key == "options" else key): value for key, value in option.items()}
        for name, option in arguments.items()
    }


def documented(name):
    """The options of a module and of its documentation fragments."""
    documentation = yaml.safe_load(importlib.import_module(f"{BASE}.modules.{name}").DOCUMENTATION)
    options = documentation["options"]
    for fragment in documentation.get("extends_documentation_fragment", []):
        variable = fragment.removeprefix(f"{FRAGMENT}.").upper() if fragment != FRAGMENT else "DOCUMENTATION"
        shared = yaml.safe_load(getattr(ModuleDocFragment, variable)).get("options", {})
        assert not options.keys() & shared.keys()
        options |= shared
    return options


@pytest.mark.parametrize("name", MODULES)
def test_documented_options_are_the_accepted_ones(name):
    action = importlib.import_module(f"{BASE}.action.{name}").ActionModule
    accepted = action.ARGUMENTS | (COMMON if issubclass(action, XmemAction) else {})
    assert spec(documented(name)) == spec(renamed(accepted))
