//! Stale files in the state directory.

use std::fs;
use std::time::Duration;

use xen::lock::Lock;
use xen::userdata::{LOCK, Letter};
use xen::{DomId, Identity, NoInterrupt, Uuid};
use xmem_core::check::{RepairAction, RepairOutcome, repair};
use xmem_core::diagnosis::Fix;
use xmem_core::intent::{RECORD, SET_ASIDE};

use crate::scene::{Scene, said};

fn gone(domid: u32) -> Identity {
    Identity { domid: DomId::new(domid).unwrap(), uuid: Uuid::from_u128(0xdead) }
}

#[test]
fn files_of_a_gone_domain_are_stale_and_name_its_uuid() {
    let scene = Scene::new();
    let paths = [
        scene.leave(gone(7), Letter::Lock, LOCK),
        scene.leave(gone(7), Letter::Data, RECORD),
        scene.leave(gone(7), Letter::New, RECORD),
        scene.leave(gone(7), Letter::Data, SET_ASIDE),
    ];
    let report = scene.check();
    let mut words = said(&report.findings);
    words.sort();
    assert_eq!(
        words,
        [
            "domain 7: stale-lock",
            "domain 7: stale-record",
            "domain 7: stale-record",
            "domain 7: stale-record"
        ]
    );
    for finding in &report.findings {
        // The domain that now has domid 7 is another one.
        assert!(
            finding.diagnosis.message.contains("gone (UUID 00000000-0000-0000-0000-00000000dead)")
        );
        assert!(finding.diagnosis.is_repairable() && !finding.diagnosis.is_out_of_step());
    }
    let host = scene.host();
    let repaired = repair(&host, &report, &[], Duration::ZERO, &NoInterrupt);
    for (_, outcome) in &repaired.findings {
        assert_eq!(*outcome, RepairOutcome::Repaired(RepairAction::Removed));
    }
    assert!(repaired.failures.is_empty() && paths.iter().all(|path| !path.exists()));
    assert_eq!(said(&repaired.after.findings), [""; 0]);
}

#[test]
fn files_of_a_living_domain_have_its_name() {
    let scene = Scene::new();
    let web = scene.identity(7);
    let aside = scene.leave(web, Letter::Data, SET_ASIDE);
    scene.leave(web, Letter::New, RECORD);
    scene.leave(web, Letter::Lock, LOCK);
    let report = scene.check();
    let mut words = said(&report.findings);
    words.sort();
    assert_eq!(words, ["web (7): set-aside", "web (7): stale-lock", "web (7): stale-record"]);
    let host = scene.host();
    let repaired = repair(&host, &report, &[], Duration::ZERO, &NoInterrupt);
    assert_eq!(said(&repaired.after.findings), ["web (7): set-aside"]);
    // A set-aside record stays for an admin to read.
    let found = &repaired.after.findings[0].diagnosis;
    assert_eq!(found.fix, Some(Fix::RemoveRecord(aside.clone())));
    assert!(aside.exists());
}

#[test]
fn the_lock_file_of_a_killed_change_is_no_second_finding() {
    let scene = Scene::new();
    scene.kill_a_change(7, xen::Kib::from_mib(512));
    scene.leave(scene.identity(7), Letter::Lock, LOCK);
    assert_eq!(said(&scene.check().findings), ["web (7): interrupted-change"]);
}

#[test]
fn a_held_lock_of_a_gone_domain_is_not_removed() {
    let scene = Scene::new();
    let lock = Lock::take(scene.state_dir(), gone(33), Duration::ZERO, &NoInterrupt).unwrap();
    scene.leave(gone(33), Letter::Data, RECORD);
    let report = scene.check();
    let mut words = said(&report.findings);
    words.sort();
    assert_eq!(words, ["domain 33: locked", "domain 33: stale-record"]);
    let host = scene.host();
    let repaired = repair(&host, &report, &[], Duration::ZERO, &NoInterrupt);
    assert_eq!(repaired.failures.len(), 1);
    assert_eq!(said(&repaired.after.findings).len(), 2);
    drop(lock);
}

#[test]
fn an_obstacle_in_place_of_a_gone_domains_lock_is_a_notice() {
    let scene = Scene::new();
    fs::create_dir(scene.file(gone(33), Letter::Lock, LOCK)).unwrap();
    let report = scene.check();
    assert_eq!(said(&report.findings), ["domain 33: unusable-lock"]);
    let found = &report.findings[0].diagnosis;
    assert!(!found.is_out_of_step());
    // There is no memory to be changed.
    assert!(found.message.starts_with("gone (UUID "), "{}", found.message);
    assert!(found.meaning.starts_with("harmless, unless "), "{}", found.meaning);
}

#[test]
fn unknown_files_are_left_alone() {
    let scene = Scene::new();
    let uuid = gone(7).uuid;
    let names = [
        format!("userdata-d.7.{uuid}.libxl-json"),
        format!("userdata-l.7.{uuid}.libxl-device-changes-lock"),
        format!("userdata-d.7.{uuid}.domain-userdata-lock"),
        format!("userdata-l.7.{uuid}.xmem-intent"),
        format!("userdata-d.7.{uuid}.xmem-intent-foreign~"),
        format!("userdata-d.7.{uuid}.xmem-intent.bak"),
        format!("userdata-dd.7.{uuid}.xmem-intent"),
        format!("userdata-d.007.{uuid}.xmem-intent"),
        format!("userdata-d.32752.{uuid}.xmem-intent"),
        "userdata-d.7.xmem-intent".to_owned(),
        "xmem-intent".to_owned(),
    ];
    for name in &names {
        fs::write(scene.state_dir().join(name), "").unwrap();
    }
    assert_eq!(said(&scene.check().findings), [""; 0]);
}

#[test]
fn a_record_that_cannot_be_parsed_says_why() {
    let scene = Scene::new();
    let path = scene.leave(scene.identity(7), Letter::Data, RECORD);
    fs::write(&path, "{").unwrap();
    let report = scene.check();
    assert_eq!(said(&report.findings), ["web (7): interrupted-change"]);
    let found = &report.findings[0].diagnosis;
    assert!(
        found.message.starts_with("an intent record that xmem does not act on (EOF"),
        "{found:?}"
    );
    assert!(found.is_repairable());
}
