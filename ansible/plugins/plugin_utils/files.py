# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only
"""Copies files to hosts that have no Python: by checksum, and atomically."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shlex

from ansible.errors import AnsibleActionFail
from ansible.utils.hashing import secure_hash


class RemoteFile:
    """A file on the host of an action."""

    def __init__(self, action, path: str) -> None:
        self.action = action
        self.path = path
        self.staged = f"{path}.new.{secrets.token_hex(4)}"

    def is_current(self, source: str, mode: str) -> bool:
        """Whether the file has the content of source, and this mode."""
        path = shlex.quote(self.path)
        run = self.action.shell(f"[ ! -e {path} ] || {{ sha256sum <{path} && stat -L -c %a {path}; }}")
        if run["rc"] != 0:
            raise AnsibleActionFail(f"cannot read {self.path}: {said(run)}")
        # A terminal may have added more lines.
        found = re.search(r"^([0-9a-f]{64})\s.*\s+([0-7]{3,4})\s*$", run["stdout"], re.MULTILINE | re.DOTALL)
        return found is not None and found[1] == sha256(source) and int(found[2], 8) == int(mode, 8)

    def stage(self, source: str, mode: str) -> None:
        """Copies source beside the file, under a name of its own."""
        upload = self.action.upload(source)
        staged = shlex.quote(self.staged)
        run = self.action.shell(f"umask 077 && cp {shlex.quote(upload)} {staged} && chmod {mode} {staged}")
        if run["rc"] != 0:
            self.discard()
            raise AnsibleActionFail(f"cannot write {self.staged}: {said(run)}")

    def commit(self) -> None:
        """Puts the staged file in the file's place."""
        run = self.action.shell(f"mv -f {shlex.quote(self.staged)} {shlex.quote(self.path)}")
        if run["rc"] != 0:
            self.discard()
            raise AnsibleActionFail(f"cannot replace {self.path}: {said(run)}")

    def discard(self) -> None:
        """Removes the staged file."""
        self.action.shell(f"rm -f {shlex.quote(self.staged)}")


def sha256(path: str) -> str:
    """The SHA-256 of a file on the controller."""
    return secure_hash(path, hashlib.sha256)


def said(run: dict) -> str:
    """What a failed command printed."""
    text = (run["stderr"].strip() or run["stdout"].strip()).replace("\r", "")
    return text or f"exit code {run['rc']}"


def binary_for(source: str, machine: str) -> str:
    """The binary for a host whose uname -m is machine: source, or a file in the directory source."""
    if not os.path.isdir(source):
        return source
    path = os.path.join(source, f"xmem-{machine}")
    if not os.path.exists(path):
        raise AnsibleActionFail(f"there is no xmem-{machine} in {source}")
    return path


def version(text: str) -> tuple[int, ...] | None:
    """The version that xmem --version printed; None if it printed none."""
    found = re.search(r"^xmem (\d+)\.(\d+)\.(\d+)", text, re.MULTILINE)
    return tuple(map(int, found.groups())) if found else None
