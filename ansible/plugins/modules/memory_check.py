#!/usr/bin/python
# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only

# The work is done by the action plugin of the same name.

from __future__ import annotations

DOCUMENTATION = r"""
module: memory_check
short_description: Find Xen domains that are out of step, and repair them
version_added: 0.2.0
description:
  - Runs C(xmem check) to find domains whose target, limit and maximum are inconsistent, and what killed runs left.
  - Fails while a domain is out of step.
options:
  domains:
    description: Domids, UUIDs or names; all domains if empty.
    type: list
    elements: str
    default: []
  repair:
    description: Fix whatever has only one possible fix, each domain under its lock.
    type: bool
    default: false
extends_documentation_fragment:
  - xmem.xen.xmem.lock
  - xmem.xen.xmem
attributes:
  check_mode:
    support: full
    description: Runs xmem with C(--dry-run). Findings that it would repair count as changed, not as failures.
  diff_mode:
    support: none
    description: There is nothing to show.
seealso:
  - module: xmem.xen.memory
  - module: xmem.xen.memory_plan
  - module: xmem.xen.memory_info
  - module: xmem.xen.reclaim
author: xmem developers (@xmem)
"""

EXAMPLES = r"""
- name: Check the host
  xmem.xen.memory_check:

- name: Repair the host
  xmem.xen.memory_check:
    repair: true
"""

RETURN = r"""
findings:
  description: What was found.
  returned: xmem ran
  type: list
  elements: dict
  contains:
    domid:
      description: The domid; absent if the finding is not about a domain.
      type: int
    kind:
      description: The kind, such as V(limit-too-low) or V(stale-lock).
      type: str
    out_of_step:
      description: Whether the domain is out of step; if not, the finding is a notice.
      type: bool
    message:
      description: The problem, with numbers.
      type: str
    meaning:
      description: What the problem means.
      type: str
    fix:
      description: What to do; null if there is nothing.
      type: str
    repaired:
      description: Whether this run repaired it.
      type: bool
    repair:
      description: What was done or, in check mode, would be done; null if nothing.
      type: str
summary:
  description: How many domains were checked, and what was found.
  returned: xmem ran
  type: dict
error:
  description:
    - What failed, or the first finding that is out of step. The task's C(msg) has its message and hint.
    - The keys are those of RV(xmem.xen.memory#module:error).
  returned: failure
  type: dict
cmd:
  description: The command that ran on the host.
  returned: always
  type: list
  elements: str
rc:
  description: The exit code of xmem.
  returned: always
  type: int
pushed:
  description: Whether xmem was copied to the host.
  returned: O(push) is true
  type: bool
"""
