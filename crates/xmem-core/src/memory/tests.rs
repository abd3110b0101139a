use std::collections::BTreeMap;

use super::*;
use crate::testing::info;

/// The nodes of a store, by path.
#[derive(Default)]
struct Fixed(BTreeMap<String, Vec<u8>>);

impl Fixed {
    fn with(nodes: &[(&str, &[u8])]) -> Self {
        Self(nodes.iter().map(|(path, value)| ((*path).to_owned(), value.to_vec())).collect())
    }
}

impl Nodes for Fixed {
    fn read_each(&self, paths: &[&str]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        Ok(paths.iter().map(|path| self.0.get(*path).cloned()).collect())
    }
    fn write_each(&self, _: &[(&str, &str)]) -> Result<(), StoreError> {
        Ok(())
    }
    fn list(&self, _: &str) -> Result<Option<Vec<String>>, StoreError> {
        Ok(None)
    }
    fn may_write_any(&self, domid: DomId, paths: &[&str]) -> Result<bool, StoreError> {
        Ok(domid.get() == 9 && paths.contains(&"/local/domain/9/memory/videoram"))
    }
}

/// Domain 7, with one node below its directory.
fn read(node: &str, value: &[u8]) -> Memory {
    let path = format!("/local/domain/7/{node}");
    Memory::read(&Fixed::with(&[(&path, value)]), info(7)).unwrap()
}

#[test]
fn each_node_is_parsed_to_its_unit() {
    assert_eq!(read("memory/target", b"524288").target, Ok(Some(Kib(524_288))));
    // It could not be typed, nor seen in a message.
    assert_eq!(read("name", b"").name, None);
    assert_eq!(read("memory/static-max", b"17179869180").static_max, Ok(Some(UNLIMITED)));
    assert_eq!(read("memory/videoram", b"-1").video_kib(), Ok(-1));
    assert_eq!(read("memory/videoram", b"16384").video_kib(), Ok(16_384));
    assert_eq!(read("other", b"1").video_kib(), Ok(0));
    assert!(read("other", b"1").is_empty());
    assert!(!read("name", b"web").is_empty());
    assert_eq!(read("name", b"\xff").name, None);
}

#[test]
fn a_value_that_is_not_a_size_is_neither_missing_nor_a_number() {
    for value in [
        &b""[..],
        b"-1",
        b"+1",
        b" 1",
        b"1 ",
        b"0x10",
        b"18446744073709551616",
        b"x",
        b"\xff",
        b"1\n",
    ] {
        let memory = read("memory/target", value);
        let error = memory.target.clone().unwrap_err();
        assert_eq!(error.path, "/local/domain/7/memory/target");
        assert!(memory.numbers().is_err() && !memory.is_empty());
        assert!(read("memory/static-max", value).numbers().is_err());
    }
    assert!(read("memory/videoram", b"9999999999").video_kib().is_err());
    let long = read("memory/target", &[b'9'; 500]).target.unwrap_err();
    assert_eq!(long.value.len(), 80);
}

#[test]
fn one_batch_reads_many_domains_and_a_bad_node_spoils_only_its_own() {
    let mut store = Fixed::default();
    let infos: Vec<DomainInfo> = (1..=2500).map(info).collect();
    for info in &infos {
        let domid = info.identity.domid;
        let value = if domid.get() == 3 { "much".to_owned() } else { domid.to_string() };
        store.0.insert(format!("/local/domain/{domid}/memory/target"), value.into_bytes());
    }
    let read = Memory::read_each(&store, &infos).unwrap();
    assert_eq!(read.len(), infos.len());
    for memory in read {
        let domid = memory.info.identity.domid.get();
        let expected = (domid != 3).then(|| Some(Kib(domid.into())));
        assert_eq!(memory.target.ok(), expected);
    }
}

#[test]
fn managers_and_device_models_are_recognised() {
    assert_eq!(read("memory/dynamic-max", b"\xff").manager, Some(Manager::Squeezed));
    assert_eq!(read("memory/hotplug-max", b"1").manager, Some(Manager::Qmemman));
    assert_eq!(read("name", b"web").manager, None);
    assert_eq!(read("target", b"9").device_model_of, DomId::new(9));
    assert_eq!(read("target", b"99999").device_model_of, None);
    assert_eq!(read("target", b"9").target, Ok(None), "not its memory/target");
}

#[test]
fn a_guest_that_may_write_one_of_its_nodes_is_found_out() {
    let ask = |domid| guest_may_write(&Fixed::default(), DomId::new(domid).unwrap()).unwrap();
    assert!(ask(9) && !ask(8) && !ask(0));
}

/// A domain with a target, a maximum, video memory and a limit.
fn memory(domid: u32, target: u64, max: u64, video: i32, limit: u64) -> Memory {
    let info = DomainInfo { limit: Kib(limit), ..info(domid) };
    Memory {
        target: Ok(Some(Kib(target))),
        static_max: Ok(Some(Kib(max))),
        video: Ok(Some(video)),
        ..Memory::of(info)
    }
}

#[test]
fn in_step_means_target_or_size_within_the_maximum() {
    for (target, max, video, above) in [
        (1024, 1024, 0, false),
        (1028, 1024, 0, true),
        // libxl 4.10 to 4.16.0, and dom0less guests.
        (1025, 1024, -1, false),
        (1026, 1024, -1, true),
        // libxl compares the target alone.
        (1024, 1024, 16_384, false),
        (1028, 1024, 16_384, true),
    ] {
        let memory = memory(7, target, max, video, 99_999);
        assert_eq!(memory.is_above_maximum(), above, "{target} {max} {video}");
    }
}

#[test]
fn the_limit_must_hold_target_video_memory_and_slack() {
    assert_eq!(memory(7, 4096, 4096, 0, 5120).missing_limit(), None);
    assert_eq!(memory(7, 4096, 4096, 0, 5116).missing_limit(), Some(Kib(5120)));
    assert_eq!(memory(7, 4096, 4096, 16_384, 21_500).missing_limit(), Some(Kib(21_504)));
    assert_eq!(memory(7, 4097, 4096, -1, 5120).missing_limit(), None);
    // dom0 boots without slack.
    assert_eq!(memory(0, 4096, 4096, 0, 4096).missing_limit(), None);
    assert_eq!(memory(0, 4096, 4096, 0, 4092).missing_limit(), Some(Kib(5120)));
    // A node that makes no sense leaves what the target needs.
    let video = Err(BadNode { path: "/p".to_owned(), value: "x".to_owned() });
    let bad = Memory { video, ..memory(7, 4096, 4096, 0, 5116) };
    assert_eq!(bad.missing_limit(), Some(Kib(5120)));
    // Beyond what the hypervisor can count.
    assert_eq!(memory(7, u64::MAX, 4, 16_384, 5120).missing_limit(), Some(UNLIMITED));
    assert_eq!(memory(7, u64::MAX, 4, 0, UNLIMITED.0).missing_limit(), None);
}
