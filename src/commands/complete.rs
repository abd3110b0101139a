//! `xmem __complete-domains`: the candidates for DOMAIN, for the shells' completions.
//!
//! Each line is a domid, a blank, and a word that names this domain and no other. The command is quick and silent,
//! whatever fails: it makes no hypercall, takes no lock, creates no directory, and does not wait for a xenstored that
//! hangs.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use xen::xenstore::{Client, Nodes};
use xen::{DomId, Host as _};
use xmem_core::domain::Name;
use xmem_sim::SimHost;

use crate::values::HostRef;

/// The time limit for all of it.
const LIMIT: Duration = Duration::from_secs(2);

/// Prints the domains of `host`; none if it does not answer.
pub(super) fn run(host: Option<HostRef>) {
    let (send, receive) = mpsc::channel();
    // A thread that hangs ends with the process.
    let read = move || send.send(host.and_then(|host| read(&host)));
    if thread::Builder::new().spawn(read).is_ok()
        && let Ok(Some(lines)) = receive.recv_timeout(LIMIT)
    {
        // Completion has no place for an error message.
        let _silent = io::stdout().lock().write_all(lines.as_bytes());
    }
}

fn read(host: &HostRef) -> Option<String> {
    match host {
        HostRef::Xen => lines(&Client::connect().ok()?),
        HostRef::Sim(dir) => {
            let host = SimHost::open_existing(dir.as_deref()).ok()??;
            lines(&*host.connect().ok()?)
        }
    }
}

fn lines(store: &(impl Nodes + ?Sized)) -> Option<String> {
    let ids = store.list("/local/domain").ok()??;
    let mut ids: Vec<DomId> =
        ids.iter().filter_map(|id| id.parse().ok().and_then(DomId::new)).collect();
    ids.sort();
    let paths: Vec<String> = ids.iter().map(|id| format!("/local/domain/{id}/name")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let name = |name: Option<Vec<u8>>| Some(Name(String::from_utf8(name?).ok()?));
    let names: Vec<Option<Name>> = store.read_each(&paths).ok()?.into_iter().map(name).collect();
    let mut counts: HashMap<&Name, usize> = HashMap::new();
    for name in names.iter().flatten() {
        let count = counts.entry(name).or_default();
        *count = count.saturating_add(1);
    }
    let line = |(domid, name): (&DomId, &Option<Name>)| {
        let is_unique = |name: &&Name| counts.get(name) == Some(&1);
        let word = name.as_ref().filter(is_unique).and_then(Name::spelling);
        format!("{domid} {}\n", word.unwrap_or_else(|| domid.to_string()))
    };
    Some(ids.iter().zip(&names).map(line).collect())
}
