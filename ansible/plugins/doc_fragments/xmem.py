# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only

from __future__ import annotations


class ModuleDocFragment:
    """What modules have in common."""

    # All that run xmem.

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
  - C(async) is refused, since a background job needs Python on the host. Give a wait an upper bound instead.
"""

    # Those that change a domain, or repair it.
    LOCK = r"""
options:
  lock_timeout:
    description: How long to wait for a domain's lock, such as V(10s).
    type: str
"""

    # Those that change domains.
    CHANGE = r"""
attributes:
  check_mode:
    support: full
    description: Runs xmem with C(--dry-run).
  diff_mode:
    support: full
    description: Shows old and new target, size, static-max and limit of each domain.
notes:
  - A failure has the key RV(error), with xmem's kind, exit code and hint.
  - Exit code 8 (the change stands, but the guest did not reach its target) and 9 (out of step) are failures.
"""

    # Those that set the sizes of domains.
    SIZE = r"""
options:
  raise_max:
    description: Raise a domain's maximum (static-max) as well if the size is above it.
    type: bool
    default: false
  force:
    description: Override the safety rules, such as that against shrinking a guest below 32 MiB.
    type: bool
    default: false
  wait:
    description:
      - Wait for the guest to reach the target while it makes progress.
      - A time such as V(5m) bounds the wait; V(true) does not.
    type: raw
  within:
    description: The distance from the target that counts as reached, such as V(16M).
    type: str
  keep_free:
    description:
      - Memory of the host to keep free when a domain grows, such as V(1G).
      - Memory that other guests are still taking does not count as free.
    type: str
"""
