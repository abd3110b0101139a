//! `xmem list`.

use serde_json::{Value, json};
use snapbox::str;

use crate::sandbox::{Sim, WEB};

/// The JSON objects, one a line.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn all_domains_with_their_numbers() {
    let sim = Sim::new();
    for command in ["list", "ls"] {
        sim.xmem(command).run().says(str![[r#"
NAME      ID  TYPE  CURRENT  TARGET  LIMIT  MAXIMUM  NOTE
Domain-0   0  PV       2048    2048   none     none
web        7  PVH      1024    1024   1025     2048
db         8  PV       2048    2048   2049     4096
win        9  HVM      2048    2032   2049     2048
host: total 16384 MiB, free 9216 MiB, claimed 0 MiB

"#]]);
    }
}

#[test]
fn some_domains_and_those_that_are_not_there() {
    let sim = Sim::new();
    let ran = sim.xmem("list id:8").arg(WEB).run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert!(ran.stdout.contains("\nweb") && ran.stdout.contains("\ndb"), "{ran:?}");
    assert!(!ran.stdout.contains("\nwin"), "{ran:?}");

    let ran = sim.xmem("list web nobody").run();
    assert_eq!(ran.status.code(), Some(10), "{ran:?}");
    assert!(ran.stdout.contains("\nweb"), "{ran:?}");
    assert!(ran.stderr.starts_with("xmem: there is no `nobody` on this host"), "{ran:?}");

    let ran = sim.xmem("list nobody 12").run();
    assert_eq!(ran.status.code(), Some(3), "{ran:?}");
    assert_eq!(ran.stderr.matches("xmem: there is no ").count(), 2, "{ran:?}");
}

#[test]
fn in_json_a_line_for_each_and_one_for_the_host() {
    let sim = Sim::new();
    let ran = sim.xmem("list --json web win").run();
    assert_eq!((ran.status.code(), &*ran.stderr), (Some(0), ""));
    let lines = lines(&ran.stdout);
    assert_eq!(
        lines[0],
        json!({
            "schema": 1, "command": "list", "simulated": true,
            "domid": 7, "name": "web", "uuid": WEB, "type": "PVH",
            "current_kib": 1_048_576, "target_kib": 1_048_576, "limit_kib": 1_049_600,
            "static_max_kib": 2_097_152, "videoram_kib": 0, "notes": [],
        })
    );
    assert_eq!((&lines[1]["name"], &lines[1]["videoram_kib"]), (&json!("win"), &json!(16_384)));
    assert_eq!(lines[2]["host"]["free_kib"], 9_437_184);
    assert_eq!(lines.len(), 3);
}

#[test]
fn sorted() {
    let sim = Sim::new();
    for (key, first, last) in [
        ("id", "Domain-0", "win"),
        ("name", "Domain-0", "win"),
        ("current", "Domain-0", "web"),
        ("target", "Domain-0", "web"),
        ("limit", "Domain-0", "web"),
        ("max", "Domain-0", "win"),
    ] {
        let ran = sim.xmem("list --sort").arg(key).run();
        let names: Vec<&str> =
            ran.stdout.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!((names[0], names[3]), (first, last), "{key}: {ran:?}");
    }
}

/// What a killed run left, and what else is off, is said; `list` itself settles nothing.
#[test]
fn it_changes_nothing() {
    let sim = Sim::new();
    let ran = sim.xmem("set web 512M").fault("kill-before-commit").leaves(2).run();
    assert_eq!(ran.status.code(), None);
    let before = (sim.world(), sim.state());
    let ran = sim.xmem("list").leaves(2).run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let web = ran.stdout.lines().find(|line| line.starts_with("web")).unwrap();
    assert!(web.len() > ran.stdout.lines().next().unwrap().find("NOTE").unwrap(), "{ran:?}");
    assert_eq!((sim.world(), sim.state()), before);
}

/// The sandbox looks for what is not escaped.
#[test]
fn names_cannot_steer_a_terminal() {
    let sim = Sim::new();
    let name = "\u{1b}[31mred\u{202e}\u{9b}\n\"x";
    sim.edit(|world| world["xenstore"]["/local/domain/7/name"] = name.into());
    let ran = sim.xmem("list").run();
    assert!(ran.stdout.contains("\n\\u{1b}[31mred\\u{202e}\\u{9b}\\n\"x  "), "{ran:?}");
    let ran = sim.xmem("list --json 7").run();
    assert_eq!(lines(&ran.stdout)[0]["name"], name);
}

#[test]
fn a_host_out_of_reach() {
    let sim = Sim::new();
    for fault in ["no-xen", "not-control", "store-down"] {
        let ran = sim.xmem("list").fault(fault).run();
        assert_eq!(ran.status.code(), Some(7), "{ran:?}");
        assert!(ran.stderr.starts_with("xmem: ") && ran.stderr.contains("\nhint: "), "{ran:?}");
        assert!(!ran.stderr.contains("nothing is changed"), "{ran:?}");
        let ran = sim.xmem("list --json").fault(fault).run();
        assert_eq!(ran.json()["error"]["exit_code"], 7);
    }
}
