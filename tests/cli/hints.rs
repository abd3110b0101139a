//! Hints can set memory: each command that a hint names is run, and does only what was asked for.

use nix::sys::signal::Signal::SIGINT;
use serde_json::json;

use crate::sandbox::{Call, Ran, Sim, WEB, wait_until};

/// The command in a run's hint, after the last colon that is followed by `xmem`.
fn command(ran: &Ran) -> String {
    let hint = ran.stderr.lines().find_map(|line| line.strip_prefix("hint: "));
    let hint = hint.unwrap_or_else(|| panic!("there is no hint: {ran:?}"));
    let at = hint.find("xmem ").unwrap_or_else(|| panic!("the hint names no command: {ran:?}"));
    let command = &hint["xmem ".len() + at..];
    command.split(['`', ';']).next().unwrap().to_owned()
}

/// After a relative size, the hint names the absolute one, so that no size is applied twice.
#[test]
fn a_repeated_wait_has_the_absolute_size() {
    for (words, fault) in [
        ("set web +256M --wait --patience 100ms", "guest-ignores"),
        ("set web +256M --wait=50ms", "guest-ignores"),
        ("set web +256M --wait --patience 200ms", "host-full"),
        ("set web -256M --wait --patience 200ms", "guest-ignores"),
    ] {
        let sim = Sim::new();
        let ran = sim.xmem(words).fault(fault).run();
        assert_eq!(ran.status.code(), Some(8), "{ran:?}");
        let target = sim.numbers(7).0;
        if !ran.stderr.contains("hint: is its balloon driver") {
            let again = command(&ran);
            assert!(!again.contains('+') && again.contains("--wait"), "{again}");
            let _waited = sim.xmem(&again).arg("--patience").arg("50ms").fault(fault).run();
            assert_eq!(sim.numbers(7).0, target, "{again}");
        }
    }
}

#[test]
fn a_slow_guest_is_waited_for_again() {
    let sim = Sim::new();
    sim.rate(64);
    let ran = sim.xmem("set web +256M --wait=300ms").moving().run();
    let again = command(&ran);
    assert_eq!(again, "set 7 1280M --wait");
    sim.rate(4096);
    assert_eq!(sim.xmem(&again).moving().run().status.code(), Some(0));
    assert_eq!(sim.numbers(7).0, 1280 * 1024);
}

/// Committed or not, the command in the hint leaves the domain in step and repeats nothing.
#[test]
fn a_lost_commit_is_recovered_and_not_repeated() {
    for (fault, target) in [("commit-unknown", 1024), ("commit-unknown-done", 1280)] {
        let sim = Sim::new();
        let ran = sim.xmem("set web +256M").fault(fault).leaves(1).run();
        assert_eq!(ran.status.code(), Some(9), "{ran:?}");
        let repair = command(&ran);
        assert_eq!(repair, "check --repair 7");
        let ran = sim.xmem(&repair).run();
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        assert_eq!(sim.numbers(7), (target * 1024, 2_097_152, (target + 1) * 1024), "{fault}");
    }
}

#[test]
fn an_ambiguous_name_is_answered_with_its_domids() {
    let sim = Sim::new();
    sim.edit(|world| {
        let mut copy = world["domains"]["8"].clone();
        copy["uuid"] = "00000000-0000-4000-8000-000000000030".into();
        world["domains"]["30"] = copy;
        for (domid, name) in [(8, "dup"), (30, "dup")] {
            world["xenstore"][format!("/local/domain/{domid}/name")] = name.into();
        }
    });
    let ran = sim.xmem("set dup 512M").run();
    assert_eq!(ran.status.code(), Some(3), "{ran:?}");
    assert!(ran.stderr.ends_with("hint: use id:8 or id:30\n"), "{ran:?}");
}

#[test]
fn the_largest_size_in_a_hint_can_be_set() {
    for (domain, size) in [("web", "3G"), ("win", "3G")] {
        let sim = Sim::new();
        let ran = sim.xmem(&format!("set {domain} {size}")).run();
        assert_eq!(ran.status.code(), Some(4), "{ran:?}");
        let most = ran.stderr.split("ask for at most ").nth(1).unwrap().split(',').next().unwrap();
        assert_eq!(
            sim.xmem(&format!("set {domain} {most}")).run().status.code(),
            Some(0),
            "{most}"
        );
        let ran = sim.xmem(&format!("set {domain} {size} --raise-max")).run();
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    }
}

/// A hint that is followed is not refused.
#[test]
fn no_hint_leads_into_the_next_refusal() {
    for (target, max, size, hint) in [
        ("1048576", "2097152", "20G", "ask for at most 2G"),
        ("32768", "2097152", "-2G", "give an absolute size"),
        ("1048576", "0", "2G", "add --raise-max to raise the maximum too"),
    ] {
        let sim = Sim::new();
        sim.edit(|world| {
            world["xenstore"]["/local/domain/7/memory/target"] = target.into();
            world["xenstore"]["/local/domain/7/memory/static-max"] = max.into();
        });
        let ran = sim.xmem(&format!("set 7 {size}")).run();
        assert_eq!(ran.status.code(), Some(4), "{ran:?}");
        assert!(ran.stderr.ends_with(&format!("\nhint: {hint}\n")), "{ran:?}");
        if size == "20G" {
            let ran = sim.xmem("apply -").stdin("web 20G\n").run();
            assert!(ran.stderr.ends_with(&format!("\nhint: {hint}\n")), "{ran:?}");
        }
    }
}

/// A size in absolute terms is not refused for being relative.
#[test]
fn a_hint_about_nodes_of_the_guest_asks_for_what_was_not_given() {
    for (node, value, words, hint) in [
        ("static-max", "67108864", "set 7 50%", "set an absolute size, not a relative one; "),
        ("videoram", "2147483647", "max 7 2G", "correct what the guest has written: "),
    ] {
        let sim = Sim::new();
        sim.edit(|world| {
            world["memory_kib"] = (1_u64 << 40).into();
            world["domains"]["7"]["owns_nodes"] = true.into();
            world["xenstore"][format!("/local/domain/7/memory/{node}")] = value.into();
        });
        let ran = sim.xmem(words).run();
        assert_eq!(ran.status.code(), Some(4), "{ran:?}");
        let shows = "`xenstore-ls -p` shows what it may write";
        assert!(ran.stderr.ends_with(&format!("hint (simulated): {hint}{shows}\n")), "{ran:?}");
    }
}

/// What else there is to do comes first.
#[test]
fn the_command_to_restore_a_size_restores_it() {
    for (node, value, first, options) in [
        ("static-max", "614400", "to restore it", " --raise-max"),
        ("videoram", "1200000", "to restore it, correct its video memory (memory/videoram)", ""),
        ("videoram", "x", "to restore it, find and stop the program that wrote it", ""),
    ] {
        let sim = Sim::new();
        let path = format!("/local/domain/7/memory/{node}");
        let run = sim.xmem("reclaim 9728M --from web --or-restore").start();
        wait_until(|| sim.numbers(7).0 == 512 * 1024 && sim.state().is_empty());
        let before = sim.world()["xenstore"][&path].clone();
        sim.edit(|world| world["xenstore"][&path] = value.into());
        run.send(SIGINT);
        let ran = Ran::new(run.wait_with_output(), Some(sim.path()));
        assert!(ran.stderr.contains("its old size of 1024 MiB could not be"), "{ran:?}");
        let (hint, restore) = ran.stderr.split_once("xmem set ").unwrap();
        assert!(hint.contains(&format!(": {first}")), "{ran:?}");
        let restore = restore.lines().next().unwrap();
        assert_eq!(restore, format!("7 1G{options}"), "{ran:?}");
        if options.is_empty() {
            sim.edit(|world| world["xenstore"][&path] = before);
        }
        let ran = sim.xmem(&format!("set {restore}")).run();
        assert_eq!((ran.status.code(), sim.numbers(7).0), (Some(0), 1024 * 1024), "{ran:?}");
    }
}

#[test]
fn the_smallest_maximum_in_a_hint_can_be_set() {
    for domain in ["web", "win"] {
        let sim = Sim::new();
        let ran = sim.xmem(&format!("max {domain} 100M")).run();
        assert_eq!(ran.status.code(), Some(4), "{ran:?}");
        let least = ran.stderr.trim_end().rsplit(' ').next().unwrap();
        let ran = sim.xmem(&format!("max {domain} {least}")).run();
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    }
}

#[test]
fn an_example_in_a_hint_is_no_domain_of_this_host() {
    let sim = Sim::new();
    for domain in ["nosuch", "40000", "id:web", "uuid:8"] {
        let ran = sim.xmem("set").arg(domain).arg("1G").run();
        let hint = ran.stderr.split_once("hint: ").unwrap().1;
        assert!(!hint.contains(|c: char| c.is_ascii_digit()), "{ran:?}");
    }
}

#[test]
fn a_size_in_a_hint_can_be_pasted() {
    let sim = Sim::new();
    for (size, hint) in [
        ("1.5G", "write it without a fraction: 1536M"),
        ("1GB", "for powers of 1024, write 1G"),
        ("1kb", "for powers of 1024, write K or KiB"),
    ] {
        let ran = sim.xmem("set web").arg(size).run();
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        assert!(ran.stderr.ends_with(&format!("hint: {hint}\n")), "{ran:?}");
    }
    assert_eq!(sim.xmem("set web 1536M -n").run().status.code(), Some(0));
}

/// Common names for dom0, and a name with one wrong letter.
#[test]
fn a_misspelt_name_is_answered_with_the_right_one() {
    let sim = Sim::new();
    for (name, hint) in [
        ("dom0", "dom0 is `0` (Domain-0)"),
        ("domain-0", "did you mean `Domain-0`?"),
        ("webb", "did you mean `web`?"),
    ] {
        for words in ["set 1G", "list", "check", "check --repair", "watch -c 1"] {
            let mut words = words.split(' ');
            let call = sim.xmem(words.next().unwrap()).arg(name);
            let ran = words.fold(call, Call::arg).run();
            assert_eq!(ran.status.code(), Some(3), "{ran:?}");
            assert!(ran.stderr.ends_with(&format!("hint: {hint}\n")), "{ran:?}");
        }
    }
    let ran = sim.xmem("set 00000000-0000-0000-0000-000000000000 1G").run();
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
    assert!(ran.stderr.contains("dom0 is 0"), "{ran:?}");
}

/// A name that is a domid, an option or a UUID means another domain, or none.
#[test]
fn a_suggested_name_means_the_domain_that_has_it() {
    for (name, wanted, word) in [
        ("id:7", "id7", "name:id:7"),
        ("7", "name:77", "name:7"),
        ("-n", "name:n", "name:-n"),
        ("all", "al", "name:all"),
        ("my vm", "my-vm", "'my vm'"),
        (
            "00000000-0000-4000-8000-000000000007",
            "name:00000000-0000-4000-8000-00000000000",
            "name:00000000-0000-4000-8000-000000000007",
        ),
    ] {
        let sim = Sim::new();
        sim.edit(|world| world["xenstore"]["/local/domain/8/name"] = name.into());
        let ran = sim.xmem("set").arg(wanted).arg("1G").run();
        assert!(ran.stderr.ends_with(&format!("hint: did you mean `{word}`?\n")), "{ran:?}");
        let ran = sim.xmem("set").arg(word.trim_matches('\'')).arg("1G").run();
        assert_eq!(sim.numbers(8).0, 1024 * 1024, "{ran:?}");
    }
}

#[test]
fn a_hint_repeats_the_host_of_the_command_line() {
    let sim = Sim::new();
    let ran = crate::sandbox::xmem("set nosuch 1G --host").arg(sim.host()).within(&sim).run();
    assert!(ran.stderr.contains("`xmem --host sim:DIR list` shows the domains"), "{ran:?}");
    sim.edit(|world| {
        world["xenstore"].as_object_mut().unwrap().remove("/local/domain/7/memory/static-max");
    });
    let ran = crate::sandbox::xmem("set web 1G --host").arg(sim.host()).within(&sim).run();
    assert!(ran.stderr.contains("`xmem --host sim:DIR check` says what is missing"), "{ran:?}");
}

/// Although sizes are rounded down to whole pages.
#[test]
fn the_least_maximum_of_a_hint_is_accepted() {
    let sim = Sim::new();
    sim.edit(|world| world["xenstore"]["/local/domain/7/memory/target"] = "2100001".into());
    let ran = sim.xmem("max 7 2100001k").run();
    assert!(ran.stderr.contains("ask for at least 2100004k\n"), "{ran:?}");
    assert_eq!(sim.xmem("max 7 2100004k").run().status.code(), Some(0));
}

#[test]
fn a_fix_of_check_fixes_its_finding() {
    let sim = Sim::new();
    sim.edit(|world| {
        world["domains"]["9"]["limit_kib"] = 2_097_152.into();
        world["xenstore"]["/local/domain/7/memory/target"] = "3145728".into();
        world["domains"]["7"]["limit_kib"] = 3_146_752.into();
    });
    let findings = sim.xmem("check --json").run().objects();
    let fix = |kind: &str| {
        let finding = findings.iter().find(|finding| finding["kind"] == kind).unwrap();
        finding["fix"].as_str().unwrap().to_owned()
    };
    let repair = fix("limit-too-low");
    assert_eq!(sim.xmem(repair.strip_prefix("xmem ").unwrap()).run().status.code(), Some(0));
    // The first of the two that are offered.
    let either = fix("target-above-maximum");
    let command = either.split("xmem ").nth(1).unwrap().split(';').next().unwrap();
    assert_eq!(sim.xmem(command).run().status.code(), Some(0), "{either}");
    assert_eq!(sim.xmem("check").run().status.code(), Some(0));
}

/// Any subset of a listed line's members changes nothing: `apply` takes `target_kib` for the target.
#[test]
fn a_listed_target_is_the_target_whatever_other_members_the_line_has() {
    let sim = Sim::new();
    let before = sim.numbers(9);
    for keys in [
        &["domid", "target_kib"][..],
        &["uuid", "size_kib"],
        &["name", "target_kib", "videoram_kib"],
        &["domid", "name", "uuid", "target_kib", "size_kib"],
    ] {
        let listed = sim.xmem("list win --json").run().objects().remove(0);
        let members: serde_json::Map<_, _> =
            keys.iter().map(|key| ((*key).to_owned(), listed[*key].clone())).collect();
        let ran = sim.xmem("apply -").stdin(&serde_json::to_string(&members).unwrap()).run();
        assert_eq!((ran.status.code(), sim.numbers(9)), (Some(0), before), "{keys:?}: {ran:?}");
    }
    // Lines copied from another domain and edited incompletely.
    for line in [
        json!({"domid": 7, "name": "db", "target_kib": 524_288}),
        json!({"domid": 8, "uuid": WEB, "target_kib": 524_288}),
        json!({"domid": 7, "target_kb": 524_288}),
        json!({"domid": 7}),
        json!({}),
    ] {
        let ran = sim.xmem("apply -").stdin(&line.to_string()).run();
        assert_eq!(ran.status.code(), Some(2), "{line}: {ran:?}");
    }
}

/// The domid that looks like its name belongs to nobody.
#[test]
fn a_domain_whose_name_is_a_number_is_suggested_by_its_name() {
    let sim = Sim::new();
    sim.edit(|world| world["xenstore"]["/local/domain/7/name"] = "123".into());
    for words in ["set 123 512M", "list 123", "check 123"] {
        let ran = sim.xmem(words).run();
        assert!(ran.stderr.contains("hint: did you mean `name:123`?"), "{ran:?}");
    }
    assert_eq!(sim.xmem("set name:123 512M").run().status.code(), Some(0));
}

/// `max` refuses a maximum below the target, so the list comes first.
#[test]
fn a_listed_maximum_below_the_target_is_set_after_the_list() {
    let sim = Sim::new();
    let saved = sim.xmem("list web --json").run().stdout;
    assert_eq!(sim.xmem("set web 4G --raise-max").run().status.code(), Some(0));
    let ran = sim.xmem("apply -").stdin(&saved).run();
    let hint = "remove `static_max_kib`, apply the list, then: xmem max 7 2G";
    assert!(ran.stderr.contains(hint), "{ran:?}");
    assert_eq!(sim.xmem("apply -").stdin("web 1G\n").run().status.code(), Some(0));
    assert_eq!(sim.xmem("max 7 2G").run().status.code(), Some(0));
}
