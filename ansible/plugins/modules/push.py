#!/usr/bin/python
# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only

# The work is done by the action plugin of the same name.

from __future__ import annotations

DOCUMENTATION = r"""
module: push
short_description: Copy a file to a host without Python
version_added: 0.2.0
description:
  - Copies a file by its SHA-256 checksum, and replaces the old one atomically.
  - Needs a POSIX shell, C(sha256sum) and C(stat) on the host. On a host with Python, M(ansible.builtin.copy) does more.
options:
  src:
    description: A file on the controller.
    type: path
  content:
    description: The content of the file.
    type: str
  dest:
    description: The file on the host. Its directory must exist.
    type: str
    required: true
  mode:
    description: The mode, in octal.
    type: str
    default: "0644"
  validate:
    description: A shell command that must succeed before the old file is replaced. V(%s) in it is the new file.
    type: str
attributes:
  check_mode:
    support: full
    description: Reports whether the file would change.
  diff_mode:
    support: none
    description: There is nothing to show.
seealso:
  - module: xmem.xen.memory
  - module: xmem.xen.memory_plan
  - module: xmem.xen.memory_info
  - module: xmem.xen.memory_check
  - module: xmem.xen.reclaim
author: xmem developers (@xmem)
"""

EXAMPLES = r"""
- name: Let operators use xmem set
  xmem.xen.push:
    src: xmem.sudoers
    dest: /etc/sudoers.d/xmem
    mode: "0440"
    validate: visudo -cf %s
"""

RETURN = r"""
dest:
  description: The file on the host.
  returned: always
  type: str
"""
