//! `xmem check --repair`: what it repairs, what it leaves, and that a dry run changes nothing.

use std::fs::{self, File};

use nix::sys::signal::Signal::SIGKILL;
use serde_json::{Value, json};
use snapbox::str;

use crate::check::{all, kinds, limit, node, release};
use crate::sandbox::{Ran, Sim, WEB};

/// Creates a file in the state directory that belongs to a domain that does not exist.
fn left(sim: &Sim, letter: char, last: &str) {
    let name = format!("lib/userdata-{letter}.12.{WEB}.{last}");
    fs::write(sim.path().join(name), "left").unwrap();
}

#[test]
fn a_low_limit_is_raised_to_what_the_target_needs() {
    let sim = Sim::new();
    limit(&sim, "9", 2_097_152);
    let before = all(&sim);
    let would = str![[r#"
win (9): out of step: the limit of 2048 MiB is below the 2049 MiB that its target needs
    meaning: the target asks for more than Xen lets the guest have: its allocations fail
    would repair: limit 2048 MiB -> 2049 MiB
4 domains: 1 finding out of step (simulated)

"#]];
    sim.xmem("check --repair --dry-run").run().is(9, would, "");
    assert_eq!(all(&sim), before);
    sim.xmem("check --repair").run().says(str![[r#"
win (9): out of step: the limit of 2048 MiB is below the 2049 MiB that its target needs
    meaning: the target asks for more than Xen lets the guest have: its allocations fail
    repaired: limit 2048 MiB -> 2049 MiB
4 domains: nothing out of step, 1 repaired (simulated)

"#]]);
    assert_eq!(sim.numbers(9), (2_080_768, 2_097_152, 2_098_176));
    sim.xmem("check").run().says(str![[r#"
4 domains: nothing out of step (simulated)

"#]]);
}

/// As `libxl__fill_dom0_memory_info` does.
#[test]
fn dom0s_keys_are_filled_in() {
    for (missing, code) in
        [(&["target", "static-max"][..], 0), (&["target"], 9), (&["static-max"], 9)]
    {
        let sim = Sim::new();
        let before = sim.numbers(0);
        for key in missing {
            node(&sim, &format!("/local/domain/0/memory/{key}"), None);
        }
        assert_eq!(sim.xmem("check 0").run().status.code(), Some(code));
        assert_eq!(sim.xmem("check 0 --repair -n").run().status.code(), Some(code));
        assert_eq!(sim.xmem("check 0 --repair").run().status.code(), Some(0));
        assert_eq!(sim.numbers(0), before, "{missing:?}");
        // libxl writes no other node either.
        assert_eq!(
            sim.world()["xenstore"].as_object().unwrap().len(),
            Sim::new().world()["xenstore"].as_object().unwrap().len()
        );
    }
}

#[test]
fn missing_dom0_keys_are_reported() {
    let sim = Sim::new();
    node(&sim, "/local/domain/0/memory/target", None);
    node(&sim, "/local/domain/0/memory/static-max", None);
    sim.xmem("check --repair").run().says(str![[r#"
Domain-0 (0): no memory keys in xenstore
    meaning: harmless: the first change of dom0's memory writes them, as xl's does
    repaired: target none -> 2048 MiB; maximum none
4 domains: nothing out of step, 1 repaired (simulated)

"#]]);
}

/// Killed before and after its commit.
#[test]
fn a_killed_change_is_recovered() {
    for (fault, numbers) in [
        ("kill-before-commit", (1_048_576, 2_097_152, 1_049_600)),
        ("kill-after-commit", (524_288, 2_097_152, 525_312)),
    ] {
        let sim = Sim::new();
        sim.xmem("set web 512M").fault(fault).leaves(2).run().dies_by(SIGKILL);
        let before = all(&sim);
        for words in ["check --json", "check --json --repair --dry-run"] {
            let ran = sim.xmem(words).leaves(2).run();
            assert_eq!(ran.status.code(), Some(9), "{ran:?}");
            assert!(
                kinds(&ran.stdout).contains(&("interrupted-change".to_owned(), true)),
                "{ran:?}"
            );
            assert_eq!(all(&sim), before, "{words} changed something");
        }
        let ran = sim.xmem("check --repair --json").run();
        assert_eq!((ran.status.code(), &*ran.stderr), (Some(0), ""), "{fault}");
        let lines = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let interrupted =
            lines.into_iter().find(|line| line["kind"] == "interrupted-change").unwrap();
        assert_eq!(interrupted["repaired"], json!(true));
        assert_eq!(sim.numbers(7), numbers, "{fault}");
    }
}

#[test]
fn a_killed_change_is_reported() {
    let sim = Sim::new();
    sim.xmem("set web 512M").fault("kill-after-commit").leaves(2).run().dies_by(SIGKILL);
    let pid = serde_json::from_slice::<Value>(&fs::read(sim.intent()).unwrap()).unwrap()["pid"]
        .to_string();
    sim.edit(|world| world["domains"]["7"]["current_kib"] = 524_288.into());
    let without_pid = |mut ran: Ran| {
        ran.stdout = ran.stdout.replace(&pid, "PID");
        ran
    };
    without_pid(sim.xmem("check --repair -n").leaves(2).run()).is(
        9,
        str![[r#"
web (7): out of step: a change by process PID was interrupted
    meaning: the limit may be ahead of the target in xenstore, or behind it
    would repair: its record is removed
4 domains: 1 finding out of step (simulated)

"#]],
        "",
    );
    without_pid(sim.xmem("check --repair").run()).says(str![[r#"
web (7): out of step: a change by process PID was interrupted
    meaning: the limit may be ahead of the target in xenstore, or behind it
    repaired: an earlier xmem was interrupted; its change is complete now: the limit is 513 MiB
4 domains: nothing out of step, 1 repaired (simulated)

"#]]);
}

/// The record goes, but the target that the guest may have written stays, and makes another finding.
#[test]
fn a_dry_run_promises_no_more_than_the_recovery_if_a_repair_is_refused() {
    let sim = Sim::new();
    sim.xmem("set web 512M").fault("kill-before-commit").leaves(2).run().dies_by(SIGKILL);
    sim.edit(|world| world["domains"]["7"]["owns_nodes"] = true.into());
    node(&sim, "/local/domain/7/memory/target", Some("2000000"));
    let ran = sim.xmem("check --repair -n").leaves(2).run();
    assert_eq!(ran.status.code(), Some(9), "{ran:?}");
    assert!(ran.stdout.contains("would repair: its record is removed\n"), "{ran:?}");
    let ran = sim.xmem("check --repair").recovers().run();
    assert_eq!(ran.status.code(), Some(9), "{ran:?}");
    assert!(ran.stdout.contains("below the 1954.1 MiB that its target needs"), "{ran:?}");
}

/// It is not trusted and not lost, and it does not stop the repair.
#[test]
fn a_foreign_record_is_set_aside() {
    let sim = Sim::new();
    fs::write(sim.intent(), "{}\u{1b}[2J").unwrap();
    let before = all(&sim);
    let ran = sim.xmem("check --repair -n").leaves(1).run();
    assert_eq!((ran.status.code(), all(&sim)), (Some(9), before));
    assert!(ran.stdout.contains("would repair: its record is moved out of the way"), "{ran:?}");
    assert_eq!(sim.xmem("check --repair").leaves(1).run().status.code(), Some(0));
    assert_eq!(sim.state(), [format!("userdata-d.7.{WEB}.xmem-intent-foreign")]);
    // It stays, and is reported until somebody removes it.
    let ran = sim.xmem("check --repair --json").leaves(1).run();
    assert_eq!(
        (ran.status.code(), kinds(&ran.stdout)),
        (Some(0), vec![("set-aside".to_owned(), false)])
    );
    assert!(ran.stdout.contains("\"fix\":\"read it, then: rm DIR/lib/"), "{ran:?}");
}

/// `rm` alone does not remove it.
#[test]
fn a_record_that_is_a_directory_is_set_aside() {
    let sim = Sim::new();
    fs::create_dir(sim.intent()).unwrap();
    assert_eq!(sim.xmem("check --repair").leaves(1).run().status.code(), Some(0));
    let aside = format!("userdata-d.7.{WEB}.xmem-intent-foreign");
    let ran = sim.xmem("check").leaves(1).run();
    let fix = format!("fix: read it, then: rm -r DIR/lib/{aside}\n");
    assert!(ran.stdout.contains(&fix), "{ran:?}");
    // What is in its way is named, with the command.
    fs::write(sim.path().join("lib").join(&aside).join("file"), "").unwrap();
    for is_directory in [true, false] {
        if is_directory {
            fs::create_dir(sim.intent()).unwrap();
        } else {
            fs::remove_dir(sim.intent()).unwrap();
            fs::write(sim.intent(), "{").unwrap();
        }
        for (words, code) in [("set web 512M", 1), ("check --repair", 9)] {
            let ran = sim.xmem(words).leaves(2).run();
            assert_eq!(ran.status.code(), Some(code), "{ran:?}");
            let message = format!("cannot replace the intent record DIR/lib/{aside}: ");
            assert!(ran.stderr.contains(&message), "{ran:?}");
            let hint = "\nhint: a directory is in the way: look what put it there, then remove it with `rm -r`\n";
            assert!(ran.stderr.ends_with(hint), "{ran:?}");
        }
    }
}

#[test]
fn files_of_gone_domains_are_removed() {
    let sim = Sim::new();
    left(&sim, 'l', "domain-userdata-lock");
    left(&sim, 'd', "xmem-intent");
    left(&sim, 'n', "xmem-intent");
    left(&sim, 'd', "xmem-intent-foreign");
    // libxl's own files, and unknown ones.
    left(&sim, 'd', "xl");
    left(&sim, 'l', "libxl-device-changes-lock");
    left(&sim, 'd', "xmem-intent.bak");
    let before = all(&sim);
    for words in ["check", "check --repair -n"] {
        assert_eq!(sim.xmem(words).leaves(7).run().status.code(), Some(0));
        assert_eq!(all(&sim), before);
    }
    // Stale files are removed only if no domain is named.
    assert_eq!(sim.xmem("check --repair web").leaves(7).run().status.code(), Some(0));
    sim.xmem("check --repair").leaves(3).run().says(str![[r#"
domain 12: gone (UUID 00000000-0000-4000-8000-000000000007), but the record of a change is left: DIR/lib/userdata-d.12.00000000-0000-4000-8000-000000000007.xmem-intent-foreign
    meaning: harmless, unless a domain with the same domid and UUID is started
    repaired: removed
domain 12: gone (UUID 00000000-0000-4000-8000-000000000007), but the record of a change is left: DIR/lib/userdata-n.12.00000000-0000-4000-8000-000000000007.xmem-intent
    meaning: harmless, unless a domain with the same domid and UUID is started
    repaired: removed
domain 12: gone (UUID 00000000-0000-4000-8000-000000000007), but the record of a change is left: DIR/lib/userdata-d.12.00000000-0000-4000-8000-000000000007.xmem-intent
    meaning: harmless, unless a domain with the same domid and UUID is started
    repaired: removed
domain 12: gone (UUID 00000000-0000-4000-8000-000000000007), but its lock file is left: DIR/lib/userdata-l.12.00000000-0000-4000-8000-000000000007.domain-userdata-lock
    meaning: harmless; libxl removes it with the domain unless it is killed
    repaired: removed
4 domains: nothing out of step, 4 repaired (simulated)

"#]]);
    let kept = [
        format!("userdata-d.12.{WEB}.xl"),
        format!("userdata-d.12.{WEB}.xmem-intent.bak"),
        format!("userdata-l.12.{WEB}.libxl-device-changes-lock"),
    ];
    assert_eq!(sim.state(), kept);
}

/// Problems with two possible fixes, another program's choices, and what xmem does not own.
#[test]
fn problems_without_one_safe_fix_are_left() {
    type Edit = fn(&Sim);
    let cases: [(&str, Edit, i32); 7] = [
        (
            "a target above the maximum",
            |sim| {
                node(sim, "/local/domain/7/memory/target", Some("3145728"));
            },
            9,
        ),
        ("a limit that is too high", |sim| limit(sim, "7", 4_195_328), 0),
        ("no limit", |sim| limit(sim, "7", 17_179_869_180), 0),
        ("a domU without a target", |sim| node(sim, "/local/domain/7/memory/target", None), 9),
        (
            "a size that is not a number",
            |sim| {
                node(sim, "/local/domain/7/memory/videoram", Some("x"));
            },
            9,
        ),
        ("a ghost", |sim| node(sim, "/local/domain/12/memory/static-max", Some("4")), 0),
        (
            "a dying domain",
            |sim| {
                sim.edit(|world| world["domains"]["7"]["dying"] = true.into());
                limit(sim, "7", 4);
            },
            0,
        ),
    ];
    for (case, edit, code) in cases {
        let sim = Sim::new();
        edit(&sim);
        let before = all(&sim);
        let ran = sim.xmem("check --repair").run();
        assert_eq!(ran.status.code(), Some(code), "{case}: {ran:?}");
        assert_eq!(all(&sim), before, "{case}");
        assert!(!ran.stdout.contains("repaired") && ran.stderr.is_empty(), "{case}: {ran:?}");
    }
}

/// The other domains are still repaired.
#[test]
fn a_failed_repair_is_reported_and_left() {
    let sim = Sim::new();
    limit(&sim, "7", 524_288);
    limit(&sim, "8", 524_288);
    let before = all(&sim);
    for (fault, message) in [
        ("limit-refused", "the hypervisor refused XEN_DOMCTL_max_mem"),
        ("store-full", "xenstored answered ENOSPC"),
    ] {
        let ran = sim.xmem("check --repair").fault(fault).run();
        assert_eq!(ran.status.code(), Some(9), "{fault}: {ran:?}");
        for who in ["xmem: web (7): ", "xmem: db (8): "] {
            assert!(
                ran.stderr.lines().any(|line| line.starts_with(who) && line.contains(message)),
                "{ran:?}"
            );
        }
        assert!(!ran.stdout.contains("resolved"), "{ran:?}");
        assert_eq!(all(&sim), before);
    }
    let ran = sim.xmem("check --repair --json").fault("limit-refused").run();
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let errors = lines.iter().filter(|line| line["error"]["kind"] == "hypervisor").count();
    let left =
        lines.iter().filter(|line| line["repaired"] == false && line["kind"] == "limit-too-low");
    assert_eq!((errors, left.count()), (2, 2));
}

#[test]
fn a_repair_whose_commit_gets_lost_reports_its_finding_and_its_failure() {
    let sim = Sim::new();
    limit(&sim, "7", 1_000_000);
    sim.xmem("check --repair").fault("commit-unknown").leaves(1).run().is(9, str![[r#"
web (7): out of step: the limit of 976.5 MiB is below the 1025 MiB that its target needs
    meaning: the target asks for more than Xen lets the guest have: its allocations fail
    fix: xmem check --repair 7
4 domains: 1 finding out of step; not checked again (simulated)

"#]], str![[r#"
warning: web (7): no clear answer to the commit; reading its outcome: xenstored closed the connection during TRANSACTION_END
warning: web (7): cannot read it: cannot reach the sim's xenstored: Connection refused
xmem: web (7): xenstored closed the connection during TRANSACTION_END; target and limit may be out of step: whether the change was committed is not known; the limit is 1025 MiB now (simulated)
hint: once xenstored answers: xmem check --repair 7
xmem: cannot reach the sim's xenstored: Connection refused (simulated)
hint: is xenstored running? without Xen, try: xmem --host sim list

"#]]);
    let sim = Sim::new();
    limit(&sim, "7", 1_000_000);
    let ran = sim.xmem("check --repair --json").fault("commit-unknown").leaves(1).run();
    assert_eq!(ran.status.code(), Some(9), "{ran:?}");
    let objects = ran.objects();
    let [finding, failure, unchecked, summary] = &objects[..] else { panic!("{ran:?}") };
    assert_eq!((&finding["domid"], &finding["repaired"]), (&json!(7), &json!(false)));
    assert_eq!(failure["error"]["state"], "out-of-step");
    assert_eq!(unchecked["error"]["exit_code"], 7);
    assert_eq!(summary["summary"]["out_of_step"], 1);
}

#[test]
fn each_domain_that_a_lost_xenstored_leaves_is_named() {
    let sim = Sim::new();
    limit(&sim, "7", 524_288);
    limit(&sim, "8", 524_288);
    let ran = sim.xmem("check --repair").fault("commit-unknown").leaves(1).run();
    assert_eq!(ran.status.code(), Some(9), "{ran:?}");
    for line in [
        "xmem: web (7): xenstored closed the connection during TRANSACTION_END; target and limit may be",
        "xmem: db (8): cannot reach the sim's xenstored: Connection refused; nothing changed",
    ] {
        assert!(ran.stderr.contains(line), "{ran:?}");
    }
}

/// The rollback leaves the limit that the target needs, which is all that the repair wanted.
#[test]
fn a_repair_that_conflicts_still_raises_the_limit() {
    for fault in ["conflict", "conflict-once"] {
        let sim = Sim::new();
        limit(&sim, "7", 524_288);
        assert_eq!(sim.xmem("check --repair").fault(fault).run().status.code(), Some(0), "{fault}");
        assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 1_049_600));
    }
    let sim = Sim::new();
    node(&sim, "/local/domain/0/memory/target", None);
    let ran = sim.xmem("check --repair").fault("conflict").run();
    assert_eq!(ran.status.code(), Some(9), "{ran:?}");
    let message = "xmem: Domain-0 (0): gave up after 16 conflicting xenstore transactions";
    assert!(ran.stderr.starts_with(message), "{ran:?}");
}

#[test]
fn a_file_that_cannot_be_removed_is_a_failure() {
    let sim = Sim::new();
    let path = sim.path().join(format!("lib/userdata-d.12.{WEB}.xmem-intent"));
    fs::create_dir(&path).unwrap();
    fs::write(path.join("file"), "").unwrap();
    let ran = sim.xmem("check --repair").leaves(1).run();
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert!(ran.stderr.starts_with("xmem: domain 12: cannot remove "), "{ran:?}");
}

/// Another process is changing it, so even its record stays.
#[test]
fn a_gone_domain_with_a_held_lock_is_left_alone() {
    let sim = Sim::new();
    left(&sim, 'd', "xmem-intent");
    left(&sim, 'l', "domain-userdata-lock");
    let lock = sim.path().join(format!("lib/userdata-l.12.{WEB}.domain-userdata-lock"));
    let lock = File::open(lock).unwrap();
    lock.lock().unwrap();
    let ran = sim.xmem("check --repair").leaves(2).run();
    assert_eq!(ran.status.code(), Some(5), "{ran:?}");
    assert!(
        ran.stderr.starts_with("xmem: domain 12: cannot take the domain's lock, held by process "),
        "{ran:?}"
    );
    release(&lock);
    assert_eq!(sim.xmem("check --repair").run().status.code(), Some(0));
}

/// The next repair finds what the killed one left.
#[test]
fn a_killed_repair_is_completed_by_the_next() {
    for fault in ["kill-before-commit", "kill-after-commit"] {
        let sim = Sim::new();
        limit(&sim, "7", 524_288);
        sim.xmem("check --repair").fault(fault).leaves(2).run().dies_by(SIGKILL);
        assert_eq!(sim.xmem("check").leaves(2).run().status.code(), Some(9));
        let ran = sim.xmem("check --repair").run();
        assert_eq!(ran.status.code(), Some(0));
        // It changed the limit alone, so xenstore does not show whether it was committed.
        assert!(
            ran.stdout.contains(": an earlier xmem was interrupted; its change is complete now")
        );
        assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 1_049_600));
    }
}

#[test]
fn a_dry_run_is_allowed_only_with_repair() {
    let sim = Sim::new();
    let ran = sim.xmem("check --dry-run").run();
    assert_eq!(ran.status.code(), Some(2));
    assert!(ran.stderr.contains("--repair"), "{ran:?}");
    assert_eq!(sim.xmem("check --repair --lock-timeout soon").run().status.code(), Some(2));
}

/// A lock file that no process has locked, and the draft of a record.
#[test]
fn stale_files_of_a_living_domain_are_removed() {
    let sim = Sim::new();
    let draft = sim.path().join(format!("lib/userdata-n.7.{WEB}.xmem-intent"));
    fs::write(sim.lock(), "").unwrap();
    fs::write(&draft, "{").unwrap();
    let ran = sim.xmem("check --repair").run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert_eq!(sim.state(), [""; 0], "{ran:?}");
    // While the lock is held, they belong to its holder.
    let lock = File::create(sim.lock()).unwrap();
    lock.lock().unwrap();
    fs::write(&draft, "{").unwrap();
    let ran = sim.xmem("check --json").leaves(2).run();
    assert!(ran.stdout.contains("\"locked\"") && !ran.stdout.contains("stale"), "{ran:?}");
    let ran = sim.xmem("check --repair --lock-timeout 100ms").leaves(2).run();
    assert_eq!(ran.status.code(), Some(5), "{ran:?}");
    assert_eq!(sim.state().len(), 2);
    lock.unlock().unwrap();
}

#[test]
fn each_finding_names_its_own_repair() {
    let sim = Sim::new();
    limit(&sim, "7", 525_312);
    fs::write(sim.lock(), "").unwrap();
    sim.xmem("check --repair").run().says(str![[r#"
web (7): out of step: the limit of 513 MiB is below the 1025 MiB that its target needs
    meaning: the target asks for more than Xen lets the guest have: its allocations fail
    repaired: limit 513 MiB -> 1025 MiB
web (7): a stale lock file: DIR/lib/userdata-l.7.00000000-0000-4000-8000-000000000007.domain-userdata-lock
    meaning: harmless; the next process to lock this domain reuses it
    repaired: removed
4 domains: nothing out of step, 2 repaired (simulated)

"#]]);
}

/// The keys that dom0 lacks are not filled in, but what the killed run left is rolled back.
#[test]
fn a_recovery_is_a_repair_even_if_no_plan_is_possible_besides() {
    let sim = Sim::new();
    sim.edit(|world| {
        world["domains"]["0"]["type"] = "pvh".into();
        world["dom0"]["kernel"] = json!([6, 1]);
        let store = world["xenstore"].as_object_mut().unwrap();
        store.retain(|path, _| !path.starts_with("/local/domain/0/memory/"));
    });
    let set = sim.xmem("set 0 1G --force").fault("kill-before-commit").leaves(2).run();
    set.dies_by(SIGKILL);
    let ran = sim.xmem("check --repair -n 0").leaves(2).run();
    assert!(ran.stdout.contains("would repair: limit 1025 MiB -> none"), "{ran:?}");
    let ran = sim.xmem("check --repair 0").run();
    assert!(ran.stdout.contains("repaired: limit 1025 MiB -> none"), "{ran:?}");
    assert_eq!((ran.status.code(), ran.stderr.contains("--force")), (Some(0), false), "{ran:?}");
    assert_eq!(sim.xmem("check 0").run().status.code(), Some(0));
}
