//! Every change that is made, in the system log: who changed what, from what to what.
//!
//! Owns one datagram to the syslog socket, which journald listens on as well. Never delays or fails a
//! change: a host without a log is no reason to leave its memory alone.

use std::env;
use std::fmt::Write as _;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::OnceLock;

use rustix::net::{SendFlags, SocketAddrUnix};

use crate::change::{End, Outcome};
use crate::domain::Domain;
use crate::error::{After, Failure};
use crate::harmless::Harmless;
use crate::intent::Numbers;
use crate::process;

/// Where syslog(3) sends to.
pub const SOCKET: &str = "/dev/log";
/// `daemon.notice` and `daemon.err` as RFC 3164 numbers them.
const NOTICE: u8 = 3 * 8 + 5;
const ERROR: u8 = 3 * 8 + 3;

/// Logs a change that was made; anything else is no news.
pub fn record(result: &Result<Outcome, Failure>, socket: &Path) {
    let text = match result {
        Ok(Outcome { domain, plan, end: End::Changed, .. }) => {
            (NOTICE, format!("{} {}", who(), change(domain, plan.old, plan.goal())))
        }
        Err(failure @ Failure { after: After::OutOfStep { .. } | After::Aside { .. }, .. }) => {
            (ERROR, format!("{} {failure}", who()))
        }
        _ => return,
    };
    match send(socket, text.0, &text.1) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::debug!("no system log here");
        }
        Err(error) => tracing::warn!(%error, "the system log did not take the record"),
    }
}

fn send(socket: &Path, priority: u8, text: &str) -> io::Result<()> {
    let text = format!("<{priority}>xmem[{}]: {text}", process::pid());
    // A log daemon that does not read must not hold up the domain's lock.
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendto(sender()?, text.as_bytes(), flags, &SocketAddrUnix::new(socket)?)?;
    Ok(())
}

/// What all records of a run are sent from. It goes with the process.
fn sender() -> io::Result<&'static UnixDatagram> {
    static SENDER: OnceLock<UnixDatagram> = OnceLock::new();
    match SENDER.get() {
        Some(sender) => Ok(sender),
        None => UnixDatagram::unbound().map(|sender| SENDER.get_or_init(|| sender)),
    }
}

/// Who it was: the uid, the login behind it, and who sudo says it was.
fn who() -> &'static str {
    static WHO: OnceLock<String> = OnceLock::new();
    // It stays the same for as long as the process runs.
    WHO.get_or_init(ask_who)
}

fn ask_who() -> String {
    let mut who = format!("uid={}", process::uid());
    let login = process::word("/proc/self/loginuid").and_then(|login| login.parse().ok());
    // 4294967295 is the kernel's word for nobody.
    if let Some(login) = login.filter(|login: &u32| *login != u32::MAX) {
        add(&mut who, "loginuid", login);
    }
    if let Ok(user) = env::var("SUDO_USER") {
        add(&mut who, "sudo_user", word(&Harmless(&user)));
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
        let show = |kib: Option<crate::size::Kib>| {
            kib.map_or_else(|| "none".to_owned(), |kib| kib.0.to_string())
        };
        add(&mut text, key, format_args!("{}->{}", show(old), show(new)));
    }
    text
}

/// What others have chosen, as one word: a name with blanks in it must not pass for further fields.
fn word(chosen: &impl std::fmt::Display) -> String {
    let word = chosen.to_string();
    if word.contains([' ', '"', '=']) { format!("{word:?}") } else { word }
}

fn add(text: &mut String, key: &str, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ok = write!(text, " {key}={value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DomId, Identity, Name, Uuid};
    use crate::size::Kib;

    #[test]
    fn a_change_is_one_line_with_old_and_new() {
        let domain = Domain {
            identity: Identity { domid: DomId::new(7).unwrap(), uuid: Uuid([1; 16]) },
            name: Some(Name("we\nb".to_owned())),
        };
        let old = Numbers { target: None, static_max: Some(Kib(8)), limit: Kib(9) };
        let new = Numbers { target: Some(Kib(4)), static_max: Some(Kib(8)), limit: Kib(5) };
        assert_eq!(
            change(&domain, old, new),
            "domid=7 uuid=01010101-0101-0101-0101-010101010101 name=we\\nb \
             target_kib=none->4 static_max_kib=8->8 limit_kib=9->5"
        );
    }

    #[test]
    fn a_name_forges_no_field() {
        for (name, expected) in [
            ("web", "web"),
            ("web limit_kib=4->8", r#""web limit_kib=4->8""#),
            (r#"a" uid="#, r#""a\" uid=""#),
            ("a\u{1b} b", r#""a\\u{1b} b""#),
            ("a\u{a0}b", "a\u{a0}b"),
        ] {
            assert_eq!(word(&Name(name.to_owned())), expected);
        }
    }

    #[test]
    fn a_log_that_does_not_read_holds_nothing_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = UnixDatagram::bind(&path).unwrap();
        send(&path, NOTICE, "hello").unwrap();
        let mut text = [0; 64];
        let length = log.recv(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        assert_eq!(text, format!("<29>xmem[{}]: hello", std::process::id()));
        while send(&path, NOTICE, &"x".repeat(60_000)).is_ok() {}
    }
}
