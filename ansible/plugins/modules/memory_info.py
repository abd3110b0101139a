#!/usr/bin/python
# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only

# The work is done by the action plugin of the same name.

from __future__ import annotations

DOCUMENTATION = r"""
module: memory_info
short_description: Read the memory of Xen domains
version_added: 0.2.0
description:
  - Reads target, size, limit, maximum and present memory of domains, and the memory of their host, by C(xmem list).
options:
  domains:
    description: Domids, UUIDs or names; all domains if empty.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [xmem.xen.xmem]
attributes:
  check_mode:
    support: full
    description: Changes nothing.
  diff_mode:
    support: none
    description: There is nothing to show.
seealso:
  - module: xmem.xen.memory
  - module: xmem.xen.memory_plan
  - module: xmem.xen.memory_check
  - module: xmem.xen.reclaim
author: xmem developers (@xmem)
"""

EXAMPLES = r"""
- name: Read all domains
  xmem.xen.memory_info:
  register: xen

- name: Print the names of domains with notices
  ansible.builtin.debug:
    msg: "{{ xen.domains | selectattr('notes') | map(attribute='name') }}"

- name: Wait for web without holding a connection
  xmem.xen.memory_info:
    domains: [web]
  register: web
  until: web.domains[0].current_kib <= 2 * 1024 * 1024
  retries: 30
  delay: 10
"""

RETURN = r"""
domains:
  description: The domains, with their notices.
  returned: xmem ran
  type: list
  elements: dict
  contains:
    domid:
      description: The domid.
      type: int
    name:
      description: The name; null if the domain has none.
      type: str
    uuid:
      description: The UUID.
      type: str
    type:
      description: V(PV), V(PVH) or V(HVM).
      type: str
    state:
      description: V(running), V(paused), V(building), V(suspended), V(shut-down), V(crashed) or V(dying).
      type: str
    current_kib:
      description: What the domain holds.
      type: int
    target_kib:
      description: The balloon target.
      type: int
    size_kib:
      description: Target and video memory, which is the size that M(xmem.xen.memory) sets.
      type: int
    static_max_kib:
      description: The ceiling of the target; null if there is none.
      type: int
    limit_kib:
      description: What the hypervisor lets the domain hold; null if there is no limit.
      type: int
    videoram_kib:
      description: Its video memory.
      type: int
    used_kib:
      description: What the guest itself reports as used; null if it reports nothing.
      type: int
    notes:
      description: Its notices and problems, as a list of C(kind) and C(text).
      type: list
      elements: dict
host:
  description: The memory of the host, as C(total_kib), C(free_kib) and C(claimed_kib).
  returned: xmem ran
  type: dict
error:
  description:
    - What failed. The task's C(msg) has its message and hint.
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
