//! Recovery by the next run from a run that was killed.

use std::fs;

use nix::sys::signal::Signal::SIGKILL;
use serde_json::json;
use snapbox::str;

use crate::sandbox::Sim;

/// The new limit is set, and xenstore has the old target.
fn killed_before_its_commit() -> Sim {
    let sim = Sim::new();
    sim.xmem("set web 512M").fault("kill-before-commit").leaves(2).run().dies_by(SIGKILL);
    assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 525_312));
    sim
}

/// Limit and target are new, and the record remains.
fn killed_after_its_commit() -> Sim {
    let sim = Sim::new();
    sim.xmem("set web 512M").fault("kill-after-commit").leaves(2).run().dies_by(SIGKILL);
    assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
    sim
}

#[test]
fn a_change_killed_before_its_commit_is_rolled_back() {
    let sim = killed_before_its_commit();
    sim.xmem("set web 1G").run().is(
        0,
        str![[r#"
web (7): target 1024 MiB, limit 513 MiB -> 1025 MiB (simulated)

"#]],
        str![[r#"
note: an earlier xmem was interrupted before its commit; the limit is rolled back to 1025 MiB

"#]],
    );
    assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 1_049_600));
}

/// The plan of every dry run holds only once the interrupted change has been completed or rolled back.
#[test]
fn every_dry_run_mentions_an_interrupted_change() {
    let sim = killed_before_its_commit();
    for words in ["set web 700 -n", "apply - -n", "reclaim 9300M --from web db -n"] {
        let run = |json| sim.xmem(&format!("{words}{json}")).stdin("web 700\n").leaves(2).run();
        let ran = run("");
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        let note = "an earlier xmem was interrupted (DIR/lib/userdata-d.7.";
        assert_eq!(ran.stderr.matches(note).count(), 1, "{ran:?}");
        let ran = run(" --json");
        assert_eq!(ran.objects()[0]["notes"][0]["kind"], "recovery-pending", "{ran:?}");
    }
}

/// The limit that the recovery set counts as a change of the run that made it.
#[test]
fn json_reports_the_limit_before_the_recovery() {
    let sim = killed_before_its_commit();
    let json = sim.xmem("set web 1G --json").run().json();
    assert_eq!(json["changed"], true);
    let limits = (&json["old"]["limit_kib"], &json["new"]["limit_kib"]);
    assert_eq!(limits, (&json!(525_312), &json!(1_049_600)));
}

#[test]
fn a_change_killed_after_its_commit_is_completed() {
    let sim = killed_after_its_commit();
    sim.xmem("set web 512M").run().is(
        0,
        str![[r#"
web (7): already at target 512 MiB, limit 513 MiB (simulated)

"#]],
        str![[r#"
note: an earlier xmem was interrupted; its change is complete now: the limit is 513 MiB
note: the guest has 1024 MiB, not 512 MiB; --wait waits for it

"#]],
    );
    assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
}

#[test]
fn a_refused_change_still_recovers_first() {
    let sim = killed_before_its_commit();
    let ran = sim.xmem("set web 3G --json").recovers().run();
    let json = ran.json();
    assert_eq!((&json["changed"], &json["error"]["state"]), (&json!(true), &json!("recovered")));
    assert_eq!(json["error"]["kind"], "refused");
    assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 1_049_600));
}

#[test]
fn a_killed_max_is_completed_or_rolled_back() {
    for (fault, after) in [
        ("kill-before-commit", (1_048_576, 2_097_152, 1_049_600)),
        ("kill-after-commit", (1_048_576, 4_194_304, 4_195_328)),
    ] {
        let sim = Sim::new();
        sim.xmem("max web 4G").fault(fault).leaves(2).run().dies_by(SIGKILL);
        // A refused change, so that only the recovery changes anything.
        let ran = sim.xmem("set web 9G").recovers().run();
        assert_eq!(ran.status.code(), Some(4), "{ran:?}");
        assert_eq!(sim.numbers(7), after, "{fault}");
    }
}

/// By a program that does not take the lock. Its target stays, and gets the limit that it needs.
#[test]
fn a_target_set_since_by_another_program_stays() {
    let sim = killed_before_its_commit();
    sim.edit(|world| world["xenstore"]["/local/domain/7/memory/target"] = "786432".into());
    sim.xmem("set web 768M").run().is(
        0,
        str![[r#"
web (7): target 768 MiB, limit 513 MiB -> 769 MiB (simulated)

"#]],
        str![[r#"
note: an earlier xmem was interrupted, and another program has set the memory since; the limit is 769 MiB
note: the guest has 1024 MiB, not 768 MiB; --wait waits for it

"#]],
    );
}

#[test]
fn a_dry_run_reports_the_record_and_leaves_it() {
    let sim = killed_before_its_commit();
    let before = (sim.world(), fs::read(sim.intent()).unwrap());
    // Neither the record nor the killed run's lock file is touched.
    sim.xmem("set web 1G -n").leaves(2).run().is(
        0,
        str![[r#"
web (7): would change: target 1024 MiB, limit 513 MiB -> 1025 MiB (simulated)

"#]],
        str![[r#"
note: an earlier xmem was interrupted (DIR/lib/userdata-d.7.00000000-0000-4000-8000-000000000007.xmem-intent); the next change completes or rolls back what it left

"#]],
    );
    assert_eq!((sim.world(), fs::read(sim.intent()).unwrap()), before);
}

/// It is not trusted, not lost, and does not stop the change.
#[test]
fn a_foreign_record_is_set_aside() {
    let sim = Sim::new();
    fs::write(sim.intent(), "{\"version\":1}\u{1b}[2J").unwrap();
    sim.xmem("set web 512M").leaves(1).run().is(
        0,
        str![[r#"
web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)

"#]],
        str![[r#"
note: an intent record that xmem does not understand (missing field `pid` at line 1 column 13) was moved to DIR/lib/userdata-d.7.00000000-0000-4000-8000-000000000007.xmem-intent-foreign

"#]],
    );
    let aside = sim.path().join("lib").join(&sim.state()[0]);
    assert_eq!(fs::read_to_string(aside).unwrap(), "{\"version\":1}\u{1b}[2J");
}

#[test]
fn json_reports_a_recovery_as_a_note() {
    let sim = killed_before_its_commit();
    let object = sim.xmem("set web 1G --json").run().json();
    assert_eq!(
        object["notes"],
        json!([{
            "kind": "recovery-rolled-back",
            "text": "an earlier xmem was interrupted before its commit; the limit is rolled back to 1025 MiB",
        }])
    );
}

#[test]
fn a_killed_run_does_not_affect_other_domains() {
    let sim = killed_before_its_commit();
    sim.xmem("set db 1G").leaves(2).run().says(str![[r#"
db (8): target 2048 MiB -> 1024 MiB, limit 2049 MiB -> 1025 MiB (simulated)

"#]]);
    assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 525_312));
}

#[test]
fn a_refusal_after_a_recovery_says_what_was_recovered() {
    let sim = Sim::new();
    let ran = sim.xmem("set web 512M").fault("kill-before-commit").leaves(2).run();
    assert_eq!(ran.status.code(), None);
    let ran = sim.xmem("set web 3G --json").recovers().run();
    assert_eq!(ran.status.code(), Some(4), "{ran:?}");
    let object = "; nothing else changed: an earlier xmem was interrupted before its commit; the limit is rolled back to 1025 MiB";
    assert!(ran.stderr.contains(object), "{ran:?}");
    assert_eq!(ran.json()["error"]["state"], "recovered");
    assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 1_049_600));
}
