use std::os::unix::fs::symlink;

use xen::{DomId, Kib, Uuid};

use super::*;

fn file(dir: &Path) -> IntentFile {
    IntentFile::new(dir, Identity { domid: DomId::DOM0, uuid: Uuid::nil() })
}

fn numbers(target: u64) -> Numbers {
    Numbers { target: Some(Kib(target)), static_max: None, limit: Kib(target) }
}

#[test]
fn a_removed_record_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let intent = file(dir.path());
    assert_eq!(intent.read().unwrap(), Record::Absent);
    intent.write(numbers(8), numbers(4)).unwrap();
    intent.write(numbers(4), numbers(8)).unwrap();
    let Record::Intent(found) = intent.read().unwrap() else { panic!() };
    assert_eq!((found.old, found.new, found.pid), (numbers(4), numbers(8), std::process::id()));
    intent.remove().unwrap();
    intent.remove().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn libxl_removes_the_record_with_the_domain() {
    let intent = file(Path::new("/var/lib/xen"));
    let name = "userdata-d.0.00000000-0000-0000-0000-000000000000.xmem-intent";
    assert_eq!(intent.path(), Path::new("/var/lib/xen").join(name));
}

#[test]
fn a_draft_is_replaced_and_a_link_in_its_place_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let intent = file(dir.path());
    let victim = dir.path().join("victim");
    fs::write(&victim, "kept").unwrap();
    symlink(&victim, &intent.draft).unwrap();
    intent.write(numbers(8), numbers(4)).unwrap();
    assert_eq!(fs::read_to_string(victim).unwrap(), "kept");
    assert!(matches!(intent.read().unwrap(), Record::Intent(_)));
}

#[test]
fn a_failed_write_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let intent = file(dir.path());
    fs::create_dir(intent.path()).unwrap();
    assert_eq!(intent.write(numbers(8), numbers(4)).unwrap_err().action, "write");
    assert!(!intent.draft.exists());
}

#[test]
fn a_file_that_xmem_did_not_write_is_foreign() {
    let dir = tempfile::tempdir().unwrap();
    let intent = file(dir.path());
    let good = r#"{"version":1,"pid":1,"old":{"target_kib":4,"static_max_kib":4,"limit_kib":4},"new":{"target_kib":4,"static_max_kib":4,"limit_kib":4}}"#;
    assert!(matches!(parse(good.as_bytes()), Record::Intent(_)));
    for text in [
        "",
        "{",
        &good[..good.len() - 1],
        &good.replace(":1,\"pid\"", ":2,\"pid\""),
        &good.replace("\"pid\":1", "\"pid\":-1"),
        &good.replace("\"limit_kib\":4", "\"limit_kib\":1e99"),
        &good.replace("\"pid\"", "\"more\":1,\"pid\""),
        // Written before the present boot.
        &good.replace("\"pid\"", "\"boot\":\"0f0f0f0f-0000-4000-8000-000000000000\",\"pid\""),
        &" ".repeat(100_000),
        "\u{0}\u{1b}[2J",
    ] {
        fs::write(intent.path(), text).unwrap();
        let Record::Foreign { why } = intent.read().unwrap() else { panic!("{text:.40}") };
        assert!(!why.is_empty() && !why.contains('\u{1b}'), "{why}");
        let aside = intent.set_aside().unwrap();
        assert_eq!(fs::read_to_string(aside).unwrap(), text);
        assert_eq!(intent.read().unwrap(), Record::Absent);
    }
    fs::create_dir(intent.path()).unwrap();
    assert!(matches!(intent.read().unwrap(), Record::Foreign { .. }));
    fs::remove_dir(intent.path()).unwrap();
    symlink("/dev/zero", intent.path()).unwrap();
    assert!(matches!(intent.read().unwrap(), Record::Foreign { .. }));
}
