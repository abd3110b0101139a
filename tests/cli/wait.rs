//! `--wait`: waits for the guest, and explains why it does not reach the target.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};
use snapbox::{IntoData as _, assert_data_eq, str};

use crate::sandbox::{Call, Ran, Running, Sim, WEB, wait_until};

const CHANGED: &str = "\
web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)
";

/// The events and the result behind them.
fn events_and_result(stdout: &str) -> (Vec<Value>, Value) {
    let mut lines: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let result = lines.pop().unwrap();
    assert!(lines.iter().all(|line| line["event"] == "progress"), "{stdout}");
    assert_eq!(result["event"], Value::Null, "{stdout}");
    (lines, result)
}

#[test]
fn wait_ends_when_the_guest_reaches_the_target() {
    let sim = Sim::new();
    sim.rate(1024);
    let ran = sim.xmem("set web 512M --wait").moving().run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let end = ran.stdout.strip_prefix(CHANGED).unwrap();
    // Within 1 MiB of the target, for example 512.8 MiB.
    assert!(end.starts_with("web (7): has 51") && end.contains(" MiB after "), "{ran:?}");
    assert!(end.ends_with("s (simulated)\n"), "{ran:?}");
    let held = sim.world()["domains"]["7"]["current_kib"].as_u64().unwrap();
    assert!((524_288..=525_312).contains(&held), "{held}");
    // One line at the start; the next is due after 5 s.
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.starts_with("web (7): has "), "{ran:?}");
    assert!(ran.stderr.ends_with(" to go (simulated)\n"), "{ran:?}");
}

#[test]
fn a_guest_at_its_target_is_not_waited_for() {
    let sim = Sim::new();
    for words in ["set web 1G --wait", "mem-set web 1G --wait=1h --patience 1h", "set --wait 7 1G"]
    {
        sim.xmem(words).run().says(str![[r#"
web (7): already at target 1024 MiB, limit 1025 MiB (simulated)
web (7): has 1024 MiB (simulated)

"#]]);
    }
}

/// Some guests stop some MiB off.
#[test]
fn a_guest_within_the_given_distance_has_reached_its_target() {
    let sim = Sim::new();
    let ran = sim.xmem("set web 1014M --wait --within 10M").run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let ran = sim.xmem("set web 1014M --wait --within 9M --patience 1ms").run();
    assert_eq!(ran.status.code(), Some(8), "{ran:?}");
}

#[test]
fn without_wait_set_returns_at_once() {
    let sim = Sim::new();
    sim.rate(1);
    sim.xmem("set web 512M").moving().run().says(CHANGED);
}

/// The wait takes twice as long as patience.
#[test]
fn a_guest_that_makes_progress_outlasts_patience() {
    let sim = Sim::new();
    sim.rate(512);
    let begun = Instant::now();
    let ran = sim.xmem("set web 512M --wait --patience 450ms").moving().run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert!(begun.elapsed() > Duration::from_millis(900), "{ran:?}");
}

#[test]
fn a_guest_without_progress_is_reported() {
    let sim = Sim::new();
    // Less than a second shows nothing about its driver.
    let ran = sim.xmem("set web 700M --wait --patience 200ms").run();
    assert!(
        ran.stderr.contains("no progress for 0.2 s (simulated)\nhint: to keep waiting"),
        "{ran:?}"
    );
    let sim = Sim::new();
    sim.xmem("set web 512M --wait --patience 1s").run().is(
        8,
        CHANGED,
        str![[r#"
web (7): has 1024 MiB, 512 MiB to go (simulated)
xmem: web (7): the target is set, but the guest has 1024 MiB instead of 512 MiB and has made no progress for 1 s; no balloon driver appears to be running (simulated)
hint: is its balloon driver loaded? Linux needs CONFIG_XEN_BALLOON, Windows the PV drivers

"#]],
    );
    assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
}

#[test]
fn a_full_host_is_reported() {
    let sim = Sim::new();
    // Noted at once, with or without a wait.
    sim.xmem("set web 1536M").fault("host-full").run().is(
        0,
        str![[r#"
web (7): target 1024 MiB -> 1536 MiB, limit 1025 MiB -> 1537 MiB (simulated)

"#]],
        str![[r#"
note: growing by 512 MiB, but the host has only 0 MiB free

"#]],
    );
    // The sim's balloons move now, but the host has no free memory.
    sim.edit(|world| world["memory_kib"] = (7 * 1024 * 1024 + 65_536).into());
    let ran = sim.xmem("set web 2G --wait --patience 700ms").moving().run();
    assert_eq!(ran.status.code(), Some(8), "{ran:?}");
    assert!(ran.stderr.starts_with("note: growing by "), "{ran:?}");
    let end = "\
xmem: web (7): the target is set, but the guest has 1088 MiB instead of 2048 MiB and has made no progress for 0.7 s; it needs 960 MiB more, but the host has none free (simulated)
hint: shrink or shut down another domain, then nudge the balloon driver: xmem set 7 2G --wait
";
    assert!(ran.stderr.ends_with(end), "{ran:?}");
}

#[test]
fn a_paused_guest_is_reported() {
    let sim = Sim::new();
    sim.edit(|world| world["domains"]["7"]["paused"] = true.into());
    sim.xmem("set web 512M --wait --patience 100ms").moving().run().is(
        8,
        CHANGED,
        str![[r#"
note: the domain is paused: it keeps 1024 MiB until it runs again
web (7): has 1024 MiB, 512 MiB to go (paused) (simulated)
xmem: web (7): the target is set, but the guest has 1024 MiB instead of 512 MiB; it is paused (simulated)
hint (simulated): if nothing keeps it paused on purpose (a backup, a debugger): xl unpause 7

"#]],
    );
}

#[test]
fn wait_ends_at_its_time_bound() {
    let sim = Sim::new();
    sim.rate(64);
    let begun = Instant::now();
    let ran = sim.xmem("set web 512M --wait=500ms").moving().run();
    assert!(begun.elapsed() >= Duration::from_millis(500));
    assert_eq!((ran.status.code(), &*ran.stdout), (Some(8), CHANGED), "{ran:?}");
    let end = "\
 MiB instead of 512 MiB after 0.5 s (simulated)
hint: it was still making progress; to keep waiting: xmem set 7 512M --wait
";
    assert!(ran.stderr.ends_with(end), "{ran:?}");
}

/// It polls once.
#[test]
fn a_time_bound_of_zero_does_not_wait() {
    let sim = Sim::new();
    let ran = sim.xmem("set web 512M --wait=0").run();
    assert_eq!((ran.status.code(), &*ran.stdout), (Some(8), CHANGED), "{ran:?}");
    assert!(ran.stderr.starts_with("xmem: web (7): the target is set, but "), "{ran:?}");
}

#[test]
fn quiet_prints_no_progress() {
    let sim = Sim::new();
    sim.rate(2048);
    sim.xmem("set web 512M --wait -q").moving().run().says("");
    let ran = sim.xmem("set web 1G --wait --patience 100ms -q").run();
    assert_eq!((ran.status.code(), &*ran.stdout), (Some(8), ""), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 2, "{ran:?}");
    let ran = sim.xmem("set web 700M --wait --patience 100ms -q --json").run();
    assert_eq!(events_and_result(&ran.stdout).0, [Value::Null; 0]);
}

/// A stalled balloon driver is nudged with another target, then gets the old one back.
#[test]
fn setting_the_same_size_again_nudges_the_driver() {
    let sim = Sim::new();
    let generation =
        || sim.world()["generations"]["/local/domain/7/memory/target"].as_u64().unwrap_or_default();
    let ran = sim.xmem("set web 512M --wait --patience 100ms").run();
    assert_eq!(ran.status.code(), Some(8), "{ran:?}");
    let (before, numbers) = (generation(), sim.numbers(7));
    sim.xmem("set web 512M --wait --patience 2s").run().is(
        8,
        str![[r#"
web (7): already at target 512 MiB, limit 513 MiB (simulated)

"#]],
        str![[r#"
web (7): has 1024 MiB, 512 MiB to go (simulated)
note: web (7): the guest had stalled; nudged its balloon driver with a target one page off
xmem: web (7): the target is set, but the guest has 1024 MiB instead of 512 MiB and has made no progress for 2 s; no balloon driver appears to be running (simulated)
hint: is its balloon driver loaded? Linux needs CONFIG_XEN_BALLOON, Windows the PV drivers

"#]],
    );
    assert!(generation() > before);
    assert_eq!(sim.numbers(7), numbers);
    // Nor does it touch a limit that does not follow the target.
    sim.edit(|world| world["domains"]["7"]["limit_kib"] = 2_098_176.into());
    let before = generation();
    let ran = sim.xmem("set web +0 --wait --patience 2s").run();
    assert_eq!(ran.status.code(), Some(8), "{ran:?}");
    assert!(generation() > before);
    assert_eq!(sim.numbers(7), (numbers.0, numbers.1, 2_098_176));
    sim.edit(|world| world["domains"]["7"]["limit_kib"] = numbers.2.into());
    // No nudge without --wait, for another size, or for a guest at its target.
    for (words, writes) in [("set web 512M", false), ("set web 600M --wait --patience 100ms", true)]
    {
        let before = generation();
        let ran = sim.xmem(words).run();
        assert!(!ran.stderr.contains("one page off"), "{ran:?}");
        assert_eq!(generation() > before, writes, "{ran:?}");
    }
    sim.edit(|world| world["domains"]["7"]["current_kib"] = (600 * 1024).into());
    let before = generation();
    assert_eq!(sim.xmem("set web 600M --wait").run().status.code(), Some(0));
    assert_eq!(generation(), before);
}

/// Another program takes the lock while the target is one page off, and keeps it.
#[test]
fn a_nudge_that_cannot_set_the_target_back_says_so_in_time() {
    for json in ["", " --json"] {
        let sim = Sim::new();
        let words = format!("set web 1G --wait=4s --patience 30s{json}");
        sim.edit(|world| {
            world["domains"]["7"]["balloon"] = false.into();
            world["domains"]["7"]["current_kib"] = 700_000.into();
        });
        let begun = Instant::now();
        let running = sim.xmem(&words).leaves(1).start();
        wait_until(|| sim.numbers(7).0 != 1_048_576 && !sim.lock().exists());
        let lock = File::create(sim.lock()).unwrap();
        lock.lock().unwrap();
        let ran = Ran::new(running.wait_with_output(), Some(sim.path()));
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        drop(lock);
        fs::remove_file(sim.lock()).unwrap();
        let (off, hint) = (sim.numbers(7).0, "to set it back: xmem set 7 1G");
        assert_eq!((off, ran.status.code()), (1_048_572, Some(8)), "{ran:?}");
        if json.is_empty() {
            let says = "; the target is still 1048572 KiB, one page off";
            assert!(ran.stderr.contains(says) && ran.stderr.contains(hint), "{ran:?}");
        } else {
            let json = ran.objects().pop().unwrap();
            let numbers = (&json["changed"], &json["new"]["target_kib"], &json["error"]["state"]);
            assert_eq!(numbers, (&true.into(), &off.into(), &"one-page-off".into()));
            assert_eq!(json["error"]["hint"], hint);
        }
        // The hint works.
        assert_eq!(sim.xmem("set 7 1G").run().status.code(), Some(0));
        assert_eq!(sim.numbers(7).0, 1_048_576);
    }
}

/// The wait goes on if target and limit are unchanged.
#[test]
fn a_failed_nudge_is_noted() {
    let sim = Sim::new();
    assert_eq!(sim.xmem("set web 512M").run().status.code(), Some(0));
    let ran = sim.xmem("set web 512M --wait --patience 2s").fault("store-full").run();
    assert_eq!(ran.status.code(), Some(8), "{ran:?}");
    assert!(
        ran.stderr.contains("\nnote: web (7): its balloon driver could not be nudged: "),
        "{ran:?}"
    );
    let ran = sim.xmem("set web 512M --wait --patience 2s --json").fault("store-full").run();
    let (_, result) = events_and_result(&ran.stdout);
    let note = &result["notes"][0];
    assert_eq!(note["kind"], "not-nudged", "{ran:?}");
    assert!(
        note["text"].as_str().unwrap().contains(" nudged: xenstored answered ENOSPC"),
        "{ran:?}"
    );
    assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
    // Whether the commit succeeded is unknown.
    let ran = sim.xmem("set web 512M --wait --patience 2s").fault("commit-unknown").leaves(1).run();
    assert_eq!(ran.status.code(), Some(9), "{ran:?}");
    assert_eq!(sim.xmem("set web 512M").run().status.code(), Some(0));
}

#[test]
fn json_reports_events_and_one_result() {
    let sim = Sim::new();
    sim.rate(200);
    let ran = sim.xmem("set web 512M --wait --json").moving().run();
    assert_eq!((ran.status.code(), &*ran.stderr), (Some(0), ""), "{ran:?}");
    let (events, mut result) = events_and_result(&ran.stdout);
    // One event at the start, then one per second.
    assert!(events.len() >= 2, "{ran:?}");
    let at = |event: &Value| event["at_ms"].as_u64().unwrap();
    assert!(events.is_sorted_by(|a, b| at(a) + 1000 <= at(b)), "{ran:?}");
    let mut event = events[0].clone();
    let (at, current) = (event["at_ms"].take(), event["current_kib"].take());
    assert!(event["time"].take().as_str().unwrap().ends_with('Z'));
    assert!(at.as_u64().unwrap() < 1000, "{at}");
    assert!((524_288..=1_048_576).contains(&current.as_u64().unwrap()), "{current}");
    assert_eq!(
        event,
        json!({
            "schema": 2, "command": "set", "simulated": true,
            "domid": 7, "name": "web", "uuid": WEB, "event": "progress", "time": null,
            "at_ms": null, "from_kib": 1_048_576, "current_kib": null, "wanted_kib": 524_288,
        })
    );
    assert!(events[1]["current_kib"].as_u64().unwrap() < current.as_u64().unwrap());
    assert!(result["wait"]["took_ms"].take().as_u64().unwrap() >= 1000);
    // Within 1 MiB of the target.
    let held = result["wait"]["current_kib"].take().as_u64().unwrap();
    assert!((524_288..=525_312).contains(&held), "{held}");
    assert_eq!(
        result,
        json!({
            "schema": 2, "command": "set", "simulated": true,
            "domid": 7, "name": "web", "uuid": WEB,
            "changed": true, "dry_run": false,
            "old": {
                "target_kib": 1_048_576, "size_kib": 1_048_576, "static_max_kib": 2_097_152, "limit_kib": 1_049_600,
            },
            "new": {
                "target_kib": 524_288, "size_kib": 524_288, "static_max_kib": 2_097_152, "limit_kib": 525_312,
            },
            "state": "running", "current_kib": 1_048_576,
            "notes": [],
            "wait": {
                "end": "reached", "took_ms": null, "current_kib": null, "wanted_kib": 524_288,
                "moved": true, "nudged": false, "reasons": [],
            },
        })
    );
}

/// The result has an error, and says that the change stands.
#[test]
fn json_reports_a_guest_that_missed_its_target() {
    let sim = Sim::new();
    let ran = sim.xmem("set web 512M --wait --json --patience 1s").run();
    assert_eq!(ran.status.code(), Some(8), "{ran:?}");
    let (events, result) = events_and_result(&ran.stdout);
    assert_eq!(events.len(), 1, "{ran:?}");
    assert_eq!((&result["changed"], &result["wait"]["end"]), (&json!(true), &json!("stuck")));
    assert_eq!(result["wait"]["reasons"], json!(["no-driver"]));
    let error = &result["error"];
    assert_eq!(
        (&error["kind"], &error["exit_code"], &error["state"]),
        (&json!("stuck"), &json!(8), &json!("changed"))
    );
    let mut lines = ran.stderr.lines();
    let message = lines.next().unwrap().strip_prefix("xmem: ").unwrap();
    assert!(message.starts_with(error["message"].as_str().unwrap()), "{ran:?}");
    assert_eq!(lines.next().unwrap().strip_prefix("hint: "), error["hint"].as_str());
    assert_eq!(lines.next(), None);
    // The second run changes nothing and nudges the driver.
    let ran = sim.xmem("set web 512M --wait --json --patience 2s").run();
    let (_, result) = events_and_result(&ran.stdout);
    assert_eq!(
        (&result["changed"], &result["error"]["state"]),
        (&json!(false), &json!("unchanged"))
    );
    assert_eq!(result["wait"]["nudged"], true);
}

/// A run that waits for a guest without progress, after its first event.
fn waiting(call: Call<'_>) -> (Running, String) {
    let mut child = call.arg("--json").start();
    let mut read = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut read).unwrap();
    assert!(read.contains(r#""event":"progress""#), "{read}");
    assert_eq!(stdout.buffer(), b"");
    child.stdout = Some(stdout.into_inner());
    (child, read)
}

fn end(sim: &Sim, child: Running, read: &str) -> Ran {
    let mut output = child.wait_with_output();
    output.stdout.splice(..0, read.bytes());
    Ran::new(output, Some(sim.path()))
}

#[test]
fn a_signal_ends_the_wait_and_keeps_the_change() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let sim = Sim::new();
        let (child, read) = waiting(sim.xmem("set web 512M --wait"));
        child.send(signal);
        let ran = end(&sim, child, &read);
        ran.dies_by(signal);
        // The error is a single line.
        assert_data_eq!(
            &*ran.stderr,
            str![[r#"
xmem: web (7): interrupted; the target stays set, and the guest has 1024 MiB instead of 512 MiB (simulated)
hint: to keep waiting: xmem set 7 512M --wait

"#]]
            .raw()
        );
        let (_, result) = events_and_result(&ran.stdout);
        assert_eq!(
            (&result["changed"], &result["wait"]["end"]),
            (&json!(true), &json!("interrupted"))
        );
        assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312));
        assert_eq!(sim.state(), [""; 0]);
    }
}

/// As under nohup.
#[test]
fn an_ignored_signal_does_not_end_the_wait() {
    let sim = Sim::new();
    let words = "set web 512M --wait --patience 600ms";
    let (child, read) = waiting(sim.xmem(words).ignoring_sighup());
    child.send(SIGHUP);
    let ran = end(&sim, child, &read);
    assert_eq!(ran.status.code(), Some(8), "{ran:?}");
    assert_eq!(events_and_result(&ran.stdout).1["wait"]["end"], "stuck");
}

/// No lock is held during the wait, so Ctrl-Z may stop it.
#[test]
fn a_stopped_wait_holds_no_lock() {
    let sim = Sim::new();
    let (child, read) = waiting(sim.xmem("set web 512M --wait"));
    assert_eq!(sim.state(), [""; 0]);
    child.send(SIGTSTP);
    let state = || fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    wait_until(|| state().contains(" (xmem) T "));
    child.send(SIGCONT);
    wait_until(|| !state().contains(" (xmem) T "));
    child.send(SIGTERM);
    end(&sim, child, &read).dies_by(SIGTERM);
}

#[test]
fn a_target_set_by_another_program_ends_the_wait() {
    let sim = Sim::new();
    let (child, read) = waiting(sim.xmem("set web 512M --wait"));
    assert_eq!(sim.xmem("set web 700M").run().status.code(), Some(0));
    let ran = end(&sim, child, &read);
    assert_eq!(ran.status.code(), Some(8), "{ran:?}");
    assert_data_eq!(&*ran.stderr, str![[r#"
xmem: web (7): another program changed the target from 512 MiB to 700 MiB; the guest has 1024 MiB (simulated)
hint: does a memory daemon (squeezed, qmemman) manage this domain?

"#]].raw());
    assert_eq!(events_and_result(&ran.stdout).1["wait"]["end"], "target-changed");
    assert_eq!(sim.numbers(7).0, 716_800);
}

#[test]
fn a_domain_that_goes_away_ends_the_wait() {
    let sim = Sim::new();
    let (child, read) = waiting(sim.xmem("set web 512M --wait"));
    sim.edit(|world| drop(world["domains"].as_object_mut().unwrap().remove("7")));
    let ran = end(&sim, child, &read);
    assert_eq!(ran.status.code(), Some(3), "{ran:?}");
    assert_eq!(
        ran.stderr,
        "xmem: web (7): the domain went away before its guest reached the target (simulated)\n"
    );
    let (_, result) = events_and_result(&ran.stdout);
    assert_eq!(
        (&result["error"]["kind"], &result["error"]["exit_code"]),
        (&json!("domain-gone"), &json!(3))
    );
}

#[test]
fn a_failed_change_is_not_waited_for() {
    let sim = Sim::new();
    assert_eq!(sim.xmem("set web 3G --wait").run().status.code(), Some(4));
    assert_eq!(sim.xmem("set web 512M --wait").fault("store-full").run().status.code(), Some(1));
}

#[test]
fn wrong_usage_of_wait_is_explained() {
    let sim = Sim::new();
    for (words, what) in [
        ("set web 512M --patience 1s", "--wait"),
        ("set web 512M --wait=", "xmem: --wait ``: "),
        ("set web 512M --wait=soon", "xmem: --wait `soon`: "),
        ("set web 512M --wait=-1s", "xmem: --wait `-1s`: "),
        ("set web 512M --wait --patience soon", "xmem: --patience `soon`: "),
        ("set web 512M --wait --patience 0", "xmem: --patience `0`: no guest"),
        ("reclaim 10G --from web --patience 0ms", "xmem: --patience `0ms`: no guest"),
        ("set web 512M --wait 10s", "hint: --wait takes its time as --wait=10s"),
        ("list --wait", "unknown option `--wait`"),
    ] {
        let ran = sim.xmem(words).run();
        assert_eq!((ran.status.code(), &*ran.stdout), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.contains(what), "{ran:?}");
    }
}

/// The output on a pseudo-terminal that is stderr.
fn on_a_terminal(call: Call<'_>) -> (Option<i32>, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let other = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let mut child = call.stderr(other).start();
    let mut shown = Vec::new();
    // Linux reports the end of a pseudo-terminal as EIO.
    let _eio = File::from(terminal).read_to_end(&mut shown);
    (child.wait().unwrap().code(), String::from_utf8(shown).unwrap())
}

#[test]
fn a_progress_bar_is_drawn_on_a_terminal() {
    let sim = Sim::new();
    sim.rate(256);
    let with_bar = |call: Call<'_>| on_a_terminal(call.env("TERM", "vt100").moving());
    let (code, shown) = with_bar(sim.xmem("set web 512M --wait"));
    assert_eq!(code, Some(0), "{shown:?}");
    assert!(shown.contains("web (7) [==="), "{shown:?}");
    assert!(shown.contains(" MiB to go"), "{shown:?}");
    // Cleared at the end, with the cursor at the start of the line.
    assert!(shown.ends_with("\r\u{1b}[2K"), "{shown:?}");

    for flag in ["-q", "--json"] {
        let call = sim.xmem("set web +256M --wait").arg(flag);
        let (code, shown) = with_bar(call);
        assert_eq!((code, &*shown), (Some(0), ""), "{flag}");
    }
    // No bar on a dumb terminal, or with log lines in between.
    let dumb = sim.xmem("set web -256M --wait").env("TERM", "dumb");
    let (code, shown) = on_a_terminal(dumb.moving());
    assert_eq!(code, Some(0), "{shown:?}");
    assert!(!shown.contains('\u{1b}') && shown.contains(" MiB to go (simulated)\r\n"), "{shown:?}");
    let (code, shown) = with_bar(sim.xmem("set web -256M --wait -v"));
    assert_eq!(code, Some(0), "{shown:?}");
    assert!(!shown.contains('\u{1b}') && shown.contains(" MiB to go (simulated)\r\n"), "{shown:?}");
}
