# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only

from __future__ import annotations


class ModuleDocFragment:
    """What all modules have in common."""

    DOCUMENTATION = r"""
options:
  executable:
    description: xmem on the host, as a path or a name in PATH or in an sbin directory.
    type: str
    default: xmem
  push:
    description:
      - Copy xmem to the host if it is missing there or older, to O(executable) or to C(/usr/local/sbin).
      - The new binary replaces the old one atomically, after it has run once on the host.
    type: bool
    default: false
  push_from:
    description:
      - The static binary on the controller, or a directory with C(xmem-x86_64) and C(xmem-aarch64).
      - Required with O(push).
    type: path
notes:
  - Runs on the controller, and runs the static binary over the connection as M(ansible.builtin.raw) does.
    The host needs no Python.
  - xmem needs root, so set C(become) unless the connection is root's.
  - C(environment) is passed on, for example C(XMEM_HOST=sim:/tmp/host) for a simulated host.
  - C(async) is refused, as there is no job on the host to come back to. Bound a wait by its time instead.
"""
