//! What an admin can do about a finding, as `xmem check` shows it.

use xen::escape::{Escaped, escaped_path};
use xmem_core::diagnosis::Fix;
use xmem_core::size::Written;

use crate::program::Program;
use crate::remedy::Remedy;

/// `fix` as a sentence or a command, for the host of `program`.
pub(crate) fn fix(fix: &Fix, program: &Program) -> Remedy {
    let text = match fix {
        Fix::Repair(None) => program.command("check --repair"),
        Fix::Repair(Some(domid)) => program.command(&format!("check --repair {domid}")),
        Fix::AwaitLock(holder) => {
            return Remedy::await_lock("wait; if it stays locked,", Some(holder));
        }
        Fix::AwaitGuest => {
            return "wait; if it persists, check that the guest's balloon driver is loaded \
                    (it gives up after a few tries until the target changes)"
                .into();
        }
        Fix::Unpause(domid) => return Remedy::unpause(*domid),
        Fix::Rewrite(path) => return Remedy::rewrite(path),
        Fix::First(path) => format!("first fix {}", Escaped(path)),
        Fix::Write(path) => {
            let path = Escaped(path);
            return Remedy::on_xen(format!("if you know the value: xenstore-write {path} KIB"));
        }
        Fix::RemoveNodes(path) => return Remedy::on_xen(format!("xenstore-rm {}", Escaped(path))),
        Fix::RemoveUnknown(path) => {
            format!("find out what put it there, then remove it: {}", escaped_path(path))
        }
        Fix::RemoveRecord(path) => {
            let rm = if path.is_dir() { "rm -r" } else { "rm" };
            format!("read it, then: {rm} {}", escaped_path(path))
        }
        Fix::Choose { domid, max, size } => {
            let set =
                |verb: &str, size| program.command(&format!("{verb} {domid} {}", Written(size)));
            let max = max.map(|max| format!("if the target is right: {}", set("max", max)));
            let size = size.map(|size| format!("if the maximum is right: {}", set("set", size)));
            max.into_iter().chain(size).collect::<Vec<_>>().join("; ")
        }
        Fix::LowerLimit { domid, size } => {
            let set = program.command(&format!("set {domid} {}", Written(*size)));
            format!("if nothing needs the higher limit: {set}")
        }
        Fix::SetAgain { domid, size } => {
            let set = program.command(&format!("set {domid} {} --wait", Written(*size)));
            format!("to make it follow xenstore again: {set}")
        }
        Fix::SetSize(domid) => {
            return Remedy::on_xen(format!(
                "{} with the size it should have, and --raise-max if its maximum is wrong too; \
                 the guest itself may write there (xenstore-ls -p)",
                program.command(&format!("set {domid} SIZE"))
            ));
        }
        Fix::UseManager => "change it through that program".to_owned(),
        Fix::UseSocket => "use xenstored's socket, if it has one: unset XENSTORED_PATH".to_owned(),
    };
    text.into()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use xen::{DomId, Kib};

    use super::*;

    #[test]
    fn a_fix_is_a_command_or_a_sentence_with_one() {
        let web = DomId::new(7).unwrap();
        let (path, file) = ("/local/domain/7/memory/target".to_owned(), PathBuf::from("/f"));
        let (max, size) = (Some(Kib(1 << 20)), Some(Kib(512 << 10)));
        let program = Program::new(Some("sim:DIR"));
        for (found, text) in [
            (Fix::Repair(None), "xmem --host sim:DIR check --repair"),
            (Fix::Repair(Some(web)), "xmem --host sim:DIR check --repair 7"),
            (
                Fix::Unpause(web),
                "if nothing keeps it paused on purpose (a backup, a debugger): xl unpause 7",
            ),
            (
                Fix::Rewrite(path.clone()),
                "find and stop the program that wrote it, then: xenstore-write /local/domain/7/memory/target KIB",
            ),
            (Fix::First(path.clone()), "first fix /local/domain/7/memory/target"),
            (
                Fix::Write(path),
                "if you know the value: xenstore-write /local/domain/7/memory/target KIB",
            ),
            (Fix::RemoveNodes("/local/domain/33".to_owned()), "xenstore-rm /local/domain/33"),
            (Fix::RemoveUnknown(file.clone()), "find out what put it there, then remove it: /f"),
            (Fix::RemoveRecord(file), "read it, then: rm /f"),
            (
                Fix::Choose { domid: web, max, size },
                "if the target is right: xmem --host sim:DIR max 7 1G; if the maximum is right: xmem --host sim:DIR set 7 512M",
            ),
            (
                Fix::LowerLimit { domid: web, size: Kib(4) },
                "if nothing needs the higher limit: xmem --host sim:DIR set 7 4k",
            ),
            (
                Fix::SetAgain { domid: web, size: Kib(512 << 10) },
                "to make it follow xenstore again: xmem --host sim:DIR set 7 512M --wait",
            ),
            (
                Fix::SetSize(web),
                "xmem --host sim:DIR set 7 SIZE with the size it should have, and --raise-max if its maximum is wrong too; the guest itself may write there (xenstore-ls -p)",
            ),
        ] {
            assert_eq!(fix(&found, &program).text, text);
        }
    }
}
