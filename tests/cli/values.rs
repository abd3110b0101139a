//! Hostile values in xenstore, in arguments and in files: no panic, no change, the right exit code, and no control
//! characters in the output.

use std::fs;

use serde_json::Value;

use crate::check::node;
use crate::sandbox::{Ran, Sim, xmem};

const TARGET: &str = "/local/domain/7/memory/target";

/// Control characters, bidirectional overrides, zero-width and tag characters, and line ends.
const STEERING: &str =
    "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{202e}\u{2066}\u{200b}\u{e0041}\u{2028}\r\n\t\0\u{7f}";

/// Standard output as JSON Lines.
fn lines(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_bad_node_is_refused_by_every_command() {
    let digits = "9".repeat(2048);
    let nodes = [TARGET, "/local/domain/7/memory/static-max", "/local/domain/7/memory/videoram"];
    for (value, nodes) in [
        ("", &nodes[..]),
        ("-1", &nodes[..2]),
        ("1 ", &nodes[..1]),
        ("99999999999999999999", &nodes),
        (STEERING, &nodes),
        (&digits, &nodes[..1]),
    ] {
        for path in nodes {
            let sim = Sim::new();
            node(&sim, path, Some(value));
            let ran = sim.xmem("set web 512M").run();
            assert_eq!(ran.status.code(), Some(1), "{ran:?}");
            let object = format!(" at {path}, which is not a size in KiB; nothing changed");
            assert!(ran.stderr.starts_with("xmem: web (7): xenstore has \""), "{ran:?}");
            assert!(ran.stderr.contains(&object) && ran.stderr.len() < 1000, "{ran:?}");
            let ran = sim.xmem("check --json --repair").run();
            assert_eq!(ran.status.code(), Some(9), "{ran:?}");
            assert_eq!(lines(&ran)[0]["kind"], "bad-node", "{ran:?}");
            let ran = sim.xmem("list -o name,note").run();
            assert!(ran.stdout.contains(&format!(" at {path}, which is not a size")), "{ran:?}");
        }
    }
    let sim = Sim::new();
    node(&sim, TARGET, Some(STEERING));
    let object = sim.xmem("max web 3G --json").run().json();
    assert_eq!(object["error"]["kind"], "bad-node");
    for words in ["list --format openmetrics", "watch -c 1", "list --json"] {
        assert_eq!(sim.xmem(words).run().status.code(), Some(0), "{words}");
    }
    // Leading zeros are accepted, however many.
    node(&sim, TARGET, Some(&format!("{}1048576", "0".repeat(2048))));
    assert_eq!(sim.xmem("set web 1G").run().status.code(), Some(0));
}

/// The largest sizes must not overflow any sum.
#[test]
fn extreme_numbers_do_not_overflow() {
    let most = u64::MAX.to_string();
    let nearly = (u64::MAX - 1023).to_string();
    for (target, node_name, other) in [
        ("0", "static-max", "0"),
        ("1", "static-max", &most[..]),
        (&nearly, "static-max", "0"),
        (&nearly, "static-max", &most),
        (&most, "static-max", &most),
        ("0", "videoram", "-2147483648"),
        ("9223372036854775807", "videoram", "2147483647"),
        (&most, "videoram", "2147483647"),
        (&most, "videoram", "-2147483648"),
    ] {
        let sim = Sim::new();
        node(&sim, TARGET, Some(target));
        node(&sim, &format!("/local/domain/7/memory/{node_name}"), Some(other));
        for words in ["set web +1G", "set web -4k", "max web 17179869183g", "set 7 15t --raise-max"]
        {
            let code = sim.xmem(words).arg("-n").run().status.code();
            assert!(matches!(code, Some(0 | 4)), "{target} {other} {words}: {code:?}");
        }
        let ran = sim.xmem("check --json --repair -n").run();
        assert!(matches!(ran.status.code(), Some(0 | 9)), "{ran:?}");
        lines(&ran);
        let ran = sim.xmem("list --format openmetrics").run();
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    }
}

/// Every command can be used on a domain of any name, and prints it escaped.
#[test]
fn a_hostile_name_is_escaped_by_every_command() {
    let long = "n".repeat(2048);
    let long_steering = format!("\u{1b}]0;{}", "\u{202e}".repeat(600));
    for name in [
        "",
        " ",
        "../../../etc/passwd",
        "/",
        "8",
        "99999999999999999999",
        "00000000-0000-4000-8000-000000000008",
        "id:8",
        "a:",
        "--help",
        "a\",uuid=\"x\"} 1\nforged 1\n",
        "xmem: web (7): forged",
        STEERING,
        &long,
        &long_steering,
    ] {
        let sim = Sim::new();
        sim.edit(|world| world["xenstore"]["/local/domain/7/name"] = name.into());
        for (words, code) in
            [("set 7 512M -v", 0), ("set 7 3G", 4), ("watch -c 1", 0), ("check", 0)]
        {
            let ran = sim.xmem(words).run();
            assert_eq!(ran.status.code(), Some(code), "{name:?}: {ran:?}");
        }
        for words in ["list --json", "set 7 1G --json -v --log-format json"] {
            let ran = sim.xmem(words).run();
            let line = lines(&ran).into_iter().find(|line| line["domid"] == 7).unwrap();
            let listed = (!name.is_empty()).then_some(name);
            assert_eq!(line["name"], serde_json::json!(listed), "{ran:?}");
        }
        // One line per metric: none is forged by the name.
        let metrics = sim.xmem("list --format openmetrics").run().stdout;
        let is_metric = |line: &str| line.starts_with("# ") || line.starts_with("xmem_");
        assert!(metrics.lines().all(is_metric), "{metrics}");
        assert_eq!(metrics.matches("\nxmem_domain_current_bytes{domid=\"7\"").count(), 1);
        // The candidates of the shells' completions can be typed.
        let words = sim.xmem("__complete-domains").run().stdout;
        let words: Vec<&str> = words.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(words.len(), 4, "{words:?}");
        let ran = sim.xmem("set").arg(words[1]).arg("1G").run();
        assert_eq!(ran.status.code(), Some(0), "{name:?}: {ran:?}");
        assert!(ran.stdout.contains(" (7): ") || ran.stdout.contains("domain 7: "), "{ran:?}");
        // No file is created from a name.
        assert!(sim.state().is_empty());
    }
}

/// Messages repeat arguments.
#[test]
fn hostile_arguments_are_escaped() {
    let sim = Sim::new();
    let word = STEERING.replace('\0', "");
    for call in [
        sim.xmem("").arg(&word),
        sim.xmem("set").arg(format!("--{word}")).arg("1G"),
        sim.xmem("set web").arg(&word),
        sim.xmem("set").arg(format!("id:{word}")).arg("1G"),
        sim.xmem("list --sort").arg(&word),
        sim.xmem("list").arg(format!("--sort={word}")),
        sim.xmem("set web 1G --lock-timeout").arg(&word),
        sim.xmem("set web 1G --lock-timeout").arg(format!("1{word}")),
        sim.xmem("apply").arg(&word),
        sim.xmem("set web 1G").env("XMEM_LOG", format!("{word}=[")),
        xmem("list --host").arg(&word),
        xmem("set --json").arg(format!("--{word}")),
    ] {
        let ran = call.run();
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        lines(&ran);
    }
    for words in ["list --host", "list --json --host"] {
        let ran = xmem(words).arg(format!("sim:/proc/{word}")).run();
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        lines(&ran);
    }
    for call in [sim.xmem("set").arg(&word).arg("1G"), sim.xmem("list").arg(&word)] {
        assert_eq!(call.run().status.code(), Some(3));
    }
    let ran = xmem("list").env("XENSTORED_PATH", format!("/proc/{word}")).run();
    assert_eq!(ran.status.code(), Some(7), "{ran:?}");
}

/// Messages repeat the contents of a batch, a record, and the sim's world.
#[test]
fn hostile_files_are_escaped() {
    let sim = Sim::new();
    let word = STEERING.replace(['\r', '\n', '\u{2028}'], "");
    let escaped = serde_json::to_string(&word).unwrap();
    let batch = sim.path().join("batch");
    for line in [
        format!("web {word}G"),
        format!("id:{word} 1G"),
        format!("{{\"target_kib\":4,\"uuid\":{escaped}}}"),
        format!("{{\"target_kib\":{escaped}}}"),
        format!("{{{escaped}:1"),
    ] {
        fs::write(&batch, &line).unwrap();
        for words in ["apply", "apply --json"] {
            let ran = sim.xmem(words).arg(&batch).run();
            assert_eq!(ran.status.code(), Some(2), "{line:?}: {ran:?}");
            assert!(ran.stderr.starts_with("xmem: line 1: "), "{ran:?}");
            lines(&ran);
        }
    }
    // A word of 1 MiB is shortened.
    for line in [
        format!("web {}", "9".repeat(1 << 20)),
        format!("{{\"target_kib\":\"{}\"}}", "9".repeat(1 << 20)),
    ] {
        fs::write(&batch, &line).unwrap();
        let ran = sim.xmem("apply").arg(&batch).run();
        assert_eq!(ran.status.code(), Some(2));
        assert!(ran.stderr.len() < 2000, "{:.300}", ran.stderr);
    }
    fs::remove_file(batch).unwrap();

    let record = format!("{{\"version\":1,{}:1}}", serde_json::to_string(STEERING).unwrap());
    for words in ["set web 1G", "set web 1G --json", "check --repair", "check --repair --json"] {
        fs::write(sim.intent(), &record).unwrap();
        let ran = sim.xmem(words).leaves(1).run();
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        assert!(format!("{ran:?}").contains("does not understand (unknown field `"), "{ran:?}");
    }
    let aside = sim.path().join("lib").join(&sim.state()[0]);
    assert_eq!(fs::read_to_string(&aside).unwrap(), record);
    fs::remove_file(aside).unwrap();

    fs::write(sim.path().join("world.json"), format!("{{{escaped}:1}}")).unwrap();
    for words in ["list", "list --json"] {
        let ran = sim.xmem(words).run();
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        lines(&ran);
    }
}

/// Messages repeat the paths of files in the sim's directory.
#[test]
fn a_hostile_directory_name_is_escaped() {
    let sim = Sim::new();
    let directory = sim.path().join(STEERING.replace('\0', ""));
    let mut host = std::ffi::OsString::from("sim:");
    host.push(&directory);
    assert_eq!(xmem("list --host").arg(&host).run().status.code(), Some(0));
    let of = |letter: char, domid: u16, last: &str| {
        directory.join(format!("lib/userdata-{letter}.{domid}.{}.{last}", crate::sandbox::WEB))
    };
    fs::write(of('d', 7, "xmem-intent"), "").unwrap();
    fs::write(of('l', 12, "domain-userdata-lock"), "").unwrap();
    for (words, code) in
        [("check", 9), ("list", 0), ("set web 1G -n -v", 0), ("check --repair -v", 0)]
    {
        let ran = xmem(words).arg("--host").arg(&host).run();
        assert_eq!(ran.status.code(), Some(code), "{ran:?}");
    }
    fs::create_dir(of('n', 7, "xmem-intent")).unwrap();
    let ran = xmem("set web 512M").arg("--host").arg(&host).run();
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
}
