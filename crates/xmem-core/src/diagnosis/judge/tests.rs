#![expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]

use xen::hypervisor::{DomainInfo, UNLIMITED};
use xen::lock::Holder;

use super::*;
use crate::memory::{GuestType, Manager};

const MIB: u64 = 1024;

/// A domain with a target of 512 MiB, in step as libxl leaves it; a domU has 16 MiB of video memory.
fn domain(domid: u32) -> Memory {
    let video = if domid == 0 { 0 } else { 16 * 1024 };
    let limit = Kib((if domid == 0 { 513 } else { 529 }) * MIB);
    let info = DomainInfo {
        guest_type: if domid == 0 { GuestType::Pv } else { GuestType::Hvm },
        current: Kib(limit.0 - MIB),
        limit,
        ..crate::testing::info(domid)
    };
    Memory {
        target: Ok(Some(Kib(512 * MIB))),
        static_max: Ok(Some(Kib(1024 * MIB))),
        video: Ok(Some(video)),
        ..Memory::of(info)
    }
}

fn facts() -> Facts<'static> {
    Facts::none(Path::new("/var/lib/xen"))
}

fn judge(memory: &Memory) -> Vec<Diagnosis> {
    diagnose(memory, State::of(memory), &facts())
}

fn id(domid: u32) -> DomId {
    DomId::new(domid).unwrap()
}

fn words(found: &[Diagnosis]) -> Vec<&'static str> {
    found.iter().map(|it| it.kind.word()).collect()
}

fn bad(node: &str) -> BadNode {
    BadNode { path: format!("/local/domain/7/memory/{node}"), value: "x".to_owned() }
}

/// Target, maximum and limit, all in KiB, and the kinds of the expected findings.
type Case = (&'static str, Option<u64>, Option<u64>, u64, &'static [&'static str]);

#[track_caller]
fn numbers_are(domid: u32, cases: &[Case]) {
    for (case, target, static_max, limit, expected) in cases {
        let mut memory = domain(domid);
        (memory.target, memory.static_max) = (Ok(target.map(Kib)), Ok(static_max.map(Kib)));
        memory.info.limit = Kib(*limit);
        memory.info.current = memory.size().unwrap_or(memory.info.current);
        assert_eq!(words(&judge(&memory)), *expected, "{case}");
    }
}

#[test]
fn a_domu_is_out_of_step_if_its_limit_is_below_target_and_video_memory() {
    let (half, gib) = (Some(512 * MIB), Some(1024 * MIB));
    numbers_are(
        7,
        &[
            ("after set", half, gib, 529 * MIB, &[]),
            ("after max", half, gib, 1025 * MIB, &[]),
            ("after max, of odd KiB", half, Some(1024 * MIB + 3), 1025 * MIB, &[]),
            ("target = maximum", gib, gib, 1041 * MIB, &[]),
            ("a page too low", half, gib, 529 * MIB - 4, &["limit-too-low"]),
            ("no room for video", half, gib, 513 * MIB, &["limit-too-low"]),
            ("as libxl builds one that may grow", half, gib, 530 * MIB, &[]),
            ("a page more", half, gib, 530 * MIB + 4, &["limit-high"]),
            ("xl mem-max before 4.17", half, gib, 3000 * MIB, &["limit-high"]),
            ("no limit", half, gib, UNLIMITED.0, &["limit-high"]),
            ("above the maximum", Some(1025 * MIB), gib, 1042 * MIB, &["target-above-maximum"]),
            // Fixing the target fixes the limit too.
            ("and the limit", Some(1025 * MIB), gib, 529 * MIB, &["target-above-maximum"]),
            ("no target", None, gib, 529 * MIB, &["missing-key"]),
            ("no maximum", half, None, 529 * MIB, &["missing-key"]),
            ("no maximum, too low", half, None, 528 * MIB, &["missing-key", "limit-too-low"]),
            ("neither", None, None, 529 * MIB, &["no-keys"]),
            ("absurd", Some(u64::MAX), Some(u64::MAX), 529 * MIB, &["limit-too-low"]),
        ],
    );
}

#[test]
fn dom0_may_keep_the_limit_it_booted_with() {
    let (half, gib) = (Some(512 * MIB), Some(1024 * MIB));
    numbers_are(
        0,
        &[
            ("after set", half, gib, 513 * MIB, &[]),
            ("as it boots with dom0_mem=max:", half, half, 512 * MIB, &[]),
            ("a page less", half, gib, 512 * MIB - 4, &["limit-too-low"]),
            ("any higher limit", half, gib, 3000 * MIB, &[]),
            ("no limit", half, Some(UNLIMITED.0), UNLIMITED.0, &[]),
            ("neither", None, None, UNLIMITED.0, &["no-keys"]),
            ("no target", None, gib, 513 * MIB, &["missing-key"]),
            ("no maximum", half, None, 513 * MIB, &["missing-key"]),
        ],
    );
}

/// libxl 4.10 to 4.16 wrote videoram -1 and a target of one KiB too much for PVH guests.
#[test]
fn video_memory_of_minus_one_is_in_step() {
    let mut memory = domain(7);
    (memory.target, memory.static_max) = (Ok(Some(Kib(528 * MIB + 1))), Ok(Some(Kib(528 * MIB))));
    memory.video = Ok(Some(-1));
    assert_eq!(judge(&memory), []);
}

#[test]
fn a_running_guest_that_is_not_at_its_target_is_noticed() {
    let at = |current: u64, limit: u64| {
        let mut memory = domain(7);
        (memory.info.current, memory.info.limit) = (Kib(current * MIB), Kib(limit * MIB));
        words(&judge(&memory))
    };
    assert!(at(529, 529).is_empty());
    assert!(at(527, 529).is_empty());
    assert_eq!(at(530, 1025), ["above-target"]);
    assert_eq!(at(500, 529), ["below-target"]);
    // Being above the target is a consequence.
    assert_eq!(at(600, 529), ["over-limit"]);
}

#[test]
fn one_cause_is_one_finding() {
    let mut memory = domain(7);
    memory.info.current = Kib(1024 * MIB);
    memory.info.limit = Kib(64 * MIB);
    assert_eq!(words(&judge(&memory)), ["limit-too-low"]);
    memory.info.paused = true;
    memory.info.limit = Kib(529 * MIB);
    assert_eq!(words(&judge(&memory)), ["paused"]);

    memory.info.paused = false;
    memory.info.limit = Kib(64 * MIB);
    let record = PathBuf::from("/var/lib/xen/record");
    let killed = Some(KilledChange { record: record.clone(), pid: Ok(4711) });
    let found = diagnose(&memory, State::Running, &Facts { killed, ..facts() });
    assert_eq!(words(&found), ["interrupted-change"]);
    assert_eq!(found[0].kind, DiagnosisKind::InterruptedChange { record, pid: Some(4711) });
    assert!(found[0].is_repairable() && found[0].is_out_of_step());

    let pod = Some(Pod { cache: Kib(4 * MIB), entries: Kib(8 * MIB) });
    let found = diagnose(&domain(7), State::Running, &Facts { pod, ..facts() });
    assert_eq!(words(&found), ["populating"]);
    let mut paused = domain(7);
    paused.info.paused = true;
    let found = diagnose(&paused, State::Paused, &Facts { pod, ..facts() });
    assert_eq!(words(&found), ["populating", "paused"]);
    let pod = Some(Pod { cache: Kib(8 * MIB), entries: Kib(8 * MIB) });
    assert_eq!(diagnose(&domain(7), State::Running, &Facts { pod, ..facts() }), []);
}

#[test]
fn no_fix_harms_a_domain_that_does_not_run() {
    let mut memory = domain(7);
    memory.info.current = Kib(16 * MIB);
    for (state, word) in [
        (State::Building, "building"),
        (State::Suspended, "suspended"),
        (State::ShutDown, "shut-down"),
        (State::Crashed, "crashed"),
        (State::Dying, "dying"),
    ] {
        let found = diagnose(&memory, state, &facts());
        assert_eq!(words(&found), [word]);
        assert_eq!(found[0].fix, None, "{word}");
    }
    let found = diagnose(&memory, State::Building, &facts());
    assert_eq!(found[0].message, "being created, restored or received (16 of 512 MiB)");
    let found = diagnose(&memory, State::Paused, &facts());
    assert_eq!(found[0].fix, Some(Fix::Unpause(id(7))));
}

#[test]
fn a_domu_without_a_limit_is_told_so() {
    let mut memory = domain(7);
    memory.info.limit = UNLIMITED;
    let found = diagnose(&memory, State::Running, &facts());
    assert_eq!(found[0].message, "it has no limit, and its target needs 529 MiB");
    assert_eq!(found[0].fix, Some(Fix::LowerLimit { domid: id(7), size: Kib(528 * MIB) }));
}

/// Sizes are rounded down to whole pages.
#[test]
fn a_target_barely_above_the_maximum_has_both_fixes_and_different_numbers() {
    let mut memory = domain(7);
    memory.target = Ok(Some(Kib(2_097_155)));
    memory.static_max = Ok(Some(Kib(2_097_152)));
    memory.info.limit = Kib(2_098_176);
    let found = diagnose(&memory, State::Running, &facts());
    assert_eq!(found[0].message, "the target of 2097155 KiB is above the maximum of 2097152 KiB");
    let (max, size) = (Some(Kib(2_113_540)), Some(Kib(2064 * MIB)));
    assert_eq!(found[0].fix, Some(Fix::Choose { domid: id(7), max, size }));
    memory.static_max = Ok(Some(Kib(4 * 2_097_152)));
    memory.target = Ok(Some(Kib(2_097_172)));
    memory.info.limit = Kib(2_097_164 + 17 * 1024);
    let found = diagnose(&memory, State::Running, &facts());
    let message = "the limit of 2114572 KiB is below the 2114580 KiB that its target needs";
    assert_eq!(found[0].message, message);
}

#[test]
fn a_stopped_domain_without_nodes_is_being_destroyed() {
    let mut memory = domain(7);
    (memory.target, memory.static_max) = (Ok(None), Ok(None));
    assert_eq!(words(&diagnose(&memory, State::ShutDown, &facts())), ["shut-down"]);
    assert_eq!(words(&diagnose(&memory, State::Dying, &facts())), ["dying"]);
}

#[test]
fn the_numbers_of_a_locked_domain_are_not_judged() {
    let mut memory = domain(7);
    memory.info.limit = Kib(4);
    memory.info.paused = true;
    let holder = Holder { pid: 4711, command: "xl mem-set web 512".to_owned(), has_ended: false };
    let lock = LockState::Held(holder);
    let found = diagnose(&memory, State::Paused, &Facts { lock, ..facts() });
    assert_eq!(words(&found), ["locked", "paused"]);
    assert_eq!(found[0].message, "locked by process 4711 (xl mem-set web 512)");
}

#[test]
fn a_lock_that_cannot_be_taken_is_out_of_step() {
    let found =
        diagnose(&domain(7), State::Running, &Facts { lock: LockState::Unusable, ..facts() });
    assert_eq!(words(&found), ["unusable-lock"]);
    assert!(found[0].is_out_of_step() && !found[0].is_repairable());
    assert!(found[0].message.contains("/var/lib/xen/userdata-l.7."), "{}", found[0].message);
}

#[test]
fn only_findings_with_one_possible_fix_are_repairable() {
    type Edit = fn(&mut Memory);
    let cases: [(&str, u32, Edit, bool); 12] = [
        ("a limit that is too low", 7, |it| it.info.limit = Kib(4), true),
        (
            "and a target above the maximum",
            7,
            |it| {
                it.info.limit = Kib(4);
                it.static_max = Ok(Some(Kib(511 * MIB)));
            },
            false,
        ),
        (
            "a limit beyond what Xen can count",
            7,
            |it| (it.target, it.static_max) = (Ok(Some(UNLIMITED)), Ok(Some(UNLIMITED))),
            false,
        ),
        ("a target above the maximum", 7, |it| it.static_max = Ok(Some(Kib(511 * MIB))), false),
        ("a limit that is too high", 7, |it| it.info.limit = Kib(3000 * MIB), false),
        ("a domU without keys", 7, |it| (it.target, it.static_max) = (Ok(None), Ok(None)), false),
        ("a domU without a target", 7, |it| it.target = Ok(None), false),
        (
            "a domU without a maximum, and a low limit",
            7,
            |it| {
                it.static_max = Ok(None);
                it.info.limit = Kib(4);
            },
            false,
        ),
        ("dom0 without keys", 0, |it| (it.target, it.static_max) = (Ok(None), Ok(None)), true),
        ("dom0 without a target", 0, |it| it.target = Ok(None), true),
        ("dom0 without a maximum", 0, |it| it.static_max = Ok(None), true),
        (
            "dom0 without one, and a target above its limit",
            0,
            |it| {
                it.static_max = Ok(None);
                it.info.limit = Kib(511 * MIB);
            },
            false,
        ),
    ];
    for (case, domid, edit, repairable) in cases {
        let mut memory = domain(domid);
        edit(&mut memory);
        let found = judge(&memory);
        assert!(!found.is_empty(), "{case}");
        assert_eq!(found.iter().any(Diagnosis::is_repairable), repairable, "{case}: {found:?}");
        for it in found.iter().filter(|it| it.is_repairable()) {
            assert_eq!(it.fix, Some(Fix::Repair(Some(id(domid)))), "{case}");
        }
    }
}

#[test]
fn a_low_limit_beside_an_unrelated_bad_node_is_repairable() {
    let mut memory = domain(7);
    memory.info.limit = Kib(256 * MIB);
    memory.video = Err(bad("videoram"));
    let found = judge(&memory);
    assert_eq!(words(&found), ["bad-node", "limit-too-low"]);
    assert!(found[1].is_repairable(), "{found:?}");
    // Then the target cannot be checked either, and the fix names the bad node.
    memory.video = Ok(Some(0));
    memory.static_max = Err(bad("static-max"));
    let found = judge(&memory);
    assert_eq!(words(&found), ["bad-node", "limit-too-low"]);
    assert_eq!(found[1].fix, Some(Fix::First("/local/domain/7/memory/static-max".to_owned())));
}

#[test]
fn a_bad_node_is_not_reported_as_missing() {
    for node in ["target", "static-max"] {
        let mut memory = domain(7);
        match node {
            "target" => memory.target = Err(bad(node)),
            _ => memory.static_max = Err(bad(node)),
        }
        let found = judge(&memory);
        assert_eq!(words(&found), ["bad-node"]);
        assert_eq!(found[0].fix, Some(Fix::Rewrite(format!("/local/domain/7/memory/{node}"))));
    }
}

#[test]
fn sizes_are_in_mib() {
    let mut memory = domain(7);
    (memory.target, memory.video) = (Ok(Some(Kib(1024 * MIB))), Ok(Some(0)));
    (memory.static_max, memory.info.limit) = (Ok(Some(Kib(4096 * MIB))), Kib(3000 * MIB));
    let found = judge(&memory);
    assert_eq!(found[0].fix, Some(Fix::LowerLimit { domid: id(7), size: Kib(1024 * MIB) }));
    assert_eq!(
        found[0].message,
        "the limit of 3000 MiB is above the 1025 MiB that its target needs"
    );
    memory.info.limit = Kib(1_800_000);
    assert_eq!(
        judge(&memory)[0].message,
        "the limit of 1757.8 MiB is above the 1025 MiB that its target needs"
    );
    memory.static_max = Ok(Some(Kib(512 * MIB)));
    let (max, size) = (Some(Kib(1024 * MIB)), Some(Kib(512 * MIB)));
    assert_eq!(judge(&memory)[0].fix, Some(Fix::Choose { domid: id(7), max, size }));
}

#[test]
fn no_fix_names_a_command_that_xmem_refuses() {
    // No size is less than a page.
    let lower = Fix::LowerLimit { domid: id(7), size: Kib(4) };
    for (target, fix) in [(0, None), (3, None), (4, Some(lower))] {
        let mut memory = domain(7);
        (memory.target, memory.video) = (Ok(Some(Kib(target))), Ok(Some(0)));
        (memory.info.limit, memory.info.current) = (Kib(512 * MIB), Kib(target));
        assert_eq!(judge(&memory)[0].fix, fix, "{target}");
    }
    // No guest is shrunk below 32 MiB.
    let mut memory = domain(7);
    (memory.static_max, memory.video) = (Ok(Some(Kib(16 * MIB))), Ok(Some(0)));
    let fix = Fix::Choose { domid: id(7), max: Some(Kib(512 * MIB)), size: None };
    assert_eq!(judge(&memory)[0].fix, Some(fix));
}

#[test]
fn a_pvh_dom0_with_an_old_kernel_is_not_offered_its_keys() {
    let mut memory = domain(0);
    memory.info.guest_type = GuestType::Pvh;
    for (kernel, offered) in [(None, false), (Some((6, 12)), false), (Some((6, 15)), true)] {
        let facts = Facts { dom0: Dom0 { kernel, ..Dom0::default() }, ..facts() };
        memory.static_max = Ok(Some(Kib(1024 * MIB)));
        memory.target = Ok(None);
        assert_eq!(
            diagnose(&memory, State::Running, &facts)[0].is_repairable(),
            offered,
            "{kernel:?}"
        );
        memory.static_max = Ok(None);
        assert_eq!(
            diagnose(&memory, State::Running, &facts)[0].is_repairable(),
            offered,
            "{kernel:?}"
        );
    }
}

#[test]
fn a_guest_that_may_write_its_nodes_gets_no_repair() {
    let mut memory = domain(7);
    memory.info.limit = Kib(4);
    let found = diagnose(&memory, State::Running, &Facts { guest_writes: true, ..facts() });
    assert_eq!(found[0].kind.word(), "limit-too-low");
    assert_eq!(found[0].fix, Some(Fix::SetSize(id(7))));
}

#[test]
fn managers_and_device_models_are_noticed() {
    let mut memory = domain(7);
    memory.manager = Some(Manager::Qmemman);
    memory.device_model_of = DomId::new(9);
    memory.info.outstanding = Kib(64 * MIB);
    let found = judge(&memory);
    assert_eq!(words(&found), ["device-model", "managed", "outstanding"]);
    assert_eq!(found[0].message, "device model of domain 9");
    assert!(found.iter().all(|it| !it.is_out_of_step()));
}

#[test]
fn the_most_severe_finding_comes_first() {
    let mut memory = domain(7);
    memory.manager = Some(Manager::Squeezed);
    memory.info.paused = true;
    memory.info.limit = Kib(4);
    assert_eq!(words(&judge(&memory)), ["limit-too-low", "paused", "managed"]);
}

#[test]
fn sentences_have_no_full_stop() {
    let mut memory = domain(7);
    memory.info.limit = Kib(4);
    memory.video = Err(bad("videoram"));
    let killed = |pid| Some(KilledChange { record: PathBuf::from("/f"), pid });
    let all = [
        judge(&memory),
        judge(&Memory { target: Ok(None), ..domain(7) }),
        diagnose(&domain(7), State::Paused, &facts()),
        diagnose(&domain(7), State::Running, &Facts { killed: killed(Ok(7)), ..facts() }),
        diagnose(
            &domain(7),
            State::Running,
            &Facts { killed: killed(Err("x".to_owned())), ..facts() },
        ),
    ];
    for it in all.iter().flatten() {
        for text in [&*it.message, it.meaning] {
            assert!(!text.is_empty() && !text.ends_with('.') && !text.contains("  "), "{text}");
            assert!(!text.starts_with("out of step"), "{text}");
        }
    }
}

#[test]
fn dom0s_own_target_is_shown_if_it_is_another_one() {
    let mut memory = domain(0);
    memory.info.current = Kib(400 * MIB);
    let found = |balloon_target| {
        let facts = Facts { dom0: Dom0 { balloon_target, ..Dom0::default() }, ..facts() };
        diagnose(&memory, State::Running, &facts)[0].clone()
    };
    let target = memory.target.clone().unwrap();
    assert_eq!(found(target).fix, Some(Fix::AwaitGuest));
    let other = found(Some(Kib(400 * MIB)));
    assert!(other.message.ends_with("set in sysfs (xen_memory0/target_kb), is 400 MiB"));
    let size = memory.size().unwrap();
    assert_eq!(other.fix, Some(Fix::SetAgain { domid: id(0), size }));
}
