#!/usr/bin/python
# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only

# The work is done by the action plugin of the same name.

from __future__ import annotations

DOCUMENTATION = r"""
module: memory_plan
short_description: Set the memory of several Xen domains
version_added: 0.2.0
description:
  - Sets the memory of several domains of a host in one run of C(xmem apply).
  - Everything is checked before the first change. Domains that shrink come first.
  - A domain that grows waits until the host has the memory for it.
options:
  plan:
    description: The domains and their sizes.
    type: list
    elements: dict
    required: true
    suboptions:
      domain:
        description: Domid, UUID or name.
        type: str
        required: true
      size:
        description: The domain's memory, as for M(xmem.xen.memory).
        type: str
        required: true
  partial:
    description: When the host has too little memory for all, give it to the first domains of the plan.
    type: bool
    default: false
  patience:
    description: How long to wait without progress for a guest, or for memory of the host, such as V(30s).
    type: str
extends_documentation_fragment:
  - xmem.xen.xmem.size
  - xmem.xen.xmem.lock
  - xmem.xen.xmem.change
  - xmem.xen.xmem
seealso:
  - module: xmem.xen.memory
  - module: xmem.xen.memory_info
  - module: xmem.xen.memory_check
  - module: xmem.xen.reclaim
author: xmem developers (@xmem)
"""

EXAMPLES = r"""
- name: Shift memory from db to web
  xmem.xen.memory_plan:
    plan:
      - {domain: db, size: 4G}
      - {domain: web, size: 8G}
    wait: true

- name: Set what the inventory says
  xmem.xen.memory_plan:
    plan: "{{ xen_memory | dict2items(key_name='domain', value_name='size') }}"
"""

RETURN = r"""
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
