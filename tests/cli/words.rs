//! `__complete-domains`, which the shells' completions call. It is quick and silent, and succeeds even if it finds
//! nothing.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde_json::json;

use crate::sandbox::{Sim, xmem};

#[test]
fn each_domain_is_listed_with_its_domid() {
    let sim = Sim::new();
    let expected = "0 Domain-0\n7 web\n8 db\n9 win\n";
    sim.xmem("__complete-domains").run().says(expected);
    xmem("__complete-domains").env("XMEM_HOST", sim.host()).within(&sim).run().says(expected);
}

#[test]
fn an_ambiguous_name_is_replaced_by_an_explicit_one() {
    let sim = Sim::new();
    sim.edit(|world| {
        world["xenstore"]["/local/domain/7/name"] = json!("my $(vm)");
        world["xenstore"]["/local/domain/8/name"] = json!("7");
        world["xenstore"]["/local/domain/9/name"] = json!("forged\nline");
    });
    sim.xmem("__complete-domains").run().says("0 Domain-0\n7 my $(vm)\n8 name:7\n9 9\n");
    // Two domains of one name, and one without a name.
    sim.edit(|world| {
        world["xenstore"]["/local/domain/8/name"] = json!("my $(vm)");
        world["xenstore"].as_object_mut().unwrap().remove("/local/domain/9/name");
    });
    sim.xmem("__complete-domains").run().says("0 Domain-0\n7 7\n8 8\n9 9\n");
}

#[test]
fn no_lock_is_taken_or_waited_for() {
    let sim = Sim::new();
    let lock = File::create(sim.lock()).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let begun = Instant::now();
    sim.xmem("__complete-domains").leaves(1).run().says("0 Domain-0\n7 web\n8 db\n9 win\n");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn failures_are_silent() {
    let sim = Sim::new();
    let none = sim.path().join("none");
    for host in ["nonsense", "sim:", &format!("sim:{}", none.display()), "xen"] {
        xmem("__complete-domains --host").arg(host).env("XENSTORED_PATH", &none).run().says("");
    }
    // No directory is created.
    assert!(!none.exists());
    sim.edit(|world| world["version"] = json!(99));
    sim.xmem("__complete-domains").run().says("");
}

/// Answers one client as xenstored does, with three domains; one has no name.
fn xenstored(listener: &UnixListener) {
    const ERROR: u32 = 16;
    let (mut client, _) = listener.accept().unwrap();
    let mut header = [0; 16];
    while client.read_exact(&mut header).is_ok() {
        let [kind, id, tx, len] = header.as_chunks::<4>().0 else { panic!() };
        let mut payload = vec![0; u32::from_ne_bytes(*len).try_into().unwrap()];
        client.read_exact(&mut payload).unwrap();
        let (kind, reply): (u32, &[u8]) = match &*payload {
            b"/local/domain\0" => (u32::from_ne_bytes(*kind), b"0\x007\x008\0"),
            b"/local/domain/0/name\0" => (u32::from_ne_bytes(*kind), b"Domain-0"),
            b"/local/domain/7/name\0" => (u32::from_ne_bytes(*kind), b"web"),
            _ => (ERROR, b"ENOENT\0"),
        };
        let len = u32::try_from(reply.len()).unwrap().to_ne_bytes();
        client.write_all(&[kind.to_ne_bytes(), *id, *tx, len].concat()).unwrap();
        client.write_all(reply).unwrap();
    }
}

#[test]
fn on_a_real_host_only_xenstore_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| xenstored(&listener));
        xmem("__complete-domains")
            .env("XENSTORED_PATH", &socket)
            .run()
            .says("0 Domain-0\n7 web\n8 8\n");
    });
}

/// A xenstored that hangs before or after it has accepted the connection.
#[test]
fn a_xenstored_that_hangs_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    for accepts in [false, true] {
        let begun = Instant::now();
        thread::scope(|scope| {
            let waiting = accepts.then(|| scope.spawn(|| listener.accept().unwrap()));
            xmem("__complete-domains").env("XENSTORED_PATH", &socket).run().says("");
            waiting.map(thread::ScopedJoinHandle::join);
        });
        let took = begun.elapsed();
        // Well below xenstored's usual deadline of 10 s.
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[test]
fn complete_domains_is_hidden_from_the_help() {
    for words in ["--help", "-h", "help set", "nonsense", "domains", "names", "completion"] {
        let ran = xmem(words).run();
        assert!(!format!("{ran:?}").contains("__complete-domains"), "{ran:?}");
    }
}
