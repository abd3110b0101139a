//! `xmem check`: its findings, their wording, and that it changes nothing.

use std::fs::{self, File};

use serde_json::{Value, json};
use snapbox::str;

use crate::sandbox::{Sim, WEB};

/// The files of the state directory, byte for byte, and the world.
pub(crate) fn all(sim: &Sim) -> (Vec<(String, Vec<u8>)>, Value) {
    let read = |name: String| {
        let bytes = fs::read(sim.path().join("lib").join(&name)).unwrap();
        (name, bytes)
    };
    (sim.state().into_iter().map(read).collect(), sim.world())
}

/// Sets a node; `None` removes it.
pub(crate) fn node(sim: &Sim, path: &str, value: Option<&str>) {
    sim.edit(|world| {
        let nodes = world["xenstore"].as_object_mut().unwrap();
        match value {
            Some(value) => drop(nodes.insert(path.to_owned(), value.into())),
            None => assert!(nodes.remove(path).is_some()),
        }
    });
}

pub(crate) fn limit(sim: &Sim, domid: &str, kib: u64) {
    sim.edit(|world| world["domains"][domid]["limit_kib"] = kib.into());
}

/// Unlocks explicitly: a child that another test is forking may still hold the descriptor.
pub(crate) fn release(lock: &File) {
    lock.unlock().unwrap();
}

/// The kind of each finding, and whether it is out of step.
pub(crate) fn kinds(stdout: &str) -> Vec<(String, bool)> {
    let lines = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line.get("kind").is_some())
        .map(|line| {
            (line["kind"].as_str().unwrap().to_owned(), line["out_of_step"].as_bool().unwrap())
        })
        .collect()
}

#[test]
fn a_host_in_step_has_no_findings() {
    let sim = Sim::new();
    sim.xmem("check").run().says(str![[r#"
4 domains: nothing out of step (simulated)

"#]]);
    sim.xmem("check web").run().says(str![[r#"
1 domain: nothing out of step (simulated)

"#]]);
}

#[test]
fn a_limit_below_the_target_is_out_of_step() {
    let sim = Sim::new();
    limit(&sim, "9", 2_097_152);
    sim.xmem("check").run().is(
        9,
        str![[r#"
win (9): out of step: the limit of 2048 MiB is below the 2049 MiB that its target needs
    meaning: the target asks for more than Xen lets the guest have: its allocations fail
    fix: xmem check --repair 9
4 domains: 1 finding out of step (simulated)

"#]],
        "",
    );
}

/// Only the admin knows which of the two is right, so both fixes are offered, and both work.
#[test]
fn a_target_above_the_maximum_has_two_fixes() {
    let broken = || {
        let sim = Sim::new();
        node(&sim, "/local/domain/7/memory/target", Some("3145728"));
        limit(&sim, "7", 3_146_752);
        sim
    };
    let sim = broken();
    sim.xmem("check web").run().is(
        9,
        str![[r#"
web (7): out of step: the target of 3072 MiB is above the maximum of 2048 MiB
    meaning: one of them is wrong, and xmem cannot tell which; xl refuses most changes to either
    fix: if the target is right: xmem max 7 3G; if the maximum is right: xmem set 7 2G
1 domain: 1 finding out of step (simulated)

"#]],
        "",
    );
    for (words, numbers) in [
        ("max 7 3145728k", (3_145_728, 3_145_728, 3_146_752)),
        ("set 7 2097152k", (2_097_152, 2_097_152, 2_098_176)),
    ] {
        let sim = broken();
        assert_eq!(sim.xmem(words).run().status.code(), Some(0));
        assert_eq!(sim.numbers(7), numbers);
        assert_eq!(sim.xmem("check").run().status.code(), Some(0));
    }
}

/// An empty file in the state directory.
fn file(sim: &Sim, kind: &str, last: &str) {
    let name = format!("lib/userdata-{kind}.{WEB}.{last}");
    fs::write(sim.path().join(name), "").unwrap();
}

/// Each fault of a host, the kinds of its findings, and whether they are out of step.
#[test]
fn every_fault_has_its_kind() {
    type Case = (&'static str, fn(&Sim), &'static [(&'static str, bool)]);
    let cases: [Case; 15] = [
        (
            "dom0's keys",
            |sim| {
                node(sim, "/local/domain/0/memory/target", None);
                node(sim, "/local/domain/0/memory/static-max", None);
            },
            &[("no-keys", false)],
        ),
        (
            "dom0's static-max",
            |sim| node(sim, "/local/domain/0/memory/static-max", None),
            &[("missing-key", true)],
        ),
        (
            "a domU's target",
            |sim| node(sim, "/local/domain/7/memory/target", None),
            &[("missing-key", true)],
        ),
        (
            "no size",
            |sim| node(sim, "/local/domain/7/memory/target", Some("much")),
            &[("bad-node", true)],
        ),
        ("xl mem-max before 4.17", |sim| limit(sim, "7", 4_195_328), &[("limit-high", false)]),
        ("a guest that lags behind", |sim| limit(sim, "8", 1_049_600), &[("limit-too-low", true)]),
        (
            "paused",
            |sim| sim.edit(|world| world["domains"]["7"]["paused"] = true.into()),
            &[("paused", false)],
        ),
        (
            "dying",
            |sim| sim.edit(|world| world["domains"]["7"]["dying"] = true.into()),
            &[("dying", false)],
        ),
        (
            "squeezed's",
            |sim| node(sim, "/local/domain/7/memory/dynamic-max", Some("1048576")),
            &[("managed", false)],
        ),
        (
            "qmemman's",
            |sim| node(sim, "/local/domain/7/memory/hotplug-max", Some("1048576")),
            &[("managed", false)],
        ),
        (
            "nodes without a domain",
            |sim| node(sim, "/local/domain/12/memory/static-max", Some("4")),
            &[("orphan-nodes", false)],
        ),
        (
            "a record of a gone domain",
            |sim| {
                file(sim, "d.12", "xmem-intent");
                file(sim, "l.12", "domain-userdata-lock");
            },
            &[("stale-record", false), ("stale-lock", false)],
        ),
        (
            "a file that is not a record",
            |sim| file(sim, "d.7", "xmem-intent"),
            &[("interrupted-change", true)],
        ),
        (
            "files of a process killed before it changed anything",
            |sim| {
                file(sim, "l.7", "domain-userdata-lock");
                file(sim, "n.7", "xmem-intent");
            },
            &[("stale-record", false), ("stale-lock", false)],
        ),
        (
            "a record that was set aside",
            |sim| file(sim, "d.7", "xmem-intent-foreign"),
            &[("set-aside", false)],
        ),
    ];
    for (case, edit, expected) in cases {
        let sim = Sim::new();
        edit(&sim);
        let before = all(&sim);
        let ran = sim.xmem("check --json").leaves(before.0.len()).run();
        let expected: Vec<(String, bool)> =
            expected.iter().map(|(kind, off)| ((*kind).to_owned(), *off)).collect();
        assert_eq!(kinds(&ran.stdout), expected, "{case}");
        let code = if expected.iter().any(|(_, off)| *off) { 9 } else { 0 };
        assert_eq!(ran.status.code(), Some(code), "{case}");
        assert_eq!(all(&sim), before, "{case}: it changed something");
    }
}

/// A locked domain is reported but not checked. --repair waits for the lock.
#[test]
fn a_locked_domain_is_not_checked() {
    let sim = Sim::new();
    limit(&sim, "7", 524_288);
    fs::write(sim.intent(), "").unwrap();
    let lock = File::create(sim.lock()).unwrap();
    lock.lock().unwrap();
    let before = all(&sim);
    let locked = [("locked".to_owned(), false)];
    let ran = sim.xmem("check --json").leaves(2).run();
    assert_eq!((ran.status.code(), kinds(&ran.stdout)), (Some(0), locked.to_vec()), "{ran:?}");
    let message = format!("locked by process {}", std::process::id());
    assert!(ran.stdout.contains(&message), "{ran:?}");
    let summary = &ran.objects()[1]["summary"];
    assert_eq!((&summary["checked"], &summary["locked"]), (&json!(3), &json!(1)), "{ran:?}");
    let ran = sim.xmem("check").leaves(2).run();
    let last = "\n4 domains (3 checked, 1 locked): nothing out of step, 1 notice (simulated)\n";
    assert!(ran.stdout.ends_with(last), "{ran:?}");
    assert_eq!(all(&sim), before);
    let ran = sim.xmem("check --repair --json --lock-timeout 100ms").leaves(2).run();
    assert_eq!(ran.status.code(), Some(5), "{ran:?}");
    assert_eq!(all(&sim), before);
    // `list` shows the numbers of a domain while it is being changed, and reports no problem.
    let listed = sim.xmem("list web --json").leaves(2).run().stdout;
    assert!(listed.contains("\"locked\"") && !listed.contains("limit-too-low"), "{listed}");
    lock.unlock().unwrap();
    let ran = sim.xmem("check --json").leaves(2).run();
    assert_eq!(ran.status.code(), Some(9), "{ran:?}");
}

/// As when another toolstack is destroying the domain right now.
#[test]
fn a_held_lock_of_a_gone_domain_is_left_alone() {
    let sim = Sim::new();
    let path = sim.path().join(format!("lib/userdata-l.12.{WEB}.domain-userdata-lock"));
    let lock = File::create(&path).unwrap();
    lock.lock().unwrap();
    for words in ["check --json", "check --repair --json"] {
        let ran = sim.xmem(words).leaves(1).run();
        assert_eq!(
            (ran.status.code(), kinds(&ran.stdout)),
            (Some(0), vec![("locked".to_owned(), false)])
        );
    }
    release(&lock);
    assert_eq!(sim.xmem("check --repair").run().status.code(), Some(0));
}

/// The stale file belongs to the domain that had this domid before.
#[test]
fn a_stale_file_is_not_blamed_on_a_new_domain_with_its_domid() {
    let sim = Sim::new();
    let other = WEB.replace('7', "3");
    fs::write(sim.path().join(format!("lib/userdata-d.7.{other}.xmem-intent")), "").unwrap();
    let ran = sim.xmem("check --json").leaves(1).run();
    let line: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((&line["kind"], &line["uuid"]), (&json!("stale-record"), &json!(other)));
}

/// With domains named, neither other domains nor stale files are checked.
#[test]
fn only_the_named_domains_are_checked() {
    let sim = Sim::new();
    limit(&sim, "7", 524_288);
    node(&sim, "/local/domain/12/name", Some("ghost"));
    sim.xmem("check db 0").run().says(str![[r#"
2 domains: nothing out of step (simulated)

"#]]);
    for web in ["web", "7", WEB, "id:7"] {
        assert_eq!(sim.xmem("check").arg(web).run().status.code(), Some(9), "{web}");
    }
    sim.xmem("check db nobody").run().is(
        10,
        str![[r#"
1 domain: nothing out of step (simulated)

"#]],
        str![[r#"
xmem: there is no domain `nobody` on this host (simulated)
hint: `xmem list` shows the domains

"#]],
    );
    assert_eq!(sim.xmem("check nobody").run().status.code(), Some(3));
    assert_eq!(sim.xmem("check 12").run().status.code(), Some(3));
    // Exit code 9 takes precedence over 3.
    assert_eq!(sim.xmem("check web nobody").run().status.code(), Some(9));
}

#[test]
fn json_has_one_object_per_finding_and_a_summary() {
    let sim = Sim::new();
    limit(&sim, "7", 524_288);
    sim.edit(|world| world["domains"]["7"]["current_kib"] = 524_288.into());
    let ran = sim.xmem("check --json").run();
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines[0],
        json!({
            "schema": 2, "command": "check", "simulated": true,
            "domid": 7, "name": "web", "uuid": WEB,
            "kind": "limit-too-low", "out_of_step": true,
            "message": "the limit of 512 MiB is below the 1025 MiB that its target needs",
            "meaning": "the target asks for more than Xen lets the guest have: its allocations fail",
            "fix": "xmem check --repair 7", "repaired": false, "repair": null,
        })
    );
    assert_eq!(
        lines[1],
        json!({
            "schema": 2, "command": "check", "simulated": true,
            "summary": {
                "domains": 4, "checked": 4, "locked": 0, "building": 0, "out_of_step": 1, "notices": 0, "repaired": 0,
            },
        })
    );
    assert_eq!(lines.len(), 2);
}

#[test]
fn quiet_reports_by_exit_code_alone() {
    let sim = Sim::new();
    sim.xmem("check -q").run().says("");
    limit(&sim, "7", 524_288);
    sim.xmem("check -q").run().is(9, "", "");
}

/// A host that cannot be read is not reported as in step.
#[test]
fn an_unreachable_host_is_not_in_step() {
    let sim = Sim::new();
    for fault in ["no-xen", "no-permission", "not-control", "store-down"] {
        for words in ["check", "check --repair", "check --repair -n"] {
            let ran = sim.xmem(words).fault(fault).run();
            assert_eq!((ran.status.code(), &*ran.stdout), (Some(7), ""), "{fault}");
        }
    }
}

#[test]
fn list_marks_the_domains_that_check_finds() {
    let sim = Sim::new();
    limit(&sim, "7", 524_288);
    let ran = sim.xmem("list --json").run();
    let web: Value = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| line["domid"] == 7)
        .unwrap();
    let notes: Vec<&Value> =
        web["notes"].as_array().unwrap().iter().map(|note| &note["kind"]).collect();
    assert_eq!(notes, ["limit-too-low"]);
    let metrics = sim.xmem("list --format openmetrics").run().stdout;
    let off: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("xmem_domain_out_of_step") && line.ends_with(" 1"))
        .collect();
    assert_eq!(off.len(), 1);
    assert!(off[0].contains("domid=\"7\""));
}

/// `gone` hides a domain from the second look on.
#[test]
fn a_named_domain_that_goes_away_is_missing() {
    for (limit, words) in [(1_049_600, "check --repair 7"), (4, "check 7"), (4, "list 7")] {
        let sim = Sim::new();
        sim.edit(|world| world["domains"]["7"]["limit_kib"] = limit.into());
        let ran = sim.xmem(words).fault("gone").run();
        assert_eq!(ran.status.code(), Some(3), "{words}: {ran:?}");
        assert!(ran.stderr.starts_with("xmem: there is no domain 7"), "{words}: {ran:?}");
    }
}

#[test]
fn fixes_by_other_programs_are_marked_on_the_simulated_host() {
    let sim = Sim::new();
    let ran = sim.xmem("check").fault("gone").run();
    assert!(ran.stdout.contains("    fix (simulated): xenstore-rm /local/domain/7\n"), "{ran:?}");
}
