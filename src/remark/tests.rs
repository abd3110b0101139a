//! Each way in which numbers can be off, and that nothing is made of those that are not.
#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

use super::*;
use crate::domain::{Identity, Uuid};

const MIB: u64 = 1024;

/// A domU with video memory of 16 MiB, in step as libxl leaves it.
fn domain(domid: u32) -> Reading {
    let video = if domid == 0 { 0 } else { 16 * 1024 };
    let limit = Kib((if domid == 0 { 513 } else { 529 }) * MIB);
    Reading {
        info: DomainInfo {
            identity: Identity { domid: DomId::new(domid).unwrap(), uuid: Uuid([7; 16]) },
            dying: false,
            paused: false,
            hvm: true,
            current: limit.minus(SLACK).unwrap(),
            limit,
            outstanding: Kib(0),
        },
        target: Some(Kib(512 * MIB)),
        static_max: Some(Kib(1024 * MIB)),
        video,
    }
}

type Edit = fn(&mut Reading);

fn mib(mib: u64) -> Kib {
    Kib::from_mib(mib)
}

fn low(limit: Kib, need: Kib) -> Remark {
    Remark::LimitTooLow { limit, need }
}

fn no(missing: &'static str) -> Vec<Remark> {
    vec![Remark::HalfKeys { missing }]
}

/// Target, maximum and limit, all in KiB, and what is said of them.
type Case = (&'static str, Option<u64>, Option<u64>, u64, Vec<Remark>);

#[track_caller]
fn said(domid: u32, cases: &[Case]) {
    for (case, target, static_max, limit, expected) in cases {
        let mut reading = domain(domid);
        (reading.target, reading.static_max) = (target.map(Kib), static_max.map(Kib));
        reading.info.limit = Kib(*limit);
        assert_eq!(keys(&reading), *expected, "{case}");
    }
}

/// With 16 MiB of video memory: 512 MiB of target need 529.
#[test]
fn a_domus_numbers() {
    let (half, gib) = (Some(512 * MIB), Some(1024 * MIB));
    let odd = |limit| vec![Remark::LimitOdd { limit, need: mib(529), size: mib(528) }];
    let above = |target| Remark::TargetAboveMax { target, static_max: mib(1024), most: mib(1040) };
    said(
        7,
        &[
            ("after set", half, gib, 529 * MIB, vec![]),
            ("after max", half, gib, 1025 * MIB, vec![]),
            ("after max, of odd KiB", half, Some(1024 * MIB + 3), 1025 * MIB, vec![]),
            ("target = maximum", gib, gib, 1041 * MIB, vec![]),
            ("a page too low", half, gib, 529 * MIB - 4, vec![low(Kib(529 * MIB - 4), mib(529))]),
            ("no room for video", half, gib, 513 * MIB, vec![low(mib(513), mib(529))]),
            ("as libxl builds one that may grow", half, gib, 530 * MIB, vec![]),
            ("a page more", half, gib, 530 * MIB + 4, odd(Kib(530 * MIB + 4))),
            ("xl mem-max before 4.17", half, gib, 3000 * MIB, odd(mib(3000))),
            ("no limit", half, gib, UNLIMITED.0, vec![]),
            ("above the maximum", Some(1025 * MIB), gib, 1042 * MIB, vec![above(mib(1025))]),
            (
                "and the limit",
                Some(1025 * MIB),
                gib,
                529 * MIB,
                vec![above(mib(1025)), low(mib(529), mib(1042))],
            ),
            ("no target", None, gib, 529 * MIB, no("memory/target")),
            ("no maximum", half, None, 529 * MIB, no("memory/static-max")),
            (
                "no maximum, and too low",
                half,
                None,
                528 * MIB,
                [vec![low(mib(528), mib(529))], no("memory/static-max")].concat(),
            ),
            ("neither", None, None, 529 * MIB, vec![Remark::NoKeys]),
            (
                "beyond all numbers",
                Some(u64::MAX),
                Some(u64::MAX),
                529 * MIB,
                vec![low(mib(529), UNLIMITED)],
            ),
        ],
    );
}

/// Some builders write a target of one KiB too much, and -1 for no video memory.
#[test]
fn video_memory_of_minus_one() {
    let mut reading = domain(7);
    (reading.target, reading.video) = (Some(Kib(528 * MIB + 1)), -1);
    assert_eq!(keys(&reading), []);
}

#[test]
fn dom0s_numbers() {
    let (half, gib) = (Some(512 * MIB), Some(1024 * MIB));
    said(
        0,
        &[
            ("after set", half, gib, 513 * MIB, vec![]),
            ("as it boots with dom0_mem=max:", half, half, 512 * MIB, vec![]),
            ("a page less", half, gib, 512 * MIB - 4, vec![low(Kib(512 * MIB - 4), mib(513))]),
            ("any higher limit", half, gib, 3000 * MIB, vec![]),
            ("no limit", half, Some(UNLIMITED.0), UNLIMITED.0, vec![]),
            ("neither", None, None, UNLIMITED.0, vec![Remark::NoKeys]),
            ("no target", None, gib, 513 * MIB, no("memory/target")),
            ("no maximum", half, None, 513 * MIB, no("memory/static-max")),
        ],
    );
}

/// What the guest does with them is told, and is not out of step.
#[test]
fn what_the_guest_holds() {
    let cases: [(&str, Edit, Vec<Remark>); 8] = [
        ("there", |_| {}, vec![]),
        ("nearly there", |it| it.info.current = Kib(529 * MIB), vec![]),
        ("nearly there from below", |it| it.info.current = Kib(527 * MIB), vec![]),
        (
            "above",
            |it| {
                it.info.limit = Kib(1025 * MIB);
                it.info.current = Kib(530 * MIB);
            },
            vec![Remark::Above(Kib(2 * MIB))],
        ),
        ("below", |it| it.info.current = Kib(500 * MIB), vec![Remark::Below(Kib(28 * MIB))]),
        (
            "over its limit",
            |it| it.info.current = Kib(600 * MIB),
            vec![
                Remark::OverLimit { current: Kib(600 * MIB), limit: Kib(529 * MIB) },
                Remark::Above(Kib(72 * MIB)),
            ],
        ),
        ("paused", |it| it.info.paused = true, vec![Remark::Paused]),
        (
            "dying, whatever else",
            |it| {
                (it.info.dying, it.info.paused, it.target) = (true, true, None);
            },
            vec![Remark::Dying(Kib(528 * MIB))],
        ),
    ];
    for (case, edit, expected) in cases {
        let mut reading = domain(7);
        edit(&mut reading);
        let said = judge(&reading);
        assert_eq!(said, expected, "{case}");
        assert!(!said.iter().any(Remark::is_out_of_step), "{case}");
    }
}

/// Only what can be meant in one way, and never a lower limit.
#[test]
fn what_is_mendable() {
    let cases: [(&str, u32, Edit, bool); 12] = [
        ("a limit that is too low", 7, |it| it.info.limit = Kib(4), true),
        (
            "and a target above the maximum",
            7,
            |it| {
                it.info.limit = Kib(4);
                it.static_max = Some(Kib(511 * MIB));
            },
            false,
        ),
        (
            "a limit beyond what Xen can count",
            7,
            |it| {
                (it.target, it.static_max) = (Some(UNLIMITED), Some(UNLIMITED));
            },
            false,
        ),
        ("a target above the maximum", 7, |it| it.static_max = Some(Kib(511 * MIB)), false),
        ("a limit that is too high", 7, |it| it.info.limit = Kib(3000 * MIB), false),
        ("a domU without keys", 7, |it| (it.target, it.static_max) = (None, None), false),
        ("a domU without a target", 7, |it| it.target = None, false),
        (
            "a domU without a maximum, and a low limit",
            7,
            |it| {
                it.static_max = None;
                it.info.limit = Kib(4);
            },
            false,
        ),
        ("dom0 without keys", 0, |it| (it.target, it.static_max) = (None, None), true),
        ("dom0 without a target", 0, |it| it.target = None, true),
        ("dom0 without a maximum", 0, |it| it.static_max = None, true),
        (
            "dom0 without one, and a target above its limit",
            0,
            |it| {
                it.static_max = None;
                it.info.limit = Kib(511 * MIB);
            },
            false,
        ),
    ];
    for (case, domid, edit, mendable) in cases {
        let mut reading = domain(domid);
        edit(&mut reading);
        let said = keys(&reading);
        assert!(!said.is_empty(), "{case}");
        let is = said.iter().any(|remark| remark.is_mendable(&reading));
        assert_eq!(is, mendable, "{case}: {said:?}");
    }
}

/// Every remark: its word is its own, and its sentences are sentences.
#[test]
fn words() {
    let holder = Some(Holder { pid: 7, command: "xl".to_owned() });
    let all = [
        Remark::BadNode("nonsense".to_owned()),
        Remark::TargetAboveMax { target: Kib(8), static_max: Kib(4), most: Kib(4) },
        Remark::LimitTooLow { limit: Kib(4), need: Kib(8) },
        Remark::HalfKeys { missing: "memory/target" },
        Remark::Unsettled { path: PathBuf::from("/f"), pid: Some(7) },
        Remark::LimitOdd { limit: Kib(8), need: Kib(4), size: Kib(4) },
        Remark::OverLimit { current: Kib(8), limit: Kib(4) },
        Remark::Above(Kib(4)),
        Remark::Below(Kib(4)),
        Remark::NoKeys,
        Remark::Paused,
        Remark::Dying(Kib(4)),
        Remark::Managed("squeezed"),
        Remark::Locked { holder, since: Some(Duration::from_secs(3)) },
    ];
    let mut kinds: Vec<&str> = all.iter().map(Remark::kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), all.len());
    for remark in &all {
        let mend = remark.mend(DomId::DOM0);
        for text in [&*remark.to_string(), remark.means()].into_iter().chain(mend.as_deref()) {
            assert!(!text.is_empty() && !text.ends_with('.') && !text.contains("  "), "{text}");
        }
        let said = remark.to_string().starts_with("out of step: ");
        assert_eq!(said, remark.is_out_of_step() && !matches!(remark, Remark::BadNode(_)));
    }
}
