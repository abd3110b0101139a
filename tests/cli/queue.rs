//! A lock that somebody else holds.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};

use crate::sandbox::{Ran, Sim};

fn hold(sim: &Sim) -> File {
    let lock = File::create(sim.lock()).unwrap();
    lock.lock().unwrap();
    lock
}

#[test]
fn the_wait_ends_when_it_was_said_to() {
    let sim = Sim::new();
    let held = hold(&sim);
    for (call, why) in [
        (sim.xmem("set web 512M --lock-timeout 30ms"), "timed out after 0.03 s waiting for"),
        (sim.xmem("--lock-timeout 30ms set web 512M"), "timed out after 0.03 s waiting for"),
        (
            sim.xmem("set web 512M").env("XMEM_LOCK_TIMEOUT", "20ms"),
            "timed out after 0.02 s waiting for",
        ),
        (sim.xmem("max web 4G --lock-timeout 0"), "did not get"),
        (sim.xmem("set web 512M").env("XMEM_LOCK_TIMEOUT", "0"), "did not get"),
    ] {
        let ran = call.leaves(1).run();
        assert_eq!(ran.status.code(), Some(5), "{ran:?}");
        let told = format!(
            "xmem: web (7): {why} the domain's lock, held by process {} (",
            std::process::id()
        );
        assert!(ran.stderr.starts_with(&told), "{ran:?}");
    }
    // It still is its holder's.
    assert!(File::open(sim.lock()).unwrap().try_lock().is_err());
    drop(held);
}

/// Another domain's lock is none of ours.
#[test]
fn another_domain_need_not_wait() {
    let sim = Sim::new();
    let held = hold(&sim);
    let ran = sim.xmem("set db 1G --lock-timeout 0").leaves(1).run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    drop(held);
}

/// Released as libxl does it, by removing the file first, and as a killed libxl does it.
#[test]
fn it_goes_on_as_soon_as_the_lock_is_free() {
    for removed in [true, false] {
        let sim = Sim::new();
        let held = hold(&sim);
        let mut child = sim.xmem("-v set web 512M").start();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        while !told.contains("waiting for the domain's lock") {
            assert_ne!(stderr.read_line(&mut told).unwrap(), 0, "{told}");
        }
        if removed {
            fs::remove_file(sim.lock()).unwrap();
        }
        drop(held);
        stderr.read_to_string(&mut told).unwrap();
        let ran = Ran::new(child.wait_with_output(), Some(sim.path()));
        assert_eq!(ran.status.code(), Some(0), "{told}");
        assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
        assert_eq!(sim.state(), [""; 0]);
    }
}
