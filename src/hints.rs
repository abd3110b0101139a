//! What to do after a failure. Users paste hints, and hints can set memory. So a hint names the domain by its domid,
//! the size in absolute terms, and the host that was given.

use std::io;

use rustix::io::Errno;
use xen::DomId;
use xen::hypervisor::HypervisorError;
use xen::lock::LockError;
use xen::xenstore::{Answer, StoreError};
use xmem_core::batch::LineProblem;
use xmem_core::change::Outcome;
use xmem_core::domain::{DomainRef, Name};
use xmem_core::failure::{Aftermath, Cause, Failure};
use xmem_core::plan::{GUEST_MINIMUM, Note, Refusal, guest_minimum};
use xmem_core::resolve::ResolveError;
use xmem_core::size::Written;
use xmem_core::state::State;
use xmem_core::wait::{WaitEnd, WaitReason, WaitReport};

use crate::program::{Program, quoted};
use crate::remedy::Remedy;

const ROOT: &str = "run xmem as root, in dom0";

/// What to do about `failure`.
pub(crate) fn failure(failure: &Failure, program: &Program) -> Option<Remedy> {
    if let Aftermath::OutOfStep { .. } = &failure.aftermath {
        let domain = failure.domain.as_ref().map(|it| format!(" {}", it.identity.domid));
        let repair = program.command(&format!("check --repair{}", domain.unwrap_or_default()));
        return Some(match failure.cause {
            Cause::Store(_) => format!("once xenstored answers: {repair}").into(),
            _ => format!("to repair them: {repair}").into(),
        });
    }
    if let (Aftermath::NotRestored { before, .. }, Some(domain)) =
        (&failure.aftermath, &failure.domain)
    {
        let set = format!("set {} {}", domain.identity.domid, Written(*before));
        return Some(restore(&failure.cause, &set, program));
    }
    if let (Aftermath::OnePageOff { .. }, Some(domain), Some(size)) =
        (&failure.aftermath, &failure.domain, failure.absolute)
    {
        let set = program.command(&format!("set {} {}", domain.identity.domid, Written(size)));
        return Some(format!("to set it back: {set}").into());
    }
    cause(&failure.cause, program)
}

/// How to restore a size with the command `set`, which `cause` has prevented.
fn restore(cause: &Cause, set: &str, program: &Program) -> Remedy {
    let set = |option| program.command(&format!("{set}{option}"));
    match cause {
        Cause::Refused(Refusal::AboveMax { .. }) => {
            format!("to restore it: {}", set(" --raise-max")).into()
        }
        Cause::Refused(refusal) if refusal.can_be_forced() => {
            format!("to restore it: {}", set(" --force")).into()
        }
        Cause::Refused(Refusal::BelowVideo { .. }) => {
            format!("to restore it, correct its video memory (memory/videoram), then: {}", set(""))
                .into()
        }
        Cause::BadNode(node) => {
            let Remedy { text, needs_xen } = Remedy::rewrite(&node.path);
            Remedy { text: format!("to restore it, {text}; then: {}", set("")), needs_xen }
        }
        _ => format!("to restore it: {}", set("")).into(),
    }
}

/// What to do about `cause`.
pub(crate) fn cause(cause: &Cause, program: &Program) -> Option<Remedy> {
    let hint = match cause {
        Cause::Resolve(error) => return resolve(error, program),
        Cause::Refused(refusal) => return Some(refused(refusal, program)),
        Cause::State(State::Building) => "try again when the domain has been created or received",
        Cause::Lock(LockError::Busy { holder, .. }) => {
            return Some(Remedy::await_lock(
                "wait longer with --lock-timeout, or",
                holder.as_ref(),
            ));
        }
        Cause::Lock(LockError::NotAFile { .. }) => {
            "find out what put it there, and remove it: until then neither xl nor xmem can lock the domain"
        }
        Cause::Lock(LockError::Os { source, .. }) | Cause::StateDir { source, .. } => {
            return directory(source.kind()).map(Remedy::from);
        }
        Cause::Intent(error) if is_about_a_directory(error.source.kind()) => {
            "a directory is in the way: look what put it there, then remove it with `rm -r`"
        }
        Cause::Intent(error) => return directory(error.source.kind()).map(Remedy::from),
        Cause::Conflicts { .. } => {
            "stop the program that changes this domain's memory without its lock, such as a memory daemon (squeezed, qmemman)"
        }
        Cause::BadNode(node) => return Some(Remedy::rewrite(&node.path)),
        Cause::LockLost => "repeat the command",
        Cause::NoMemory { .. } => {
            return Some(
                format!(
                    "shrink another domain; `{}` shows guests that have not reached their targets yet",
                    program.command("list")
                )
                .into(),
            );
        }
        Cause::Store(error) | Cause::Commit(error) => return store(error),
        Cause::Hypervisor(error) => return hypervisor(error),
        _ => return None,
    };
    Some(hint.into())
}

fn refused(refusal: &Refusal, program: &Program) -> Remedy {
    let hint = match refusal {
        Refusal::AboveMax { most, .. } if *most < GUEST_MINIMUM => {
            "add --raise-max to raise the maximum too"
        }
        Refusal::AboveMax { most, .. } => {
            return format!(
                "ask for at most {}, or add --raise-max to raise the maximum too",
                Written(*most)
            )
            .into();
        }
        Refusal::BelowTarget { target, .. } => {
            // A size is rounded down to whole pages.
            let least = Written(target.in_whole_pages());
            return format!("lower the target first, or ask for at least {least}").into();
        }
        Refusal::BelowVideo { video, .. } => {
            return format!("ask for at least {}", Written(guest_minimum(*video))).into();
        }
        Refusal::Dom0Minimum { .. } => "dom0 is never set below that, with or without --force",
        Refusal::BelowZero { .. } | Refusal::NoMaximum => "give an absolute size",
        Refusal::BeyondXen => "is the unit right? a bare number is MiB",
        Refusal::GuestWritable { is_absolute, .. } => {
            let then = if *is_absolute {
                "correct what the guest has written:"
            } else {
                "set an absolute size, not a relative one;"
            };
            return Remedy::on_xen(format!("{then} `xenstore-ls -p` shows what it may write"));
        }
        Refusal::NoKey { .. } => {
            return format!(
                "`{}` says what is missing; a toolstack without ballooning writes no such keys",
                program.command("check")
            )
            .into();
        }
        Refusal::AboveHost { .. } => {
            "is the unit right? a bare number is MiB; use --force to do it anyway"
        }
        // A larger maximum would not help.
        Refusal::Several(refusals)
            if let Some(Refusal::AboveMax { most, .. }) = refusals.first()
                && *most >= GUEST_MINIMUM =>
        {
            return format!("ask for at most {}", Written(*most)).into();
        }
        Refusal::KeepFree { .. } => "ask for less, shrink another domain, or keep less free",
        Refusal::Populating { .. } => {
            "wait until the guest has started, or use --force to do it anyway"
        }
        refusal if refusal.can_be_forced() => "use --force to do it anyway",
        _ => return format!("see `{}`", program.command("check")).into(),
    };
    hint.into()
}

fn resolve(error: &ResolveError, program: &Program) -> Option<Remedy> {
    match error {
        ResolveError::NoSuchDomain { wanted: DomainRef::Name(name), .. }
            if name.0.eq_ignore_ascii_case("dom0") =>
        {
            Some("dom0 is `0` (Domain-0)".into())
        }
        ResolveError::NoSuchDomain { wanted, similar } => {
            let has_comma = |wanted: &DomainRef| matches!(wanted, DomainRef::Name(name) if name.0.contains(','));
            Some(match similar.as_ref().and_then(Name::spelling) {
                None if has_comma(wanted) => {
                    "a comma does not separate domains, a blank does".into()
                }
                Some(word) => format!("did you mean `{}`?", quoted(&word)).into(),
                None => format!("`{}` shows the domains", program.command("list")).into(),
            })
        }
        ResolveError::Ambiguous { domids, .. } => {
            let ids: Vec<_> = domids.iter().take(8).map(|domid| format!("id:{domid}")).collect();
            Some(format!("use {}", ids.join(" or ")).into())
        }
        ResolveError::Store(error) => store(error),
        ResolveError::Hypervisor(error) => hypervisor(error),
        _ => None,
    }
}

fn store(error: &StoreError) -> Option<Remedy> {
    let hint = match error {
        StoreError::Unreachable { source, .. } => match source.kind() {
            io::ErrorKind::PermissionDenied => ROOT,
            _ => "is xenstored running? without Xen, try: xmem --host sim list",
        },
        StoreError::Deadline { .. } => {
            "xenstored hangs or is stopped: check its process and its log"
        }
        StoreError::Closed { .. } | StoreError::Unusable { .. } | StoreError::Transport { .. } => {
            "is xenstored still running? check its log"
        }
        StoreError::Answered { answer: Answer::NoSpace | Answer::Quota, .. } => {
            return Some(Remedy::on_xen(
                "xenstore's quota is used up: `xenstore-ls` shows what fills it",
            ));
        }
        StoreError::Answered { answer: Answer::Denied, .. } => ROOT,
        _ => return None,
    };
    Some(hint.into())
}

fn hypervisor(error: &HypervisorError) -> Option<Remedy> {
    let hint = match error {
        HypervisorError::NoXen { .. } => "without Xen, try: xmem --host sim list",
        HypervisorError::NoPage { .. } => "raise the limit on locked memory: ulimit -l",
        HypervisorError::UnknownInterface { .. } => {
            "this Xen is newer than this xmem, or a FLASK policy forbids the call"
        }
        _ => match error.errno() {
            Some(Errno::ACCESS | Errno::PERM) => ROOT,
            Some(Errno::NOMEM) => {
                return Some(Remedy::on_xen("the host has no free memory for it: see `xl info`"));
            }
            Some(Errno::NOTEMPTY) => {
                "populate-on-demand memory cannot grow while a device is passed through"
            }
            _ => return None,
        },
    };
    Some(hint.into())
}

/// Whether a file was to be replaced or removed, and a directory was found, or the other way round.
const fn is_about_a_directory(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{DirectoryNotEmpty, IsADirectory, NotADirectory};
    matches!(kind, DirectoryNotEmpty | IsADirectory | NotADirectory)
}

/// What to do if the lock or the intent record cannot be created.
const fn directory(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::NotFound => {
            "libxl's directory is missing: is this a Xen host with its tools installed?"
        }
        io::ErrorKind::PermissionDenied => {
            "run xmem as root; if you are, check the ownership of the file and its directory (ls -la)"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "mount that file system writable: the domain's lock and the record of the change go there"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space on that file system: the record of the change goes there"
        }
        _ => return None,
    })
}

/// What to write instead of an invalid line of a batch.
pub(crate) fn line(problem: &LineProblem, program: &Program) -> String {
    let list = program.command("list --json");
    let hint = match problem {
        LineProblem::Domain { why, .. } => return why.hint().to_owned(),
        LineProblem::Size { text, .. } if text.contains('#') => {
            "write a blank before a comment's #"
        }
        LineProblem::Size { why, .. } => return why.hint(),
        LineProblem::NotItsMaximum { said, domid, target, .. } => {
            let max = program.command(&format!("max {domid} {}", Written(*said)));
            // `max` refuses a maximum below the target.
            return if *target > Some(*said) {
                format!("apply sets targets: remove `static_max_kib`, apply the list, then: {max}")
            } else {
                format!(
                    "apply sets targets: set the maximum first ({max}), or remove `static_max_kib`"
                )
            };
        }
        LineProblem::Contradiction { .. } => {
            "keep the one that you mean: jq -c 'del(.size_kib)' or jq -c 'del(.target_kib)'"
        }
        LineProblem::OtherDomain { .. } => "remove the member that is wrong",
        LineProblem::NotItsVideo { .. } => "video memory cannot be changed: remove `videoram_kib`",
        LineProblem::Words => "write `web 512M`, or `\"SQL #2\" 1G` if the name contains ` #`",
        LineProblem::Unclosed { .. } => {
            "close the quote, or write the name without quotes: the size is the last word"
        }
        LineProblem::Json { .. } | LineProblem::NotAnObject => {
            return format!("pass objects of `{list}`, one a line (jq -c) or in an array");
        }
        LineProblem::Incomplete | LineProblem::Empty => {
            "check that the command that wrote it succeeded, such as jq before a pipe"
        }
        LineProblem::UnknownMember { member } if member == "host" => {
            "leave the line of the host out: jq -c 'select(.uuid)'"
        }
        LineProblem::UnknownMember { .. } | LineProblem::NoSize => {
            "name the new size `size_kib`, or the new target `target_kib`"
        }
        LineProblem::RepeatedMember { .. } => "keep one of the two",
        LineProblem::BadValue { member, .. } if !member.ends_with("_kib") => {
            return format!("write it as `{list}` does");
        }
        LineProblem::BadValue { .. } | LineProblem::TooSmall { .. } => {
            return format!("write sizes as `{list}` does: 524288 is 512 MiB");
        }
        LineProblem::NoDomain => {
            return format!("name the domain as `{list}` does, best by its `uuid`");
        }
        LineProblem::Null { member } => {
            return format!("leave such domains out: jq -c 'select(.{member})'");
        }
        LineProblem::OtherOutput { command } if matches!(command.as_str(), "set" | "apply") => {
            "to set its new target: jq -c 'select(.new) | {uuid, target_kib: .new.target_kib}'; to go back: .old.target_kib"
        }
        LineProblem::OtherOutput { .. } | LineProblem::Failed { .. } => {
            return format!("pass the output of `{list}`");
        }
        LineProblem::TooMany => "check that this is the right file",
    };
    hint.to_owned()
}

/// What to do about a note, in its sentence.
pub(crate) fn note(note: &Note, program: &Program) -> Option<String> {
    Some(match note {
        Note::LostAtReboot { domid, size } => {
            let max = format!("max {domid} {}", Written(size.in_whole_pages()));
            format!("before it reboots: {}", program.command(&max))
        }
        Note::LimitTooLow { domid, .. } => {
            format!("see: {}", program.command(&format!("check {domid}")))
        }
        _ => return None,
    })
}

/// What to do about a guest that has not reached its target.
pub(crate) fn wait(outcome: &Outcome, wait: &WaitReport, program: &Program) -> Option<Remedy> {
    let domid = outcome.domain.identity.domid;
    let again = program.command(&format!("set {domid} {} --wait", Written(outcome.plan.size())));
    match &wait.end {
        WaitEnd::Stuck | WaitEnd::TimedOut => match wait.reasons.first() {
            Some(reason) => reason_hint(*reason, domid, &again),
            None if wait.moved => {
                Some(format!("it was still making progress; to keep waiting: {again}").into())
            }
            None => Some(format!("to keep waiting: {again}").into()),
        },
        WaitEnd::TargetChanged { .. } => {
            Some("does a memory daemon (squeezed, qmemman) manage this domain?".into())
        }
        WaitEnd::Interrupted => Some(format!("to keep waiting: {again}").into()),
        WaitEnd::Failed(error) => failure(error, program),
        WaitEnd::Unreachable(error) => cause(error, program),
        _ => None,
    }
}

fn reason_hint(reason: WaitReason, domid: DomId, again: &str) -> Option<Remedy> {
    let hint = match reason {
        WaitReason::State(State::Paused) => {
            return Some(Remedy::unpause(domid));
        }
        WaitReason::State(_) => format!("when it runs again: {again}"),
        WaitReason::Limit(_) => format!("another program set that limit; to set it again: {again}"),
        WaitReason::HostShort { .. } => {
            format!("shrink or shut down another domain, then nudge the balloon driver: {again}")
        }
        WaitReason::NoDriver if domid == DomId::DOM0 => {
            "is dom0's balloon driver loaded? Linux needs CONFIG_XEN_BALLOON".to_owned()
        }
        WaitReason::NoDriver => {
            "is its balloon driver loaded? Linux needs CONFIG_XEN_BALLOON, Windows the PV drivers"
                .to_owned()
        }
        WaitReason::GuestNeedsMemory => {
            format!(
                "set a larger size, or free memory inside the guest and nudge its balloon driver: {again}"
            )
        }
        WaitReason::NoHotplug => {
            "is its balloon driver loaded? Linux guests grow beyond their boot memory only with CONFIG_XEN_BALLOON_MEMORY_HOTPLUG"
                .to_owned()
        }
        WaitReason::Dom0Sysfs(_) => {
            "dom0's driver follows xenstore again after a new target is set".to_owned()
        }
        _ => return None,
    };
    Some(hint.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_for_lines_name_members_that_apply_takes() {
        let program = Program::new(None);
        let hint = line(&LineProblem::UnknownMember { member: "target_kb".to_owned() }, &program);
        assert_eq!(hint, "name the new size `size_kib`, or the new target `target_kib`");
        let why = "512M#night".parse::<xmem_core::size::Size>().unwrap_err();
        let hint = line(&LineProblem::Size { text: "512M#night".to_owned(), why }, &program);
        assert_eq!(hint, "write a blank before a comment's #");
        let hint = line(&LineProblem::Null { member: "size_kib" }, &program);
        assert_eq!(hint, "leave such domains out: jq -c 'select(.size_kib)'");
        let hint = line(&LineProblem::OtherOutput { command: "set".to_owned() }, &program);
        assert!(hint.contains("{uuid, target_kib: .new.target_kib}"), "{hint}");
        let hint = line(&LineProblem::NoDomain, &Program::new(Some("sim")));
        assert_eq!(
            hint,
            "name the domain as `xmem --host sim list --json` does, best by its `uuid`"
        );
    }
}
