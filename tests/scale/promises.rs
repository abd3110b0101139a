//! What one guest is promised, no other gets.

use std::time::Duration;

use xmem::error::Cause;
use xmem::size::Kib;

use crate::host::ManyHost;
use crate::runs::apply_to;

const MIB: u64 = 1024;

/// A guest that gives back what it has taken can take it again: that it is free for the moment does not
/// make it free for another.
#[test]
fn what_a_guest_gives_back_is_still_its_own() {
    let host = ManyHost::new(6);
    host.hold(1, Kib(64 * MIB), Kib(64 * MIB));
    let mut told = Vec::new();
    apply_to(&host, "2 96M\n4 96M\n6 96M\n", Duration::ZERO, &mut |number, result| {
        match number {
            2 => host.hold(2, Kib(96 * MIB), Kib(32 * MIB)),
            4 => host.hold(2, Kib(64 * MIB), Kib(64 * MIB)),
            _ => {}
        }
        told.push(match result {
            Ok(_) => (number, None),
            Err(failure) => match failure.cause {
                Cause::NoMemory { takes, free } => (number, Some((takes.0 / MIB, free.0 / MIB))),
                other => panic!("{other}"),
            },
        });
    });
    assert_eq!(told, [(2, None), (4, None), (6, Some((32, 0)))]);
}
