#!/usr/bin/python
# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only

# The work is done by the action plugin of the same name.

from __future__ import annotations

DOCUMENTATION = r"""
module: memory
short_description: Set the memory of a Xen domain
version_added: 0.2.0
description:
  - Sets the balloon target of a running domain, and the hypervisor's limit with it, by C(xmem set).
  - Or sets its maximum by C(xmem max).
options:
  domain:
    description: Domid, UUID or name of the domain. V(id:7), V(uuid:...) and V(name:7) are explicit.
    type: str
    required: true
  size:
    description:
      - The domain's memory, such as V(512M) or V(2G). A bare number is MiB.
      - V(max) is the maximum, V(50%) a share of it.
      - V(+256M) and V(-256M) are relative, so a task with them changes the domain on every run.
    type: str
  max:
    description:
      - The maximum (static-max), such as V(4G). The limit becomes the maximum plus 1 MiB.
      - To raise maximum and size in one change, use O(size) with O(raise_max).
    type: str
  patience:
    description: How long to wait for a guest without progress, such as V(30s).
    type: str
extends_documentation_fragment:
  - xmem.xen.xmem.size
  - xmem.xen.xmem.lock
  - xmem.xen.xmem.change
  - xmem.xen.xmem
seealso:
  - module: xmem.xen.memory_plan
  - module: xmem.xen.memory_info
  - module: xmem.xen.memory_check
  - module: xmem.xen.reclaim
author: xmem developers (@xmem)
"""

EXAMPLES = r"""
- name: Give web 2 GiB
  xmem.xen.memory:
    domain: web
    size: 2G
    wait: 5m

- name: Grow db beyond its maximum, leaving 1 GiB of the host free
  xmem.xen.memory:
    domain: db
    size: 12G
    raise_max: true
    keep_free: 1G

- name: Carry on if somebody else is changing web
  xmem.xen.memory:
    domain: web
    size: 2G
    lock_timeout: 5s
  register: web
  failed_when: web is failed and web.error.kind | default("") != "lock-busy"
"""

RETURN = r"""
domid:
  description: The domid.
  returned: the domain is known
  type: int
name:
  description: The name; null if the domain has none.
  returned: the domain is known
  type: str
uuid:
  description: The UUID.
  returned: the domain is known
  type: str
old:
  description: The numbers before.
  returned: success
  type: dict
  contains:
    target_kib:
      description: The balloon target.
      type: int
    size_kib:
      description: Target and video memory, which is what O(size) sets.
      type: int
    static_max_kib:
      description: The ceiling of the target; null if there is none.
      type: int
    limit_kib:
      description: What the hypervisor lets the domain hold; null if there is no limit.
      type: int
new:
  description: The numbers after, with the keys of RV(old).
  returned: success
  type: dict
current_kib:
  description: What the domain held before.
  returned: success
  type: int
notes:
  description: Notes on the change, as a list of C(kind) and C(text).
  returned: success
  type: list
  elements: dict
wait:
  description: How the wait ended, with C(end), C(took_ms), C(current_kib), C(wanted_kib) and C(reasons).
  returned: O(wait) was asked for
  type: dict
error:
  description: What failed. The task's C(msg) has its message and hint.
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
