#!/usr/bin/python
# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only

# The work is done by the action plugin of the same name.

from __future__ import annotations

DOCUMENTATION = r"""
module: reclaim
short_description: Free memory of a Xen host
version_added: 0.2.0
description:
  - Shrinks the named guests until the host has as much free memory as asked for, by C(xmem reclaim).
  - If the host has it already, nothing changes.
options:
  size:
    description: The free memory that the host should have, such as V(8G).
    type: str
    required: true
  from:
    description: The domains that may shrink, or V(all) for each running guest that no other daemon manages.
    type: list
    elements: str
    required: true
  floor:
    description: The least memory that each domain keeps, such as V(512M), or for one domain V(web=1G).
    type: list
    elements: str
  priority:
    description: Whether to take from the domains in the order of O(from), or evenly.
    type: str
    choices: [order, even]
  or_restore:
    description: Restore the old targets if O(size) is not reached.
    type: bool
    default: false
  patience:
    description: How long to wait for a guest without progress, such as V(30s).
    type: str
  keep_free:
    description: Memory of the host to keep free in addition to O(size), such as V(1G).
    type: str
extends_documentation_fragment:
  - xmem.xen.xmem.lock
  - xmem.xen.xmem.change
  - xmem.xen.xmem
seealso:
  - module: xmem.xen.memory
  - module: xmem.xen.memory_plan
  - module: xmem.xen.memory_info
  - module: xmem.xen.memory_check
author: xmem developers (@xmem)
"""

EXAMPLES = r"""
- name: Make room for a guest of 8 GiB
  xmem.xen.reclaim:
    size: 8G
    from: [web, db]
    floor: [512M, db=4G]
    or_restore: true
"""

RETURN = r"""
reclaim:
  description: How it ended, with C(end), C(goal_kib), C(available_kib) and C(possible_kib).
  returned: xmem ran
  type: dict
plan:
  description: What each domain gives, or why it gives nothing.
  returned: xmem ran
  type: list
  elements: dict
domains:
  description:
    - One result for each domain, as M(xmem.xen.memory) returns it, in the order in which xmem reported them.
    - A domain that failed has a key C(error).
  returned: xmem ran
  type: list
  elements: dict
error:
  description:
    - What failed first. The task's C(msg) has the messages and hints of all.
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
