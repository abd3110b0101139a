//! What one guest is promised, no other gets.

use std::time::Duration;

use xmem::error::Cause;
use xmem::size::Kib;

use crate::host::ManyHost;
use crate::runs::apply_to;

const MIB: u64 = 1024;

/// What each of three guests that grow by 32 MiB gets: nothing, or what it lacks and what there is, in MiB.
type Got = Vec<(u16, Option<(u64, u64)>)>;

/// Makes the three changes, and does `after` each.
fn grow_three(host: &ManyHost, after: impl Fn(u16)) -> Got {
    let mut got = Vec::new();
    apply_to(host, "2 96M\n4 96M\n6 96M\n", Duration::ZERO, &mut |number, result| {
        after(number);
        got.push(match result {
            Ok(_) => (number, None),
            Err(failure) => match failure.cause {
                Cause::NoMemory { takes, free } => (number, Some((takes.0 / MIB, free.0 / MIB))),
                other => panic!("{other}"),
            },
        });
    });
    got
}

fn hold(host: &ManyHost, number: u16, mib: u64, free_mib: u64) {
    host.hold(number, Kib(mib * MIB), Kib(free_mib * MIB));
}

/// A guest that gives back what it has taken can take it again: that it is free for the moment does not
/// make it free for another.
#[test]
fn what_a_guest_gives_back_is_still_its_own() {
    let host = ManyHost::new(6);
    hold(&host, 1, 64, 64);
    let got = grow_three(&host, |number| match number {
        2 => hold(&host, 2, 96, 32),
        4 => hold(&host, 2, 64, 64),
        _ => {}
    });
    assert_eq!(got, [(2, None), (4, None), (6, Some((32, 0)))]);
}

/// Somebody starts a domain meanwhile.
#[test]
fn what_somebody_else_has_taken_is_not_there() {
    let host = ManyHost::new(6);
    hold(&host, 1, 64, 96);
    let got = grow_three(&host, |number| {
        if number == 2 {
            hold(&host, 1, 64, 40);
        }
    });
    assert_eq!(got, [(2, None), (4, Some((32, 8))), (6, Some((32, 8)))]);
}
