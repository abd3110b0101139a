//! `xmem set`.

use snapbox::str;

use crate::sandbox::{Sim, xmem};

#[test]
fn target_and_limit_change_together() {
    let sim = Sim::new();
    sim.xmem("set web 512M").run().says(str![[r#"
web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)

"#]]);
    assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
    let world = sim.world();
    assert_eq!(world["xenstore"]["/vm/00000000-0000-4000-8000-000000000007/memory"], "512");
}

#[test]
fn a_size_already_set_changes_nothing() {
    let sim = Sim::new();
    let before = sim.world();
    sim.xmem("set web 1G").run().says(str![[r#"
web (7): already at target 1024 MiB, limit 1025 MiB (simulated)

"#]]);
    assert_eq!(sim.world(), before);
}

/// Even if the target is already set.
#[test]
fn a_limit_out_of_step_is_corrected() {
    let sim = Sim::new();
    sim.edit(|world| world["domains"]["7"]["limit_kib"] = 4096.into());
    sim.xmem("set web 1G").run().says(str![[r#"
web (7): target 1024 MiB, limit 4 MiB -> 1025 MiB (simulated)

"#]]);
    assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 1_049_600));
}

/// As an agent of `XenServer` or of Qubes OS reports 700 MiB of `web`'s 1024.
const REPORTS: [&[(&str, &str)]; 2] = [
    &[("data/meminfo_total", "1000000"), ("data/meminfo_free", "283200")],
    &[("memory/meminfo", "716800")],
];

fn report(sim: &Sim, nodes: &[(&str, &str)]) {
    sim.edit(|world| {
        for (node, value) in nodes {
            world["xenstore"][format!("/local/domain/7/{node}")] = (*value).into();
        }
    });
}

#[test]
fn less_than_the_guest_reports_as_used_is_noted() {
    for nodes in REPORTS {
        let sim = Sim::new();
        report(&sim, nodes);
        let note = "note: the guest reports that it uses 700 MiB: with 512 MiB it may swap, or run out of memory\n";
        sim.xmem("set web 512M -n").run().is(
            0,
            str![[r#"
web (7): would change: target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)

"#]],
            note,
        );
        sim.xmem("set web 512M").run().is(
            0,
            str![[r#"
web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)

"#]],
            note,
        );
        report(&sim, nodes);
        let ran = sim.xmem("set web 511M --json").run();
        assert_eq!(ran.json()["notes"][0]["kind"], "below-used", "{ran:?}");
    }
}

#[test]
fn what_the_guest_reports_is_noted_only_when_it_shrinks_below_that() {
    // As much as it uses, more than it has, and with a maximum below what it uses.
    for words in ["set web 700M", "set web 1536M", "max web 1G"] {
        let sim = Sim::new();
        report(&sim, REPORTS[0]);
        let ran = sim.xmem(words).run();
        assert_eq!((ran.status.code(), &*ran.stderr), (Some(0), ""), "{ran:?}");
    }
    // One that uses more than it is to have already, and grows.
    let sim = Sim::new();
    report(&sim, REPORTS[0]);
    sim.xmem("set web 512M -q").run().says("");
    let ran = sim.xmem("set web 640M").run();
    assert!(ran.status.success() && !ran.stderr.contains("reports"), "{ran:?}");
    // Nothing, or nothing that makes sense.
    for nodes in [&[][..], &[("memory/meminfo", "lots")], &[("data/meminfo_free", "1")]] {
        let sim = Sim::new();
        report(&sim, nodes);
        let ran = sim.xmem("set web 512M").run();
        assert_eq!((ran.status.code(), &*ran.stderr), (Some(0), ""), "{ran:?}");
    }
}

#[test]
fn mem_set_is_set() {
    let sim = Sim::new();
    sim.xmem("mem-set 7 512").run().says(str![[r#"
web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)

"#]]);
}

#[test]
fn relative_sizes_are_from_the_present_size() {
    let sim = Sim::new();
    sim.xmem("set web +256M").run().says(str![[r#"
web (7): target 1024 MiB -> 1280 MiB, limit 1025 MiB -> 1281 MiB (simulated)

"#]]);
    sim.xmem("set web -512M").run().says(str![[r#"
web (7): target 1280 MiB -> 768 MiB, limit 1281 MiB -> 769 MiB (simulated)

"#]]);
    sim.xmem("set web -1G").run().fails(
        4,
        str![[r#"
xmem: web (7): taking 1024 MiB from 768 MiB leaves nothing; nothing changed (simulated)
hint: give an absolute size

"#]],
    );
}

#[test]
fn video_memory_counts_in_a_size_and_not_in_a_relative_one() {
    let sim = Sim::new();
    sim.xmem("set win 1G").run().says(str![[r#"
win (9): size 2048 MiB -> 1024 MiB, target 2032 MiB -> 1008 MiB, limit 2049 MiB -> 1025 MiB (simulated)

"#]]);
    sim.xmem("set win +100M").run().says(str![[r#"
win (9): size 1024 MiB -> 1124 MiB, target 1008 MiB -> 1108 MiB, limit 1025 MiB -> 1125 MiB (simulated)

"#]]);
    sim.xmem("set win 16M").run().fails(4, str![[r#"
xmem: win (9): a size of 16 MiB leaves nothing beside the domain's video memory of 16 MiB; nothing changed (simulated)
hint: ask for at least 48M

"#]]);
}

#[test]
fn a_size_above_the_maximum_is_refused_unless_it_is_raised() {
    let sim = Sim::new();
    sim.xmem("set web 3G").run().fails(4, str![[r#"
xmem: web (7): a target of 3072 MiB is above the domain's maximum of 2048 MiB (memory/static-max); nothing changed (simulated)
hint: ask for at most 2G, or add --raise-max to raise the maximum too

"#]]);
    // The hint includes video memory, as a size does.
    sim.xmem("set win 3G").run().fails(4, str![[r#"
xmem: win (9): a target of 3056 MiB is above the domain's maximum of 2048 MiB (memory/static-max); nothing changed (simulated)
hint: ask for at most 2064M, or add --raise-max to raise the maximum too

"#]]);
    sim.xmem("set win 2064M").run().says(str![[r#"
win (9): size 2048 MiB -> 2064 MiB, target 2032 MiB -> 2048 MiB, limit 2049 MiB -> 2065 MiB (simulated)

"#]]);
    sim.xmem("set web 3G --raise-max").run().is(
        0,
        str![[r#"
web (7): target 1024 MiB -> 3072 MiB, maximum 2048 MiB -> 3072 MiB, limit 1025 MiB -> 3073 MiB (simulated)

"#]],
        str![""],
    );
    assert_eq!(sim.numbers(7), (3_145_728, 3_145_728, 3_146_752));
    sim.xmem("set web 17T --raise-max").run().fails(
        4,
        str![[r#"
xmem: web (7): the hypervisor cannot take a limit above 16383 GiB; nothing changed (simulated)
hint: is the unit right? a bare number is MiB

"#]],
    );
}

#[test]
fn a_size_below_the_minimum_is_refused_unless_forced() {
    let sim = Sim::new();
    sim.xmem("set web 31M").run().fails(
        4,
        str![[r#"
xmem: web (7): 31 MiB is below the 32 MiB minimum for a guest; nothing changed (simulated)
hint: use --force to do it anyway

"#]],
    );
    sim.xmem("set web 32M").run().says(str![[r#"
web (7): target 1024 MiB -> 32 MiB, limit 1025 MiB -> 33 MiB (simulated)

"#]]);
    sim.xmem("set web 4M --force").run().says(str![[r#"
web (7): target 32 MiB -> 4 MiB, limit 33 MiB -> 5 MiB (simulated)

"#]]);
    // A guest below the minimum may grow to a size that still is.
    sim.xmem("set web 8M").run().says(str![[r#"
web (7): target 4 MiB -> 8 MiB, limit 5 MiB -> 9 MiB (simulated)

"#]]);
}

#[test]
fn dom0_gets_a_limit_and_never_shrinks_below_its_minimum() {
    let sim = Sim::new();
    for size in ["127M", "127M --force"] {
        sim.xmem(&format!("set 0 {size}")).run().fails(
            4,
            str![[r#"
xmem: Domain-0 (0): 127 MiB is below the 128 MiB minimum for dom0; nothing changed (simulated)
hint: dom0 is never set below that, with or without --force

"#]],
        );
    }
    sim.xmem("set 0 1G").run().is(
        0,
        str![[r#"
Domain-0 (0): target 2048 MiB -> 1024 MiB, limit none -> 1025 MiB (simulated)

"#]],
        str![[r#"
note: dom0 gets a limit in the hypervisor for the first time: 1025 MiB

"#]],
    );
}

#[test]
fn dom0s_missing_nodes_are_filled_in() {
    let sim = Sim::new();
    sim.edit(|world| {
        let nodes = world["xenstore"].as_object_mut().unwrap();
        assert!(nodes.remove("/local/domain/0/memory/target").is_some());
        assert!(nodes.remove("/local/domain/0/memory/static-max").is_some());
    });
    sim.xmem("set 0 1G").run().is(
        0,
        str![[r#"
Domain-0 (0): target none -> 1024 MiB, maximum none, limit none -> 1025 MiB (simulated)

"#]],
        str![[r#"
note: xenstore had no memory/target and memory/static-max: filled in from dom0's present memory and limit
note: dom0 gets a limit in the hypervisor for the first time: 1025 MiB

"#]],
    );
    assert_eq!(sim.numbers(0), (1_048_576, 17_179_869_180, 1_049_600));
}

/// dom0 boots without a limit.
#[test]
fn no_sentence_gives_no_limit_as_an_amount() {
    let sim = Sim::new();
    sim.edit(|world| {
        let nodes = world["xenstore"].as_object_mut().unwrap();
        assert!(nodes.remove("/local/domain/0/memory/static-max").is_some());
    });
    let run = |fault, leaves| sim.xmem("set 0 1G").fault(fault).leaves(leaves).recovers().run();
    for (fault, leaves, expected) in [
        ("commit-lost-undone", 0, "; rolled back; the limit is none again (simulated)"),
        (
            "commit-unknown",
            1,
            ": whether the new target of 1024 MiB was committed is not known; the limit is none now (simulated)",
        ),
        (
            "pod-refused",
            0,
            "note: an earlier xmem was interrupted before its commit; the limit is rolled back to none",
        ),
    ] {
        let ran = run(fault, leaves);
        assert!(ran.stderr.contains(expected), "{ran:?}");
        assert!(!ran.stderr.contains("17179869180"), "{ran:?}");
    }
}

#[test]
fn a_domu_without_memory_nodes_is_refused() {
    let sim = Sim::new();
    sim.edit(|world| {
        let nodes = world["xenstore"].as_object_mut().unwrap();
        assert!(nodes.remove("/local/domain/7/memory/static-max").is_some());
    });
    sim.xmem("set web 512M").run().fails(
        4,
        str![[r#"
xmem: web (7): xenstore has no memory/static-max for the domain; nothing changed (simulated)
hint: `xmem check` says what is missing; a toolstack without ballooning writes no such keys

"#]],
    );
}

#[test]
fn a_bad_node_is_refused_and_shown() {
    let sim = Sim::new();
    sim.edit(|world| {
        world["xenstore"]["/local/domain/7/memory/target"] = "1024 MB\u{1b}[2J".into();
    });
    sim.xmem("set web 512M").run().fails(1, str![[r#"
xmem: web (7): xenstore has "1024 MB\u{1b}[2J" at /local/domain/7/memory/target, which is not a size in KiB; nothing changed (simulated)
hint (simulated): find and stop the program that wrote it, then: xenstore-write /local/domain/7/memory/target KIB

"#]]);
}

#[test]
fn a_change_of_a_paused_domain_is_noted() {
    let sim = Sim::new();
    sim.edit(|world| world["domains"]["7"]["paused"] = true.into());
    sim.xmem("set web 512M").run().is(
        0,
        str![[r#"
web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)

"#]],
        str![[r#"
note: the domain is paused: it keeps 1024 MiB until it runs again

"#]],
    );
}

#[test]
fn a_dry_run_reports_the_change_and_makes_none() {
    let sim = Sim::new();
    let before = sim.world();
    for flag in ["-n", "--dry-run"] {
        sim.xmem(&format!("set web {flag} 3000001k --raise-max")).run().is(
            0,
            str![[r#"
web (7): would change: target 1024 MiB -> 3000000 KiB, maximum 2048 MiB -> 3000000 KiB, limit 1025 MiB -> 3001024 KiB (simulated)

"#]],
            str![[r#"
note: the size was rounded down by 1024 bytes to whole 4 KiB pages

"#]],
        );
    }
    sim.xmem("set web 1G -n").run().says(str![[r#"
web (7): already at target 1024 MiB, limit 1025 MiB (simulated)

"#]]);
    assert_eq!(sim.world(), before);
    // A dry run refuses what a change refuses.
    assert_eq!(sim.xmem("set web 3G -n").run().status.code(), Some(4));
}

#[test]
fn a_relative_size_of_zero_reports_the_target() {
    let sim = Sim::new();
    for words in ["set web +0", "set web -0 -n"] {
        sim.xmem(words).run().says(str![[r#"
web (7): already at target 1024 MiB, limit 1025 MiB (simulated)

"#]]);
    }
}

#[test]
fn a_note_names_the_simulated_host_that_was_typed() {
    let sim = Sim::new();
    sim.edit(|world| world["domains"]["7"]["limit_kib"] = 900_000.into());
    let host = sim.host().into_string().unwrap();
    let ran = xmem(&format!("--host {host} set web +0")).within(&sim).run();
    let command = format!("xmem --host {host} check 7");
    assert!(ran.stderr.replace("DIR", sim.path().to_str().unwrap()).contains(&command), "{ran:?}");
    let ran = xmem(&format!("--host {host} --json set web +0")).within(&sim).run();
    assert!(ran.stdout.replace("DIR", sim.path().to_str().unwrap()).contains(&command), "{ran:?}");
}

/// Whatever its maximum is by then.
#[test]
fn a_populating_guest_is_not_shrunk_after_its_maximum_was_lowered() {
    let sim = Sim::with_states();
    assert_eq!(sim.xmem("max populating 512M").run().status.code(), Some(0));
    let ran = sim.xmem("set populating 256M").run();
    assert_eq!(ran.status.code(), Some(4), "{ran:?}");
    assert!(ran.stderr.contains("populate on demand"), "{ran:?}");
    let ran = sim.xmem("check populating").run();
    assert!(ran.stdout.contains("still populating"), "{ran:?}");
}
