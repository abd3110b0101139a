//! `xmem max`.

use snapbox::str;

use crate::sandbox::Sim;

#[test]
fn maximum_and_limit_change_together() {
    let sim = Sim::new();
    sim.xmem("max web 4G").run().says(str![[r#"
web (7): maximum 2048 MiB -> 4096 MiB, limit 1025 MiB -> 4097 MiB (simulated)

"#]]);
    assert_eq!(sim.numbers(7), (1_048_576, 4_194_304, 4_195_328));
    sim.xmem("max web 4G").run().says(str![[r#"
web (7): already at maximum 4096 MiB, limit 4097 MiB (simulated)

"#]]);
}

#[test]
fn mem_max_is_max() {
    let sim = Sim::new();
    sim.xmem("mem-max 7 4096").run().says(str![[r#"
web (7): maximum 2048 MiB -> 4096 MiB, limit 1025 MiB -> 4097 MiB (simulated)

"#]]);
}

#[test]
fn relative_sizes_are_from_the_maximum() {
    let sim = Sim::new();
    sim.xmem("max web +1G").run().says(str![[r#"
web (7): maximum 2048 MiB -> 3072 MiB, limit 1025 MiB -> 3073 MiB (simulated)

"#]]);
    sim.xmem("max web -1536M").run().says(str![[r#"
web (7): maximum 3072 MiB -> 1536 MiB, limit 3073 MiB -> 1537 MiB (simulated)

"#]]);
}

#[test]
fn a_maximum_below_the_target_is_refused() {
    let sim = Sim::new();
    sim.xmem("max web 1023M").run().fails(4, str![[r#"
xmem: web (7): a maximum of 1023 MiB is below the domain's target of 1024 MiB (memory/target); nothing changed (simulated)
hint: lower the target first, or ask for at least 1G

"#]]);
    sim.xmem("max web 1G").run().says(str![[r#"
web (7): maximum 2048 MiB -> 1024 MiB, limit 1025 MiB (simulated)

"#]]);
}

/// xl mem-max would set a limit below the guest's memory here.
#[test]
fn a_maximum_leaves_room_for_video_memory() {
    let sim = Sim::new();
    sim.xmem("max win 2032M").run().is(
        0,
        str![[r#"
win (9): maximum 2048 MiB -> 2032 MiB, limit 2049 MiB (simulated)

"#]],
        str![[r#"
note: the limit is 2049 MiB: target and video memory need more than 2032 MiB

"#]],
    );
}

#[test]
fn a_dry_run_changes_nothing() {
    let sim = Sim::new();
    let before = sim.world();
    sim.xmem("max web 4G -n").run().says(str![[r#"
web (7): would change: maximum 2048 MiB -> 4096 MiB, limit 1025 MiB -> 4097 MiB (simulated)

"#]]);
    assert_eq!(sim.world(), before);
}

/// They are options about the target and the guest's balloon.
#[test]
fn max_takes_neither_raise_max_nor_wait() {
    let sim = Sim::new();
    for flag in ["--raise-max", "--wait", "--patience", "--keep-free"] {
        let ran = sim.xmem("max web 4G").arg(flag).run();
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        assert!(ran.stderr.contains(&format!("unknown option `{flag}`")), "{ran:?}");
    }
}
