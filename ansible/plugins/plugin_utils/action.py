# Copyright: xmem developers
# GNU General Public License v3.0 only (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-only
"""The base of this collection's action plugins.

They run on the controller, and run shell commands over the connection as ansible.builtin.raw does.
"""

from __future__ import annotations

import os
import shlex

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.xmem.xen.plugins.plugin_utils import output
from ansible_collections.xmem.xen.plugins.plugin_utils.files import RemoteFile, binary_for, said, version

COMMON = {
    "executable": {"type": "str", "default": "xmem"},
    "push": {"type": "bool", "default": False},
    "push_from": {"type": "path"},
}


class HostAction(ActionBase):
    """An action that works through the shell of the host alone."""

    _supports_check_mode = True
    _supports_diff = True

    def shell(self, command: str) -> dict:
        """Runs a shell command on the host, with the task's become."""
        return self._low_level_execute_command(command)

    def upload(self, source: str) -> str:
        """Copies a file of the controller to the temporary directory of the host, and returns its path there."""
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        upload = self._connection._shell.join_path(self._connection._shell.tmpdir, "source")
        self._transfer_file(source, upload)
        self._fixup_perms2((self._connection._shell.tmpdir, upload), execute=False)
        return upload

    def run(self, tmp=None, task_vars=None):
        """Runs the action."""
        result = super().run(tmp, task_vars)
        try:
            # Ansible takes an exit code other than 0 for a failure unless it is told.
            result.update({"failed": False} | self.perform())
        except AnsibleActionFail as error:
            # Returned rather than raised, so that failed_when applies.
            result.update(failed=True, msg=error.message)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def perform(self) -> dict:
        """Does the work, and returns the result."""
        raise NotImplementedError


class XmemAction(HostAction):
    """An action that is one run of xmem on the host."""

    ARGUMENTS: dict = {}
    RULES: dict = {}

    def command(self, params: dict):
        """The command to run."""
        raise NotImplementedError

    def result(self, objects: list[dict]) -> dict:
        """The result, from the objects that xmem printed."""
        raise NotImplementedError

    def dry_run(self) -> tuple[str, ...]:
        """The option that keeps xmem from changing anything, in check mode."""
        return ("--dry-run",) if self._task.check_mode else ()

    def perform(self) -> dict:
        """Runs xmem, after pushing it if that is wanted."""
        rules = {"required_if": [("push", True, ("push_from",))], **self.RULES}
        params = self.validate_argument_spec({**COMMON, **self.ARGUMENTS}, **rules)[1]
        executable = params["executable"]
        result = {}
        if params["push"]:
            if "/" not in executable:
                executable = f"/usr/local/sbin/{executable}"
            result["pushed"] = self.push(params["push_from"], executable)

        command = self.command(params)
        run = self.shell(command.shell(executable, self._compute_environment_string()))
        result |= {"rc": run["rc"], "cmd": command.argv(executable)}
        try:
            objects = output.read(run["stdout"])
        except output.OutputError as error:
            return result | {"failed": True, "msg": str(error)}
        if objects:
            result |= self.result(objects)
            result["changed"] = result["changed"] or result.get("pushed", False)
            # check exits with 9 for findings, which the result judges.
            if run["rc"] in (0, 9) or result.get("failed"):
                return result
        if result.get("pushed") and self._task.check_mode:
            return result | {"changed": True, "msg": f"would copy xmem to {executable}; what it would do is not known"}
        return result | {"failed": True, "msg": unexpected(executable, run)}

    def push(self, push_from: str, executable: str) -> bool:
        """Copies the binary to the host if it is missing there or older; whether it was copied."""
        source = self._find_needle("files", push_from)
        machine = self.shell("uname -m")["stdout"].strip()
        source = binary_for(source, machine)
        remote = RemoteFile(self, executable)
        if remote.is_current(source, "0755"):
            return False
        if self._task.check_mode:
            return True
        remote.stage(source, "0755")
        new = self.shell(f"{shlex.quote(remote.staged)} --version")
        if version(new["stdout"]) is None:
            remote.discard()
            raise AnsibleActionFail(f"{os.path.basename(source)} does not run on this host ({machine}): {said(new)}")
        old = version(self.shell(f"{shlex.quote(executable)} --version")["stdout"])
        if old is not None and old > version(new["stdout"]):
            remote.discard()
            return False
        remote.commit()
        return True


def unexpected(executable: str, run: dict) -> str:
    """The message about a run that printed no result."""
    if run["rc"] == 127:
        return f"{executable} is not on this host: install it with the role xmem.xen.xmem, or set push"
    if run["rc"] == 126:
        return f"{executable} cannot be run on this host: {said(run)}"
    return f"{executable} ended with exit code {run['rc']} and no result: {said(run)}"
