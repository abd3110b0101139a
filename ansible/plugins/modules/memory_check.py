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
  - Looks for domains whose target, limit and maximum do not fit each other, and for what killed runs left,
    by C(xmem check).
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
    description: Runs xmem with C(--dry-run). What it would repair counts as changed, and not as a failure.
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
      description: Whether the domain is out of step, rather than worth a notice.
      type: bool
    message:
      description: What it is, with numbers.
      type: str
    meaning:
      description: What follows from it.
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
  description: What failed, or the first finding that is out of step. The task's C(msg) has its message and hint.
  returned: failure
  type: dict
  contains:
    kind:
      description: The kind of the failure, such as V(refused), V(lock-busy) or V(stuck).
      type: str
    exit_code:
      description: The exit code of xmem for this failure.
      type: int
    message:
      description: What failed, and what stands now.
      type: str
    hint:
      description: What to do next; null if there is nothing to advise.
      type: str
    state:
      description: Whether the change stands, such as V(unchanged), V(rolled-back), V(changed) or V(out-of-step).
      type: str
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
