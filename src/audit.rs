//! A line in the system log for every change of a real host: by whom, from which numbers to which.
//!
//! It is one datagram to the syslog socket, which journald reads too. It never delays a change or makes it fail.

use std::env;
use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process;

use rustix::net::{SendFlags, SocketAddrUnix};
use xen::Kib;
use xen::escape::Escaped;
use xen::hypervisor::UNLIMITED;
use xmem_core::change::Outcome;
use xmem_core::domain::Domain;
use xmem_core::failure::{Aftermath, Failure};
use xmem_core::memory::Numbers;

/// The socket of syslog(3).
const SOCKET: &str = "/dev/log";
/// `daemon.notice` and `daemon.err` as RFC 3164 numbers them.
const NOTICE: u8 = 3 * 8 + 5;
const ERROR: u8 = 3 * 8 + 3;

/// Logs a change that was made, by a recovery too, or a failure that left something behind; nothing else.
pub(crate) fn record(result: Result<&Outcome, &Failure>) {
    let Some((priority, text)) = entry(result) else { return };
    match send(Path::new(SOCKET), priority, &format!("{} {text}", who())) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::debug!("there is no system log");
        }
        Err(error) => tracing::warn!(%error, "the system log did not take the record"),
    }
}

fn entry(result: Result<&Outcome, &Failure>) -> Option<(u8, String)> {
    match result {
        Ok(outcome) if outcome.is_change() => {
            Some((NOTICE, change(&outcome.domain, outcome.old(), outcome.plan.new)))
        }
        Err(failure)
            if failure.is_change() || matches!(failure.aftermath, Aftermath::OutOfStep { .. }) =>
        {
            Some((ERROR, Escaped(&failure.to_string()).to_string()))
        }
        _ => None,
    }
}

fn send(socket: &Path, priority: u8, text: &str) -> io::Result<()> {
    let text = format!("<{priority}>xmem[{}]: {text}", process::id());
    // A log daemon that does not read must not delay a change.
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let to = SocketAddrUnix::new(socket)?;
    rustix::net::sendto(UnixDatagram::unbound()?, text.as_bytes(), flags, &to)?;
    Ok(())
}

/// The uid, the login user and the user that sudo names.
fn who() -> String {
    let mut who = format!("uid={}", rustix::process::getuid().as_raw());
    let login = fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    // 4294967295 means that there is no login.
    if let Some(login) = login.trim().parse().ok().filter(|login: &u32| *login != u32::MAX) {
        add(&mut who, "loginuid", login);
    }
    if let Ok(user) = env::var("SUDO_USER") {
        add(&mut who, "sudo_user", word(&Escaped(&user)));
    }
    who
}

fn change(domain: &Domain, old: Numbers, new: Numbers) -> String {
    let mut text = format!("domid={} uuid={}", domain.identity.domid, domain.identity.uuid);
    if let Some(name) = &domain.name {
        add(&mut text, "name", word(name));
    }
    for (key, old, new) in [
        ("target_kib", old.target, new.target),
        ("static_max_kib", old.static_max, new.static_max),
        ("limit_kib", Some(old.limit), Some(new.limit)),
    ] {
        let shown = |kib: Option<Kib>| match kib {
            None | Some(UNLIMITED) => "none".to_owned(),
            Some(kib) => kib.0.to_string(),
        };
        add(&mut text, key, format_args!("{}->{}", shown(old), shown(new)));
    }
    text
}

/// Text from outside as one word: a name with blanks must not look like further fields.
fn word(chosen: &impl fmt::Display) -> String {
    let word = chosen.to_string();
    if word.contains([' ', '"', '=']) { format!("{word:?}") } else { word }
}

fn add(text: &mut String, key: &str, value: impl fmt::Display) {
    // Writing to a string cannot fail.
    let _ok = write!(text, " {key}={value}");
}

#[cfg(test)]
mod tests {
    use xen::{DomId, Identity, Uuid};
    use xmem_core::domain::Name;
    use xmem_core::failure::Cause;
    use xmem_core::recovery::{LimitStep, Recovery};

    use super::*;

    #[test]
    fn a_change_is_one_line_with_old_and_new() {
        let domain = Domain {
            identity: Identity { domid: DomId::new(7).unwrap(), uuid: Uuid::from_bytes([1; 16]) },
            name: Some(Name("we\nb".to_owned())),
        };
        let old = Numbers { target: None, static_max: Some(Kib(8)), limit: UNLIMITED };
        let new = Numbers { target: Some(Kib(4)), static_max: Some(Kib(8)), limit: Kib(5) };
        assert_eq!(
            change(&domain, old, new),
            "domid=7 uuid=01010101-0101-0101-0101-010101010101 name=we\\nb \
             target_kib=none->4 static_max_kib=8->8 limit_kib=none->5"
        );
    }

    #[test]
    fn a_failure_is_logged_if_its_recovery_changed_the_limit() {
        let failed = |to| {
            let step = LimitStep { from: Kib(2048), to: Kib(to) };
            let recovery = Some(Recovery::RolledBack(step));
            let failure = Failure { recovery, ..Failure::unchanged(None, Cause::Interrupted) };
            entry(Err(&failure))
        };
        let (priority, text) = failed(4096).unwrap();
        assert_eq!(priority, ERROR);
        assert!(text.ends_with("the limit is rolled back to 4 MiB"), "{text}");
        assert_eq!(failed(2048), None);
    }

    #[test]
    fn a_name_cannot_forge_a_field() {
        for (name, expected) in [
            ("web", "web"),
            ("web limit_kib=4->8", r#""web limit_kib=4->8""#),
            (r#"a" uid="#, r#""a\" uid=""#),
            ("a\u{1b} b", r#""a\\u{1b} b""#),
        ] {
            assert_eq!(word(&Name(name.to_owned())), expected);
        }
    }

    #[test]
    fn a_log_daemon_that_does_not_read_delays_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = UnixDatagram::bind(&path).unwrap();
        send(&path, NOTICE, "hello").unwrap();
        let mut text = [0; 64];
        let length = log.recv(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        assert_eq!(text, format!("<29>xmem[{}]: hello", process::id()));
        while send(&path, NOTICE, &"x".repeat(60_000)).is_ok() {}
    }
}
