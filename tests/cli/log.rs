//! `-q`, `-v`, `XMEM_LOG` and `--log-format`: output beside the result.

use serde_json::Value;
use snapbox::str;

use crate::sandbox::Sim;

#[test]
fn quiet_prints_errors_only() {
    let sim = Sim::new();
    sim.xmem("-q set web 536870913b").run().says("");
    assert_eq!(sim.numbers(7).0, 524_288);
    sim.xmem("set -q web 3G").run().fails(4, str![[r#"
xmem: web (7): a target of 3072 MiB is above the domain's maximum of 2048 MiB (memory/static-max); nothing changed (simulated)
hint: ask for at most 2G, or add --raise-max to raise the maximum too

"#]]);
}

#[test]
fn verbose_logs_each_step_with_old_and_new() {
    let sim = Sim::new();
    sim.xmem("-v set web 512M").run().is(
        0,
        str![[r#"
web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)

"#]],
        str![[r#"
debug: web (7): locked
debug: web (7): planned: old target 1024 MiB, static-max 2048 MiB, limit 1025 MiB; new target 512 MiB, static-max 2048 MiB, limit 513 MiB
debug: web (7): written in the transaction: nodes /local/domain/7/memory/target = 524288, /vm/00000000-0000-4000-8000-000000000007/memory = 512
debug: web (7): limit set: from 1025 MiB; to 513 MiB
debug: web (7): populate-on-demand target set: to 513 MiB
debug: web (7): committed

"#]],
    );
}

#[test]
fn log_format_json_makes_every_line_an_object() {
    let sim = Sim::new();
    let ran = sim.xmem("-vv --log-format json set web 512M").run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let lines: Vec<Value> =
        ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"] == "limit set" && line["to"] == "513 MiB"));
    assert!(lines.iter().all(|line| line["timestamp"].as_str().unwrap().ends_with('Z')));
    // Notes, errors and hints are objects too.
    for (words, level, message) in [
        ("set web 536870913b", "INFO", "note: the size was rounded down"),
        ("set web 3G", "ERROR", "xmem: web (7): a target of 3072 MiB is above"),
        ("set web 3G", "ERROR", "hint: ask for at most 2G"),
    ] {
        let ran = sim.xmem(words).arg("--log-format=json").run();
        let mut lines = ran.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let starts = |line: &Value| line["message"].as_str().unwrap().starts_with(message);
        let line = lines.find(starts).unwrap_or_else(|| panic!("{ran:?}"));
        assert_eq!(line["level"], level, "{ran:?}");
    }
}

/// On the sim as on a real host.
#[test]
fn twice_verbose_logs_every_request() {
    let sim = Sim::new();
    let ran = sim.xmem("-vv set web 512M").run();
    for request in ["trace: XEN_DOMCTL_max_mem", "trace: TRANSACTION_END", "trace: WRITE "] {
        assert!(ran.stderr.contains(request), "{ran:?}");
    }
    assert!(!sim.xmem("-v set web 256M").run().stderr.contains("trace: "));
}

#[test]
fn xmem_log_overrides_verbose() {
    let sim = Sim::new();
    let ran = sim.xmem("set web 512M").env("XMEM_LOG", "xmem_core::change=debug").run();
    assert!(ran.stderr.contains("debug: web (7): limit set"), "{ran:?}");
    let ran = sim.xmem("-v set web 256M").env("XMEM_LOG", "xen::lock=trace").run();
    assert!(!ran.stderr.contains("debug: web (7): limit set"), "{ran:?}");
    let ran = sim.xmem("set web 512M").env("XMEM_LOG", "").run();
    assert_eq!(ran.stderr, "");
    sim.xmem("set web 256M").env("XMEM_LOG", "a=b=c").run().fails(
        2,
        str![[r#"
xmem: XMEM_LOG `a=b=c`: not a log filter
hint: a filter looks like `debug` or `xen::lock=trace,xmem_core=debug`

"#]],
    );
}
