//! `xmem watch` without a terminal: a table per interval, or changes as JSON Lines.

use std::io::{BufRead as _, BufReader};

use snapbox::str;

use crate::sandbox::Sim;

#[test]
fn without_a_terminal_tables_follow_each_other() {
    let sim = Sim::new();
    let ran = sim.xmem("watch web --count 2 --interval 50ms").run();
    // Each begins with the time.
    let tables: Vec<&str> = ran
        .stdout
        .split("\n\n")
        .map(|table| table.split_once("Z\n").map_or("", |(_, table)| table))
        .collect();
    let table = "\
NAME  ID  TYPE  CURRENT  TARGET  LIMIT  MAXIMUM  NOTE
web    7  PVH      1024    1024   1025     2048
host (simulated): total 16384 MiB, free 9216 MiB, claimed 0 MiB; all sizes in MiB";
    assert_eq!((tables, &*ran.stderr), (vec![table, table, ""], ""));
}

#[test]
fn json_reports_only_changes() {
    let sim = Sim::new();
    // Nothing moves: only the first sample (the domain and the host) is printed.
    let ran = sim.xmem("watch web --json --count 3 --interval 50ms").run();
    assert_eq!(ran.stdout.lines().count(), 2, "{ran:?}");

    let mut child = sim.xmem("watch web --json --interval 50ms").start();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next =
        || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["target_kib"], 1_048_576);
    sim.xmem("set web 512M -q").run().says("");
    // A sample during the change may show the new limit and the old target.
    while next()["target_kib"] != 524_288 {}
    sim.edit(|world| {
        world["domains"].as_object_mut().unwrap().remove("7");
    });
    while next()["gone"] != true {}
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_renamed_domain_is_not_called_gone() {
    let sim = Sim::new();
    let mut child = sim.xmem("watch win --json --interval 50ms").start();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next =
        || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["name"], "win");
    sim.edit(|world| world["xenstore"]["/local/domain/9/name"] = "renamed".into());
    let renamed = std::iter::repeat_with(&mut next).find(|it| it["domid"] == 9).unwrap();
    assert_eq!((&renamed["name"], &renamed["gone"]), (&"renamed".into(), &().into()));
}

#[test]
fn a_table_whose_domains_are_gone_says_so() {
    let sim = Sim::new();
    let mut child = sim.xmem("watch web --interval 50ms").start();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    while !next().starts_with("web ") {}
    sim.edit(|world| drop(world["domains"].as_object_mut().unwrap().remove("7")));
    // Tables of before may still be in the pipe.
    let after: Vec<String> =
        std::iter::repeat_with(next).take(60).filter(|line| line.contains("omain")).collect();
    assert_eq!(after.last().map(String::as_str), Some("no such domain any more"));
}

#[test]
fn watch_ends_when_its_pipe_closes() {
    let sim = Sim::new();
    let mut child = sim.xmem("watch --interval 50ms").start();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

/// Long before the interval is over.
#[test]
fn a_new_target_is_reported_at_once() {
    let sim = Sim::new();
    let mut child = sim.xmem("watch web --json --interval 1h").start();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next =
        || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["target_kib"], 1_048_576);
    sim.xmem("set web 512M -q").run().says("");
    while next()["target_kib"] != 524_288 {}
}

/// It is reported as missing.
#[test]
fn an_unknown_domain_hides_no_other() {
    let sim = Sim::new();
    let ran = sim.xmem("watch web nosuch -c 1").run();
    assert_eq!(ran.status.code(), Some(10), "{ran:?}");
    assert!(ran.stdout.contains("\nweb "), "{ran:?}");
    assert!(ran.stderr.starts_with("xmem: there is no domain `nosuch`"), "{ran:?}");
    assert_eq!(sim.xmem("watch nosuch").run().status.code(), Some(3));
}

#[test]
fn wrong_usage_of_watch_is_explained() {
    let sim = Sim::new();
    sim.xmem("watch --interval 1ms").run().fails(
        2,
        str![[r#"
xmem: --interval `1ms`: less than 50 ms
hint: an interval looks like 1s or 250ms

"#]],
    );
    sim.xmem("watch nosuch").run().fails(
        3,
        str![[r#"
xmem: there is no domain `nosuch` on this host (simulated)
hint: `xmem list` shows the domains

"#]],
    );
}
