//! A domain whose lock another process holds.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};

use crate::sandbox::{Ran, Sim};

fn hold(sim: &Sim) -> File {
    let lock = File::create(sim.lock()).unwrap();
    lock.lock().unwrap();
    lock
}

#[test]
fn the_wait_for_a_lock_ends_at_its_timeout() {
    let sim = Sim::new();
    let held = hold(&sim);
    for (call, why) in [
        (sim.xmem("set web 512M --lock-timeout 30ms"), "timed out after 0.03 s waiting for"),
        (sim.xmem("--lock-timeout 30ms set web 512M"), "timed out after 0.03 s waiting for"),
        (
            sim.xmem("set web 512M").env("XMEM_LOCK_TIMEOUT", "20ms"),
            "timed out after 0.02 s waiting for",
        ),
        (sim.xmem("max web 4G --lock-timeout 0"), "cannot take"),
        (sim.xmem("set web 512M").env("XMEM_LOCK_TIMEOUT", "0"), "cannot take"),
    ] {
        let ran = call.leaves(1).run();
        assert_eq!(ran.status.code(), Some(5), "{ran:?}");
        let message = format!(
            "xmem: web (7): {why} the domain's lock, held by process {} (",
            std::process::id()
        );
        assert!(ran.stderr.starts_with(&message), "{ran:?}");
    }
    // The lock remains its holder's.
    assert!(File::open(sim.lock()).unwrap().try_lock().is_err());
    drop(held);
}

#[test]
fn the_lock_of_another_domain_is_not_waited_for() {
    let sim = Sim::new();
    let held = hold(&sim);
    let ran = sim.xmem("set db 1G --lock-timeout 0").leaves(1).run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    drop(held);
}

/// As libxl releases it, by removing the file first, and as a killed libxl does.
#[test]
fn a_released_lock_is_taken_at_once() {
    for removed in [true, false] {
        let sim = Sim::new();
        let held = hold(&sim);
        let mut child = sim.xmem("-v set web 512M").start();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut read = String::new();
        while !read.contains("waiting for the domain's lock") {
            assert_ne!(stderr.read_line(&mut read).unwrap(), 0, "{read}");
        }
        if removed {
            fs::remove_file(sim.lock()).unwrap();
        }
        drop(held);
        stderr.read_to_string(&mut read).unwrap();
        let ran = Ran::new(child.wait_with_output(), Some(sim.path()));
        assert_eq!(ran.status.code(), Some(0), "{read}");
        assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
        assert_eq!(sim.state(), [""; 0]);
    }
}
