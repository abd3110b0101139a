# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only
from __future__ import annotations

import importlib

import pytest
import yaml

from ansible_collections.xmem.xen.plugins.doc_fragments.xmem import ModuleDocFragment
from ansible_collections.xmem.xen.plugins.plugin_utils.action import COMMON

BASE = "ansible_collections.xmem.xen.plugins"
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


@pytest.mark.parametrize("name", MODULES)
def test_documented_options_are_the_accepted_ones(name):
    documentation = yaml.safe_load(importlib.import_module(f"{BASE}.modules.{name}").DOCUMENTATION)
    action = importlib.import_module(f"{BASE}.action.{name}").ActionModule
    assert spec(documentation["options"]) == spec(renamed(action.ARGUMENTS))


def test_documented_common_options_are_the_accepted_ones():
    assert spec(yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]) == spec(COMMON)
