# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only
"""The command line of xmem. Pure: nothing here runs anything."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

# A remote shell often has no sbin in its PATH.
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Command:
    """One run of xmem."""

    subcommand: str
    options: tuple[str, ...] = ()
    operands: tuple[str, ...] = ()
    stdin: str | None = None

    def argv(self, executable: str) -> list[str]:
        """The program and its arguments."""
        return [executable, self.subcommand, "--json", *self.options, "--", *self.operands]

    def shell(self, executable: str, environment: str = "") -> str:
        """The command as a POSIX shell runs it; environment is a string of assignments."""
        words = [environment] if environment else []
        if "/" not in executable:
            words.insert(0, f'PATH="$PATH:{SBIN}"')
        words.append(shlex.join(self.argv(executable)))
        line = " ".join(words)
        if self.stdin is None:
            return f"{line} </dev/null"
        # Not every connection plugin passes standard input on.
        return f"printf %s {shlex.quote(self.stdin)} | {line}"


def options(params: dict, *names: str) -> tuple[str, ...]:
    """The options of xmem for these parameters: keep_free=1G becomes --keep-free=1G."""
    found = []
    for name in names:
        option = "--" + name.replace("_", "-")
        value = params.get(name)
        if value is True:
            found.append(option)
        elif isinstance(value, list):
            found.extend(f"{option}={item}" for item in value)
        elif value is not None and value is not False:
            found.append(f"{option}={value}")
    return tuple(found)
