//! `xmem apply`: many changes in one run.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::SIGINT;
use serde_json::{Value, json};
use snapbox::str;
use tempfile::TempDir;

use crate::sandbox::{Call, Ran, Sim, WEB};

/// A batch file.
struct Batch(TempDir);

impl Batch {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("batch"), text).unwrap();
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("batch")
    }
}

fn apply<'a>(sim: &'a Sim, batch: &Batch, options: &str) -> Call<'a> {
    sim.xmem(&format!("apply {options}")).arg(batch.path())
}

#[test]
fn domains_that_shrink_are_changed_first() {
    let sim = Sim::new();
    let batch = Batch::new(
        "# bigger\nweb 2G\n\n# smaller\ndb 1G\nuuid:00000000-0000-4000-8000-000000000009 1024\n",
    );
    apply(&sim, &batch, "-n").run().says(str![[r#"
db (8): would change: target 2048 MiB -> 1024 MiB, limit 2049 MiB -> 1025 MiB (simulated)
win (9): would change: size 2048 MiB -> 1024 MiB, target 2032 MiB -> 1008 MiB, limit 2049 MiB -> 1025 MiB (simulated)
web (7): would change: target 1024 MiB -> 2048 MiB, limit 1025 MiB -> 2049 MiB (simulated)

"#]]);
    assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 1_049_600));
    apply(&sim, &batch, "").run().says(str![[r#"
db (8): target 2048 MiB -> 1024 MiB, limit 2049 MiB -> 1025 MiB (simulated)
win (9): size 2048 MiB -> 1024 MiB, target 2032 MiB -> 1008 MiB, limit 2049 MiB -> 1025 MiB (simulated)
web (7): target 1024 MiB -> 2048 MiB, limit 1025 MiB -> 2049 MiB (simulated)

"#]]);
    assert_eq!(sim.numbers(7), (2_097_152, 2_097_152, 2_098_176));
    assert_eq!(sim.numbers(8).0, 1_048_576);
    assert_eq!(sim.numbers(9).0, 1_032_192);
    let before = sim.world();
    apply(&sim, &batch, "-q").run().says("");
    apply(&sim, &batch, "").run().is(
        0,
        str![[r#"
web (7): already at target 2048 MiB, limit 2049 MiB (simulated)
db (8): already at target 1024 MiB, limit 1025 MiB (simulated)
win (9): already at size 1024 MiB, target 1008 MiB, limit 1025 MiB (simulated)

"#]],
        str![[r#"
note: web (7): the guest has 1024 MiB, not 2048 MiB; --wait waits for it
note: db (8): the guest has 2048 MiB, not 1024 MiB; --wait waits for it
note: win (9): the guest has 2048 MiB, not 1024 MiB; --wait waits for it

"#]],
    );
    assert_eq!(sim.world(), before);
}

/// Also the output of `set --wait`, with its progress. Runs jq, if it is installed.
#[test]
fn the_jq_of_a_hint_makes_lines_of_the_output_of_set() {
    let sim = Sim::new();
    let output = sim.xmem("set web 512M --wait=1500ms --json").run().stdout;
    assert!(output.lines().count() > 1, "{output}");
    let ran = sim.xmem("apply -").stdin(&output).run();
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
    let (_, hint) = ran.stderr.split_once("to set its new target: jq -c '").unwrap();
    let (filter, _) = hint.split_once('\'').unwrap();
    assert_eq!(filter, "select(.new) | {uuid, target_kib: .new.target_kib}");
    let mut jq = Command::new("jq");
    jq.args(["-c", filter]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut jq) = jq.spawn() else { return };
    jq.stdin.take().unwrap().write_all(output.as_bytes()).unwrap();
    let lines = String::from_utf8(jq.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(lines, format!("{{\"uuid\":\"{WEB}\",\"target_kib\":524288}}\n"));
    assert_eq!(sim.xmem("set web 1G").run().status.code(), Some(0));
    assert_eq!(sim.xmem("apply -").stdin(&lines).run().status.code(), Some(0));
    assert_eq!(sim.numbers(7).0, 524_288);
}

/// Of guests that are not there yet, and of a host with little left.
#[test]
fn a_dry_run_has_the_notes_of_the_run() {
    let sim = Sim::new();
    sim.edit(|world| world["memory_kib"] = ((7 * 1024 + 100) * 1024).into());
    let current = |kib: u64| {
        sim.edit(|world| world["domains"]["8"]["current_kib"] = kib.into());
    };
    let notes = |lines: &str, options: &str| {
        let ran = apply(&sim, &Batch::new(lines), options).run();
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        ran.stderr.clone()
    };
    current(2_090_000);
    for line in ["db 2G\n", "{\"domid\":8,\"size_kib\":2097152}\n"] {
        let note = "note: db (8): the guest has 2041 MiB, not 2048 MiB; --wait waits for it\n";
        assert_eq!([notes(line, "-n"), notes(line, "")], [note; 2]);
    }
    // It holds the memory already.
    current(2_097_152 + 102_400);
    assert_eq!([notes("db 2148M\n", "-n"), notes("db 2148M\n", "")], [""; 2]);
    current(2_097_152);
    let foreseen = notes("web 2G\n", "--partial -n");
    assert!(foreseen.contains("note: web (7): leaves the host 0 MiB free\n"), "{foreseen}");
    assert_eq!(notes("web 2G\n", "--partial"), foreseen);
}

/// In the dry run and in the run, and at the line of the guest that reports.
#[test]
fn less_than_a_guest_reports_as_used_is_noted() {
    let sim = Sim::new();
    sim.edit(|world| world["xenstore"]["/local/domain/7/memory/meminfo"] = "716800".into());
    let batch = Batch::new("web 512M\ndb 1G\n");
    for options in ["-n", ""] {
        let ran = apply(&sim, &batch, options).run();
        let note = "note: web (7): the guest reports that it uses 700 MiB: with 512 MiB it may swap, or run out of memory\n";
        assert_eq!((ran.status.code(), &*ran.stderr), (Some(0), note), "{ran:?}");
    }
}

#[test]
fn all_errors_are_reported_together_and_nothing_is_changed() {
    let sim = Sim::new();
    let words = Batch::new("web 1.5G\nweb\n\nid:x 1G\ndb 1G\n");
    apply(&sim, &words, "").run().fails(
        2,
        str![[r#"
xmem: line 1: size `1.5G`: fractions are not accepted
hint: write it without a fraction: 1536M
xmem: line 2: not of the form `DOMAIN SIZE`
hint: write `web 512M`, or `"SQL #2" 1G` if the name contains ` #`
xmem: line 4: domain `id:x`: `id:` needs a number
hint: give a domid, a UUID or a name; write name:... if the name looks like one of the others

"#]],
    );
    let facts = Batch::new("web 3G\nnosuch 1G\ndb 1G\n8 2G\n");
    apply(&sim, &facts, "").run().fails(2, str![[r#"
xmem: line 1: web (7): a target of 3072 MiB is above the domain's maximum of 2048 MiB (memory/static-max); nothing changed (simulated)
hint: ask for at most 2G, or add --raise-max to raise the maximum too
xmem: line 2: there is no domain `nosuch` on this host; nothing changed (simulated)
hint: `xmem list` shows the domains
xmem: line 4: db (8): line 3 names the same domain; nothing changed (simulated)

"#]]);
    let missing = Batch::new("");
    fs::remove_file(missing.path()).unwrap();
    let ran = apply(&sim, &missing, "").run();
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
}

#[test]
fn an_unedited_list_changes_nothing_and_an_edited_one_only_its_edits() {
    let sim = Sim::new();
    let list = sim.xmem("list --json").run().stdout;
    let before = sim.world();
    let ran = apply(&sim, &Batch::new(&list), "").run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert_eq!(sim.world(), before);
    let edited =
        list.replace("\"target_kib\":1048576,\"size_kib\":1048576", "\"target_kib\":524288");
    let ran = apply(&sim, &Batch::new(&edited), "--json").run();
    let changed: Vec<bool> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| line["changed"].as_bool().unwrap())
        .collect();
    assert_eq!(changed, [false, true, false, false], "{ran:?}");
    assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
    // dom0 has no limit and keeps none.
    assert_eq!(sim.world()["domains"]["0"]["limit_kib"], 17_179_869_180_u64);
}

#[test]
fn memory_moves_from_one_guest_to_another() {
    let sim = Sim::new();
    // 256 MiB are free: `web` cannot grow by 1 GiB before `db` has given back.
    sim.edit(|world| {
        world["memory_kib"] = (7 * 1_048_576 + 262_144).into();
        for domid in ["7", "8"] {
            world["domains"][domid]["rate_kib_per_second"] = 4_194_304.into();
        }
    });
    let begun = Instant::now();
    let ran = apply(&sim, &Batch::new("web 2G\ndb 1G\n"), "").moving().run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    // 768 MiB at 4 GiB/s.
    assert!(begun.elapsed().as_millis() >= 187, "{:?}", begun.elapsed());
    assert_eq!((sim.numbers(7).0, sim.numbers(8).0), (2_097_152, 1_048_576));
}

#[test]
fn a_wait_for_memory_that_never_comes_ends() {
    let sim = Sim::new();
    sim.edit(|world| world["memory_kib"] = (7 * 1_048_576 + 262_144).into());
    let ran = apply(&sim, &Batch::new("web 2G\ndb 1G\nwin 1G\n"), "--patience 300ms").run();
    // Guests in this test never balloon, so only the first change can be made.
    ran.is(10, str![[r#"
db (8): target 2048 MiB -> 1024 MiB, limit 2049 MiB -> 1025 MiB (simulated)
win (9): size 2048 MiB -> 1024 MiB, target 2032 MiB -> 1008 MiB, limit 2049 MiB -> 1025 MiB (simulated)

"#]], str![[r#"
xmem: line 1: web (7): it needs 1024 MiB more, and the host has only 256 MiB free for it; nothing changed (simulated)
hint: shrink another domain; `xmem list` shows guests that have not reached their targets yet

"#]]);
    assert_eq!(sim.numbers(7).0, 1_048_576);
    // Memory promised to one domain is not given to another.
    let two = Batch::new("web 1200M\ndb 2200M\n");
    let ran = apply(&sim, &two, "--patience 100ms").run();
    assert_eq!(ran.status.code(), Some(10), "{ran:?}");
    assert_eq!(sim.numbers(7).0, 1_228_800);
    assert_eq!(sim.numbers(8).0, 1_048_576);
}

#[test]
fn one_failure_does_not_stop_the_other_changes() {
    let sim = Sim::new();
    let batch = Batch::new("web 512M\ndb 1G\n");
    // Setting the PoD target is refused for `web`, which is PVH; `db` is PV.
    let ran = apply(&sim, &batch, "--json").fault("pod-refused").run();
    assert_eq!(ran.status.code(), Some(10), "{ran:?}");
    assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 1_049_600));
    assert_eq!(sim.numbers(8).0, 1_048_576);
    assert_eq!(ran.stdout.lines().count(), 2, "{ran:?}");
    // A single failure keeps its own exit code.
    let ran = apply(&sim, &Batch::new("web 512M"), "").fault("pod-refused").run();
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
}

/// All changes share one connection to xenstore; a broken one is replaced.
#[test]
fn a_broken_connection_fails_one_change_and_not_the_next() {
    for (fault, exit, web) in
        [("commit-lost-done", 0, 524_288), ("commit-lost-undone", 10, 1_048_576)]
    {
        let sim = Sim::new();
        let ran = apply(&sim, &Batch::new("web 512M\ndb 1G\n"), "").fault(fault).run();
        assert_eq!(ran.status.code(), Some(exit), "{ran:?}");
        assert_eq!((sim.numbers(7).0, sim.numbers(8).0), (web, 1_048_576));
    }
}

/// Somebody has to look at it, whatever became of the others.
#[test]
fn one_domain_out_of_step_decides_the_exit_code() {
    let sim = Sim::new();
    let batch = Batch::new("web 512M\ndb 1G\n");
    let ran = apply(&sim, &batch, "").fault("commit-unknown").leaves(1).run();
    assert_eq!(ran.status.code(), Some(9), "{ran:?}");
    assert!(ran.stderr.contains("\nxmem: line 2: db (8): "), "{ran:?}");
}

#[test]
fn a_batch_is_read_from_standard_input() {
    let sim = Sim::new();
    sim.xmem("apply -").stdin("web 512M").run().says(str![[r#"
web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)

"#]]);
    // Empty input, as after a jq that failed.
    let ran = sim.xmem("apply -").run();
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
    assert!(ran.stderr.starts_with("xmem: standard input: no domains"), "{ran:?}");
}

#[test]
fn wait_waits_for_all_changed_guests() {
    let sim = Sim::new();
    sim.rate(1024);
    let batch = Batch::new("web 512M\nwin 1536M\n");
    let ran = apply(&sim, &batch, "--wait").moving().run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert!(ran.stdout.contains("\nweb (7): has 51"), "{ran:?}");
    assert!(ran.stdout.contains("\nwin (9): has 153"), "{ran:?}");
    assert_eq!(ran.stdout.matches(" has ").count(), 2, "{ran:?}");
    assert!(ran.stderr.contains("2 of 2 guests on their way: "), "{ran:?}");
}

/// A second run of the same list may be the one that waits.
#[test]
fn wait_waits_for_a_guest_whose_line_asks_for_the_present_target() {
    let sim = Sim::new();
    sim.rate(20);
    let batch = Batch::new("{\"domid\":7,\"size_kib\":524288}\n");
    assert_eq!(apply(&sim, &batch, "").moving().run().status.code(), Some(0));
    let note = apply(&sim, &batch, "").moving().run().stderr;
    assert!(note.ends_with(" MiB, not 512 MiB; --wait waits for it\n"), "{note}");
    let before = sim.world()["xenstore"].clone();
    let ran = apply(&sim, &batch, "--wait=2s").moving().run();
    assert_eq!(ran.status.code(), Some(8), "{ran:?}");
    assert!(ran.stderr.contains("xmem: web (7): the target is set, but the guest has "), "{ran:?}");
    // A stalled driver is not nudged: the line asks for nothing.
    let ran = apply(&sim, &batch, "--wait --patience 2s").run();
    assert_eq!(ran.status.code(), Some(8), "{ran:?}");
    assert!(!ran.stderr.contains("nudged"), "{ran:?}");
    assert_eq!(sim.world()["xenstore"], before);
    sim.rate(1024);
    let ran = apply(&sim, &batch, "--wait").moving().run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert!(ran.stdout.ends_with("web (7): has 512 MiB (simulated)\n"), "{ran:?}");
}

#[test]
fn each_guest_short_of_its_target_is_reported_and_the_others_are_waited_for() {
    let sim = Sim::new();
    let batch = Batch::new("web 512M\nwin 1536M\n");
    let ran = apply(&sim, &batch, "--wait --patience 300ms").run();
    // Both failed with the same exit code, which becomes that of the run.
    assert_eq!(ran.status.code(), Some(8), "{ran:?}");
    for (name, has) in
        [("web (7)", "1024 MiB instead of 512 MiB"), ("win (9)", "2048 MiB instead of 1536 MiB")]
    {
        let message = format!("xmem: {name}: the target is set, but the guest has {has}");
        assert_eq!(ran.stderr.matches(&message).count(), 1, "{ran:?}");
    }
    let one = Batch::new("web 512M\n");
    let ran = apply(&sim, &one, "--wait --patience 300ms").run();
    assert_eq!(ran.status.code(), Some(8), "{ran:?}");
    assert_eq!(apply(&sim, &batch, "").run().status.code(), Some(0));
}

/// Events come first, then one object per domain.
#[test]
fn json_reports_progress_and_one_object_per_domain() {
    let sim = Sim::new();
    sim.rate(512);
    let batch = Batch::new("web 512M\nwin 1536M\nnosuch 1G\n");
    assert_eq!(apply(&sim, &batch, "--wait --json").run().status.code(), Some(3));
    let batch = Batch::new("web 512M\nwin 1536M\n");
    let ran = apply(&sim, &batch, "--wait --json").moving().run();
    assert_eq!((ran.status.code(), &*ran.stderr), (Some(0), ""), "{ran:?}");
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for name in ["web", "win"] {
        let of: Vec<&Value> = lines.iter().filter(|line| line["name"] == name).collect();
        let (result, events) = of.split_last().unwrap();
        assert!(!events.is_empty() && events.iter().all(|line| line["event"] == "progress"));
        assert_eq!(result["wait"]["end"], "reached", "{ran:?}");
        assert_eq!((&result["command"], &result["changed"]), (&json!("apply"), &json!(true)));
    }
}

/// Finished changes are reported, and no further ones begin.
#[test]
fn a_signal_ends_the_run_between_two_changes() {
    let sim = Sim::new();
    // The host is too short of memory for the second change, which waits.
    let batch = Batch::new("web 512M\ndb 4G\n");
    let mut child =
        apply(&sim, &batch, "--patience 1h --json --raise-max").fault("host-full").start();
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    child.send(SIGINT);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let ran = Ran::new(child.wait_with_output(), Some(sim.path()));
    ran.dies_by(SIGINT);
    let (first, second): (Value, Value) =
        (serde_json::from_str(&first).unwrap(), serde_json::from_str(&rest).unwrap());
    assert_eq!((&first["name"], &first["changed"]), (&json!("web"), &json!(true)));
    assert_eq!(
        (&second["name"], &second["error"]["kind"], &second["error"]["state"]),
        (&json!("db"), &json!("interrupted"), &json!("unchanged"))
    );
    assert_eq!(sim.numbers(8).0, 2_097_152);
}

#[test]
fn memory_to_keep_free_is_not_called_missing() {
    let sim = Sim::new();
    sim.edit(|world| world["memory_kib"] = (7268 * 1024).into());
    for options in ["-n --keep-free 50M", "--keep-free 50M --patience 0"] {
        let ran = apply(&sim, &Batch::new("web 2G\n"), options).run();
        let error = "the host has only 50 MiB free for it, not counting the 50 MiB to keep free; nothing changed";
        assert!(ran.stderr.contains(error), "{ran:?}");
        assert_eq!(ran.status.code(), Some(4));
    }
}

/// A guest within 1 MiB of its target has reached it, for `set` too.
#[test]
fn a_step_within_the_tolerance_needs_no_memory() {
    let sim = Sim::new();
    sim.edit(|world| world["memory_kib"] = (7168 * 1024).into());
    for words in ["apply -n -", "apply - --patience 0", "set web +4k"] {
        let ran = sim.xmem(words).stdin("web +4k\n").run();
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    }
    let ran = sim.xmem("apply - --patience 0").stdin("web +2M\n").run();
    assert_eq!(ran.status.code(), Some(4), "{ran:?}");
}

/// Each starved line cost patience again, and had the same hint.
#[test]
fn lines_that_lack_memory_share_one_patience_and_one_hint() {
    let sim = Sim::new();
    let batch = Batch::new("0 16G\nweb 16G\ndb 16G\nwin 16G\n");
    let begun = Instant::now();
    let ran = apply(&sim, &batch, "--raise-max --patience 2s").fault("host-full").run();
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(ran.status.code(), Some(4), "{ran:?}");
    assert_eq!(ran.stderr.matches(": it needs ").count(), 4, "{ran:?}");
    assert_eq!(ran.stderr.matches("hint: ").count(), 1, "{ran:?}");
    // Programs find it with each line.
    let ran = apply(&sim, &batch, "--raise-max --patience 0 --json").fault("host-full").run();
    assert!(ran.objects().iter().all(|object| object["error"]["hint"].is_string()), "{ran:?}");
}
