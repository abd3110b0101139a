//! `--json`: one object on stdout for every outcome, with keys that scripts rely on.

use serde_json::{Value, json};

use crate::sandbox::{Sim, WEB, xmem};

#[test]
fn a_change_has_old_and_new_numbers() {
    let sim = Sim::new();
    let ran = sim.xmem("set web 536870913b --json").run();
    assert_eq!((ran.status.code(), &*ran.stderr), (Some(0), ""));
    assert_eq!(
        ran.json(),
        json!({
            "schema": 2, "command": "set", "simulated": true,
            "domid": 7, "name": "web", "uuid": WEB,
            "changed": true, "dry_run": false,
            "old": { "target_kib": 1_048_576, "size_kib": 1_048_576, "static_max_kib": 2_097_152, "limit_kib": 1_049_600 },
            "new": { "target_kib": 524_288, "size_kib": 524_288, "static_max_kib": 2_097_152, "limit_kib": 525_312 },
            "state": "running", "current_kib": 1_048_576,
            "notes": [{"kind": "rounded", "text": "the size was rounded down by 1 byte to whole 4 KiB pages"}],
        })
    );
}

#[test]
fn a_size_already_set_is_unchanged_and_succeeds() {
    let sim = Sim::new();
    let object = sim.xmem("--json mem-set web 1G").run().json();
    // An alias reports the command's name.
    assert_eq!(
        (&object["command"], &object["changed"], &object["dry_run"]),
        (&json!("set"), &json!(false), &json!(false))
    );
    assert_eq!(object["old"], object["new"]);
    assert_eq!(object["notes"], json!([]));
}

#[test]
fn a_dry_run_says_whether_it_would_change_anything() {
    let sim = Sim::new();
    let object = sim.xmem("max web 4G --json -n").run().json();
    assert_eq!(
        (&object["command"], &object["changed"], &object["would_change"], &object["dry_run"]),
        (&json!("max"), &json!(false), &json!(true), &json!(true))
    );
    assert_eq!(object["new"]["static_max_kib"], 4_194_304);
    std::fs::write(sim.path().join("batch"), "web 1G\n").unwrap();
    let batch = format!("apply {} --json -n", sim.path().join("batch").display());
    for words in ["set web 1G --json -n", "set web +0 --json -n", "max web +0 --json -n", &batch] {
        let object = sim.xmem(words).run().json();
        assert_eq!(
            (&object["would_change"], &object["dry_run"]),
            (&json!(false), &json!(true)),
            "{words}"
        );
    }
}

/// Null, not zero.
#[test]
fn missing_nodes_are_null() {
    let sim = Sim::new();
    sim.edit(|world| {
        let nodes = world["xenstore"].as_object_mut().unwrap();
        assert!(nodes.remove("/local/domain/0/memory/target").is_some());
        assert!(nodes.remove("/local/domain/0/name").is_some());
    });
    let object = sim.xmem("set 0 1G --json").run().json();
    assert_eq!((&object["old"]["target_kib"], &object["name"]), (&Value::Null, &Value::Null));
}

#[test]
fn every_number_has_its_unit_in_its_key() {
    fn check(value: &Value) {
        for (key, value) in value.as_object().unwrap() {
            match value {
                Value::Number(_) if ["schema", "domid", "exit_code"].contains(&&**key) => {}
                Value::Number(_) => {
                    assert!(key.ends_with("_kib") || key.ends_with("_ms"), "{key}");
                }
                Value::Object(_) => check(value),
                _ => {}
            }
        }
    }
    let sim = Sim::new();
    check(&sim.xmem("set web 512M --json").run().json());
    check(&sim.xmem("set web 3G --json").run().json());
    let ran = sim.xmem("set web 256M --json --wait=0").run();
    check(&ran.json());
    let ran = sim.xmem("set web 128M --json --wait=10ms").run();
    check(&serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap());
}

/// Errors of every kind: the object repeats stderr's message and the exit code.
#[test]
fn every_failure_is_an_object() {
    for (words, fault, code, kind, state) in [
        ("set web 1.5G", "", 2, "usage", "unchanged"),
        ("set id:web 1G", "", 2, "usage", "unchanged"),
        ("set web 1G --lock-timeout soon", "", 2, "usage", "unchanged"),
        ("set nobody 1G", "", 3, "no-such-domain", "unchanged"),
        ("set web 512M", "gone", 3, "domain-gone", "unchanged"),
        ("set web 3G", "", 4, "refused", "unchanged"),
        ("max web 1M", "", 4, "refused", "unchanged"),
        ("set web 512M --lock-timeout 0", "lock-busy", 5, "lock-busy", "unchanged"),
        ("set web 512M", "conflict", 6, "conflicts", "rolled-back"),
        ("set web 512M", "no-xen", 7, "hypervisor", "unchanged"),
        ("set web 512M", "no-permission", 7, "hypervisor", "unchanged"),
        ("set web 512M", "not-control", 7, "hypervisor", "unchanged"),
        ("set web 512M", "store-down", 7, "xenstore", "unchanged"),
        ("set web 512M", "store-full", 1, "xenstore", "unchanged"),
        ("set web 512M", "pod-refused", 1, "hypervisor", "rolled-back"),
        ("set web 512M", "commit-lost-undone", 1, "xenstore", "rolled-back"),
        ("set web 512M", "commit-unknown", 9, "xenstore", "out-of-step"),
    ] {
        let sim = Sim::new();
        let call = sim.xmem(words).arg("--json").fault(fault);
        let ran = call.leaves(usize::from(code == 9)).run();
        assert_eq!(ran.status.code(), Some(code), "{ran:?}");
        let object = ran.json();
        let error = &object["error"];
        assert_eq!((&object["schema"], &object["changed"]), (&json!(2), &json!(false)), "{ran:?}");
        assert_eq!((&error["exit_code"], &error["kind"]), (&json!(code), &json!(kind)), "{ran:?}");
        assert_eq!(error["state"], state, "{ran:?}");
        let mut lines = ran.stderr.lines().filter(|line| !line.starts_with("warning: "));
        let first = lines.next().unwrap().strip_prefix("xmem: ").unwrap();
        assert!(first.starts_with(error["message"].as_str().unwrap()), "{ran:?}");
        let hint = lines.next().map(|line| line.split_once(": ").unwrap().1);
        assert_eq!(error["hint"].as_str(), hint, "{ran:?}");
        assert_eq!(lines.next(), None, "{ran:?}");
    }
}

/// Wrong usage, found before a host is asked.
#[test]
fn wrong_usage_is_an_object_without_a_domain() {
    let object = xmem("set web 1G --json --host kvm").run().json();
    assert_eq!((&object["simulated"], &object["domid"]), (&json!(false), &Value::Null));
    assert_eq!(object["error"]["kind"], "usage");
    let ran = xmem("set web 1G --json").env("XMEM_LOG", "a=b=c").run();
    assert_eq!((ran.status.code(), &ran.json()["error"]["kind"]), (Some(2), &json!("usage")));
}

#[test]
fn a_failure_names_the_domain_that_was_found() {
    let sim = Sim::new();
    let object = sim.xmem("set 7 3G --json").run().json();
    assert_eq!(
        (&object["domid"], &object["name"], &object["uuid"]),
        (&json!(7), &json!("web"), &json!(WEB))
    );
}

/// The number of the operating system's error says nothing more.
#[test]
fn an_error_about_a_file_is_as_on_standard_error() {
    for file in ["/nonexistent", "/"] {
        let ran = Sim::new().xmem("--json apply").arg(file).run();
        let objects = ran.objects();
        let message = objects[0]["error"]["message"].as_str().unwrap();
        assert!(!message.contains("os error"), "{message}");
        assert!(ran.stderr.starts_with(&format!("xmem: {message}\n")), "{ran:?}");
    }
}
