//! `xmem reclaim`: freeing memory of the host.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;

use nix::sys::signal::Signal::{SIGINT, SIGTERM};
use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use snapbox::str;

use crate::sandbox::{Ran, Sim, wait_until};

#[test]
fn a_dry_run_prints_the_plan() {
    let sim = Sim::new();
    sim.xmem("reclaim 10G --from web db -n").run().says(str![[r#"
web (7): would give 342 MiB: size 1024 MiB -> 682 MiB (floor 512 MiB: half of its size; it does not report what it uses)
db (8): would give 682 MiB: size 2048 MiB -> 1366 MiB (floor 1024 MiB: half of its size; it does not report what it uses)
the host has 9216 MiB available, and would have 10240 MiB (simulated)

"#]]);
    sim.xmem("reclaim 1G --from web -n").run().says(str![[r#"
web (7): would give nothing (floor 512 MiB: half of its size; it does not report what it uses)
the host has 9216 MiB available already (simulated)

"#]]);
    let before = sim.world();
    let objects = sim.xmem("reclaim 10G --from web db -n --json").run().objects();
    assert_eq!(objects.len(), 3);
    assert_eq!(objects[2]["reclaim"]["end"], "planned");
    assert_eq!(sim.world(), before);
}

#[test]
fn reclaim_shrinks_guests_and_waits() {
    let sim = Sim::new();
    sim.rate(4096);
    sim.edit(|world| world["domains"]["8"]["rate_kib_per_second"] = 4_194_304.into());
    let ran = sim.xmem("reclaim 10G --from web db").moving().run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert!(ran.stdout.ends_with("MiB available (simulated)\n"), "{ran:?}");
    assert!(sim.numbers(7).0 < 1_048_576 && sim.numbers(8).0 < 2_097_152);
    assert_eq!(sim.numbers(9).0, 2_080_768);
    // The host has enough free memory now.
    let ran = sim.xmem("reclaim 10G --from web db --json").moving().run();
    assert_eq!((ran.status.code(), &ran.json()["reclaim"]["end"]), (Some(0), &json!("reached")));
}

#[test]
fn a_plan_that_is_not_enough_changes_nothing() {
    let sim = Sim::new();
    let before = sim.world();
    sim.xmem("reclaim 15G --from web").run().fails(4, str![[r#"
xmem: the domains cannot give enough: the host would have 9728 of 15360 MiB available; nothing changed (simulated)
hint: name more domains, or lower their floors (--floor); -n shows what each can give

"#]]);
    let ran = sim.xmem("reclaim 15G --from web --json").run();
    assert_eq!(ran.json()["error"]["kind"], "no-memory", "{ran:?}");
    assert_eq!(sim.world(), before);
}

/// The lowered targets stay, or are restored with --or-restore.
#[test]
fn guests_that_do_not_follow_fail_it() {
    for (option, web, state, targets) in [
        ("", 524_288, "changed", "the targets stay set"),
        ("--or-restore", 1_048_576, "restored", "the old targets are restored"),
    ] {
        let sim = Sim::new();
        let words = format!("reclaim 9728M --from web --patience 300ms {option}");
        let ran = sim.xmem(&words).run();
        assert_eq!(ran.status.code(), Some(8), "{ran:?}");
        assert_eq!(sim.numbers(7).0, web, "{ran:?}");
        let message = format!("xmem: the domains gave less than planned; {targets}: the host has");
        assert!(ran.stderr.contains(&message), "{ran:?}");
        let sim = Sim::new();
        let objects = sim.xmem(&words).arg("--json").run().objects();
        let last = objects.last().unwrap();
        assert_eq!(last["reclaim"]["end"], "fell-short");
        assert_eq!(last["error"]["state"], state);
    }
}

/// Lower floors would not help.
#[test]
fn guests_that_are_all_stuck_are_called_stuck() {
    let stuck =
        "hint: the guests are stuck: check that they run and that their balloon drivers are loaded";
    for (from, hint) in [
        ("web", format!("{stuck}, or name other domains\n")),
        ("all", format!("{stuck}\n")),
        // db could give more.
        (
            "web db --floor db=2G",
            "hint: name more domains, or lower their floors (--floor)\n".to_owned(),
        ),
    ] {
        let sim = Sim::new();
        let ran = sim.xmem(&format!("reclaim 9728M --patience 300ms --from {from}")).run();
        assert_eq!(ran.status.code(), Some(8), "{ran:?}");
        assert!(ran.stderr.ends_with(&hint), "{ran:?}");
    }
}

#[test]
fn a_domain_that_cannot_give_is_not_asked_for_a_lower_floor() {
    let sim = Sim::new();
    sim.edit(|world| world["domains"]["7"]["paused"] = true.into());
    let ran = sim.xmem("reclaim 10G --from web").run();
    assert_eq!(ran.status.code(), Some(4), "{ran:?}");
    assert!(
        ran.stderr.ends_with("\nhint: name more domains; -n shows what each can give\n"),
        "{ran:?}"
    );
}

#[test]
fn a_refusal_names_the_part_of_the_goal_that_must_stay_free() {
    let part =
        "of 15360 MiB available, including 5120 MiB to keep free (--keep-free or XMEM_KEEP_FREE)";
    let sim = Sim::new();
    for (ran, code) in [
        (sim.xmem("reclaim 10G --from web --keep-free 5G").run(), 4),
        (sim.xmem("reclaim 10G --from web").env("XMEM_KEEP_FREE", "5G").run(), 4),
        (sim.xmem("reclaim 10G --from web --keep-free 5G -n").run(), 4),
    ] {
        assert_eq!(ran.status.code(), Some(code), "{ran:?}");
        assert!(ran.stderr.contains(part), "{ran:?}");
    }
}

#[test]
fn a_restore_that_fails_is_reported_with_the_size_that_stays() {
    for json in [false, true] {
        let sim = Sim::new();
        let before = sim.numbers(7);
        let words = "reclaim 9500M --from web --or-restore --patience 500ms --lock-timeout 100ms";
        let run = sim.xmem(&format!("{words}{}", if json { " --json" } else { "" })).start();
        wait_until(|| sim.numbers(7) != before && sim.state().is_empty());
        let lock = File::create(sim.lock()).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        let ran = Ran::new(run.wait_with_output(), Some(sim.path()));
        assert_eq!(ran.status.code(), Some(8), "{ran:?}");
        let end = "; its old size of 1024 MiB could not be restored: it stays at 740 MiB";
        if json {
            let objects = ran.objects();
            let failed = objects.iter().find(|it| it["error"]["kind"] == "lock-busy").unwrap();
            assert_eq!(failed["changed"], true);
            assert_eq!(failed["error"]["state"], "changed");
            assert_eq!(failed["error"]["hint"], "to restore it: xmem set 7 1G");
        } else {
            assert!(ran.stderr.contains("xmem: web (7): timed out after 0.1 s"), "{ran:?}");
            let text = format!("{end} (simulated)\nhint: to restore it: xmem set 7 1G\n");
            assert!(ran.stderr.contains(&text), "{ran:?}");
        }
    }
}

/// Its targets are set already: it waits for the guests itself, and no option of another command is named.
#[test]
fn again_after_guests_that_did_not_follow() {
    let sim = Sim::new();
    let words = "reclaim 9728M --from web --patience 300ms";
    assert_eq!(sim.xmem(words).run().status.code(), Some(8));
    let ran = sim.xmem(words).run();
    assert_eq!(ran.status.code(), Some(8), "{ran:?}");
    assert!(ran.stdout.starts_with("web (7): already at target 512 MiB"), "{ran:?}");
    assert!(!ran.stderr.contains("--wait"), "{ran:?}");
    let objects = sim.xmem(words).arg("--json").run().objects();
    let change = objects.iter().find(|it| it["would_change"].is_null() && it["old"].is_object());
    assert_eq!(change.unwrap()["notes"], json!([]), "{objects:?}");
    // It has changed nothing that it could restore.
    for option in ["", " --or-restore"] {
        let objects = sim.xmem(&format!("{words} --json{option}")).run().objects();
        let error = &objects.last().unwrap()["error"];
        assert_eq!(error["state"], "unchanged", "{objects:?}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("less than planned; nothing changed: the host"), "{message}");
    }
}

#[test]
fn a_floor_is_never_below_what_the_guest_reports_as_used() {
    let sim = Sim::with_states();
    let ran = sim.xmem("reclaim 5700M --from agent --floor 32M -n").run();
    assert!(ran.stdout.contains("(floor 260 MiB: its guest uses 196 MiB)"), "{ran:?}");
}

#[test]
fn failed_changes_keep_their_exit_code() {
    for (fault, code, kind) in [
        ("lock-busy", 5, "lock-busy"),
        ("store-full", 1, "xenstore"),
        ("conflict", 6, "conflicts"),
        ("limit-refused", 7, "hypervisor"),
    ] {
        let sim = Sim::new();
        let words = "reclaim 10G --from web db --lock-timeout 100ms";
        let ran = sim.xmem(words).fault(fault).run();
        assert_eq!(ran.status.code(), Some(code), "{ran:?}");
        assert!(
            ran.stderr.contains("xmem: no target could be lowered: the host has 9216 of"),
            "{ran:?}"
        );
        let objects = sim.xmem(words).arg("--json").fault(fault).run().objects();
        let error = &objects.last().unwrap()["error"];
        assert_eq!((&error["kind"], &error["exit_code"]), (&json!(kind), &json!(code)));
        assert_eq!(error["state"], "unchanged");
    }
}

#[test]
fn a_domain_out_of_step_is_reported() {
    let sim = Sim::new();
    let words = "reclaim 10G --from web db --json";
    let ran = sim.xmem(words).fault("commit-unknown").leaves(1).run();
    assert_eq!(ran.status.code(), Some(9), "{ran:?}");
    let objects = ran.objects();
    let error = &objects.last().unwrap()["error"];
    assert_eq!((&error["exit_code"], &error["state"]), (&json!(9), &json!("out-of-step")));
    let failures = objects.iter().filter(|it| it["changed"] == json!(false));
    let domids: Vec<_> = failures.map(|it| it["domid"].clone()).collect();
    assert_eq!(domids, [json!(7), json!(8)]);
}

#[test]
fn wrong_usage_of_reclaim_is_explained() {
    let sim = Sim::new();
    for (words, code, what) in [
        ("reclaim 1G", 2, "--from DOMAIN... is missing"),
        (
            "reclaim 1G --from all web",
            2,
            "--from `all`: it stands alone, without other domains\nhint: a domain of that name is name:all\n",
        ),
        ("reclaim 1G --from name:all web", 3, "there is no domain `all`"),
        ("reclaim +1G --from web", 2, "SIZE `+1G`: not an absolute size"),
        ("reclaim 1G --from nosuch", 3, "there is no domain `nosuch`"),
        ("reclaim 10G --from web --floor db=1G", 2, "a floor for `db`"),
        ("reclaim 10G --from web --floor +1G", 2, "a floor cannot be relative"),
        (
            "reclaim 10G --from web --floor 0",
            2,
            "\nhint: a size looks like 512M, 2GiB, max or 50%; ",
        ),
        ("reclaim 10G --from web --floor web=", 2, "script? a size looks like 512M or 2G\n"),
        ("reclaim 10G --from web --floor 1.5G", 2, "\nhint: write it without a fraction: 1536M\n"),
        ("reclaim 10G --from web --floor 1.5G", 2, "--floor `1.5G`: fractions"),
        (
            "reclaim 10G --from web --floor +1.5G",
            2,
            "\nhint: a size looks like 512M, 2GiB, max or 50%;",
        ),
        (
            "reclaim 10G --from web --floor -1GB",
            2,
            "\nhint: a size looks like 512M, 2GiB, max or 50%;",
        ),
        ("reclaim 10G --from web --keep-free +1GB", 2, "\nhint: a size looks like 512M or 2G;"),
    ] {
        let ran = sim.xmem(words).run();
        assert_eq!(ran.status.code(), Some(code), "{ran:?}");
        assert!(ran.stderr.contains(what), "{ran:?}");
    }
}

/// A floor protects a guest, also while it gives nothing.
#[test]
fn a_floor_of_a_paused_guest_is_accepted_with_from_all() {
    let sim = Sim::new();
    sim.edit(|world| world["domains"]["7"]["paused"] = true.into());
    let ran = sim.xmem("reclaim 10G --from all --floor web=1G -n").run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert!(!ran.stdout.contains("web"), "{ran:?}");
}

#[test]
fn an_interrupt_says_whether_the_targets_stay_set() {
    for (option, message) in
        [("", "the targets stay set"), ("--or-restore", "the old targets are restored")]
    {
        let sim = Sim::new();
        let before = sim.numbers(7);
        let run = sim.xmem(&format!("reclaim 9728M --from web {option}")).start();
        wait_until(|| sim.numbers(7) != before);
        run.send(SIGINT);
        let ran = Ran::new(run.wait_with_output(), Some(sim.path()));
        assert!(
            ran.stderr.contains(&format!("xmem: interrupted; {message}: the host has")),
            "{ran:?}"
        );
        assert_eq!(sim.numbers(7) == before, !option.is_empty(), "{ran:?}");
    }
}

/// The host can have enough before all guests have reached their targets.
#[test]
fn a_wait_that_the_goal_ends_is_not_interrupted() {
    let sim = Sim::new();
    sim.rate(2048);
    let ran = sim.xmem("reclaim 11G --from web db win --json").moving().run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let objects = ran.objects();
    let ends: Vec<&str> =
        objects.iter().filter_map(|object| object["wait"]["end"].as_str()).collect();
    assert!(ends.len() >= 3, "{ran:?}");
    assert!(ends.iter().all(|end| ["reached", "not-needed"].contains(end)), "{ends:?}");
}

#[test]
fn a_running_guest_that_gives_nothing_is_shown_with_from_all() {
    let sim = Sim::new();
    sim.edit(|world| {
        world["xenstore"]["/local/domain/7/memory/static-max"] = "x".into();
        world["domains"]["8"]["paused"] = true.into();
        world["domains"]["9"]["pod_entries_kib"] = 65_536.into();
    });
    let ran = sim.xmem("reclaim 12G --from all -n").run();
    assert_eq!(ran.status.code(), Some(4), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let [web, win] = lines[..] else { panic!("{ran:?}") };
    assert!(web.starts_with("web (7): gives nothing: xenstore has \"x\""), "{ran:?}");
    assert_eq!(win, "win (9): gives nothing: it is still populating its memory on demand");
    assert!(!ran.stderr.contains("--floor"), "{ran:?}");
    let objects = sim.xmem("reclaim 12G --from all -n --json").run().objects();
    assert!(objects[0]["excluded"].is_string() && objects[1]["excluded"].is_string());
}

/// What a guest reports as used is kept whatever `--floor` says.
#[test]
fn no_floor_is_blamed_that_cannot_be_lower() {
    let sim = Sim::with_states();
    let ran = sim.xmem("reclaim 12G --from agent").run();
    assert_eq!(ran.status.code(), Some(4), "{ran:?}");
    assert!(
        ran.stderr.ends_with("\nhint: name more domains; -n shows what each can give\n"),
        "{ran:?}"
    );
}

#[test]
fn a_hint_names_no_more_domains_than_all() {
    let sim = Sim::new();
    for words in ["reclaim 15G --from all -n", "reclaim 15G --from all"] {
        let ran = sim.xmem(words).run();
        assert_eq!(ran.status.code(), Some(4), "{ran:?}");
        assert!(ran.stderr.contains("\nhint: lower the floors (--floor)"), "{ran:?}");
    }
    // The guests do not follow.
    let ran = sim.xmem("reclaim 10G --from all --patience 100ms").run();
    assert_eq!(ran.status.code(), Some(8), "{ran:?}");
    assert!(!ran.stderr.contains("name"), "{ran:?}");
}

/// Restoring is what the first signal leads to.
#[test]
fn a_second_signal_ends_the_wait_for_a_lock_to_restore() {
    let sim = Sim::new();
    let mut run = sim.xmem("-v reclaim 9728M --from web --or-restore").start();
    wait_until(|| sim.numbers(7).0 == 512 * 1024 && sim.state().is_empty());
    let lock = File::create(sim.lock()).unwrap();
    lock.lock().unwrap();
    run.send(SIGINT);
    let mut stderr = BufReader::new(run.stderr.take().unwrap());
    let mut read = String::new();
    while !read.contains("waiting for the domain's lock") {
        assert_ne!(stderr.read_line(&mut read).unwrap(), 0, "{read}");
    }
    // It waits on after the first.
    assert!(run.try_wait().unwrap().is_none());
    run.send(SIGTERM);
    stderr.read_to_string(&mut read).unwrap();
    let mut output = run.wait_with_output();
    output.stderr.extend(read.bytes());
    let ran = Ran::new(output, Some(sim.path()));
    let message = "xmem: web (7): interrupted; its old size of 1024 MiB could not be restored: it stays at 512 MiB";
    assert!(ran.stderr.contains(message), "{ran:?}");
    assert!(
        ran.stderr.contains("xmem: interrupted; the targets stay set: the host has"),
        "{ran:?}"
    );
    assert!(ran.status.signal().is_some(), "{ran:?}");
    assert_eq!(sim.numbers(7).0, 512 * 1024);
}
