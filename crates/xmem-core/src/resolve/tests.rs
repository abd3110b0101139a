use std::time::Duration;

use xen::Kib;
use xen::hypervisor::{HostMemory, Pod};

use super::*;

/// Domains with their names. Nothing can be changed.
struct Host(Vec<(DomainInfo, Option<&'static str>)>);

impl Hypervisor for Host {
    fn domain(&self, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError> {
        Ok(self.domains()?.into_iter().find(|info| info.identity.domid == domid))
    }
    fn domains(&self) -> Result<Vec<DomainInfo>, HypervisorError> {
        Ok(self.0.iter().map(|(info, _)| *info).collect())
    }
    fn set_limit(&self, _: DomId, _: Kib) -> Result<(), HypervisorError> {
        unreachable!()
    }
    fn pod(&self, _: DomId) -> Result<Pod, HypervisorError> {
        unreachable!()
    }
    fn set_pod_target(&self, _: DomId, _: Kib) -> Result<(), HypervisorError> {
        unreachable!()
    }
    fn host_memory(&self) -> Result<HostMemory, HypervisorError> {
        unreachable!()
    }
}

impl Nodes for Host {
    fn read_each(&self, paths: &[&str]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let name = |path: &&str| {
            let of = |(info, _): &&(DomainInfo, _)| *path == Paths::of(info.identity).name();
            self.0.iter().find(of).and_then(|(_, name)| Some(name.as_ref()?.as_bytes().to_vec()))
        };
        Ok(paths.iter().map(name).collect())
    }
    fn write_each(&self, _: &[(&str, &str)]) -> Result<(), StoreError> {
        unreachable!()
    }
    fn list(&self, _: &str) -> Result<Option<Vec<String>>, StoreError> {
        unreachable!()
    }
    fn may_write_any(&self, _: DomId, _: &[&str]) -> Result<bool, StoreError> {
        unreachable!()
    }
}

fn info(domid: u32, uuid: u128, dying: bool) -> DomainInfo {
    DomainInfo {
        identity: Identity { domid: DomId::new(domid).unwrap(), uuid: Uuid::from_u128(uuid) },
        dying,
        shutdown: None,
        paused: false,
        hvm: false,
        current: Kib(4),
        limit: Kib(4),
        outstanding: Kib(0),
        cpu_time: Duration::from_secs(1),
        online_vcpus: 1,
    }
}

fn host() -> Host {
    Host(vec![
        (info(0, 0, false), Some("Domain-0")),
        (info(3, 30, true), None),
        (info(4, 30, false), Some("web")),
        (info(5, 50, false), Some("dup")),
        (info(6, 60, false), Some("dup")),
        (info(8, 80, true), Some("dead")),
        (info(9, 90, false), Some("web--incoming")),
    ])
}

fn found(text: &str) -> Result<u16, ResolveError> {
    let host = host();
    let by_itself = resolve(&host, &host, &text.parse().unwrap());
    by_itself.map(|domain| domain.identity.domid.get())
}

#[test]
fn a_domain_is_found_by_domid_uuid_and_name() {
    assert_eq!(found("4").unwrap(), 4);
    assert_eq!(found("web").unwrap(), 4);
    assert_eq!(found("Domain-0").unwrap(), 0);
    assert_eq!(found(&Uuid::from_u128(90).to_string()).unwrap(), 9);
    assert_eq!(found("dead").unwrap(), 8);
}

#[test]
fn a_living_domain_goes_before_a_dead_one_of_the_same_uuid() {
    assert_eq!(found(&Uuid::from_u128(30).to_string()).unwrap(), 4);
    assert_eq!(found(&Uuid::from_u128(80).to_string()).unwrap(), 8);
}

#[test]
fn an_ambiguous_name_names_the_domids() {
    let error = found("dup").unwrap_err();
    assert_eq!(error.to_string(), "`dup` is the name of several domains: 5, 6");
    assert!(matches!(error, ResolveError::Ambiguous { domids, .. } if domids.len() == 2));
}

#[test]
fn a_name_that_is_not_there_brings_up_a_similar_one() {
    let similar = |text: &str| match found(text).unwrap_err() {
        ResolveError::NoSuchDomain { similar, .. } => similar.map(|name| name.0),
        other => panic!("{other}"),
    };
    assert_eq!(similar("Web").as_deref(), Some("web"));
    assert_eq!(similar("dom0").as_deref(), Some("Domain-0"));
    assert_eq!(similar("nothing"), None);
    assert_eq!(similar("77"), None);
}

#[test]
fn exactly_the_domain_that_was_found_before_is_found_again() {
    let host = host();
    let same = |domid, uuid| DomainRef::Same(info(domid, uuid, false).identity);
    assert!(resolve(&host, &host, &same(4, 30)).is_ok());
    assert!(resolve(&host, &host, &same(4, 31)).is_err());
    let index = DomainIndex::read(&host, &host, []).unwrap();
    assert!(index.find(&same(4, 30)).is_ok() && index.find(&same(4, 31)).is_err());
}

#[test]
fn the_receiver_of_a_migration_is_found_by_its_name() {
    let host = host();
    let web = Name("web".to_owned());
    let index = DomainIndex::read(&host, &host, [&DomainRef::Name(web.clone())]).unwrap();
    assert_eq!(index.receiver_of(&web), DomId::new(9));
    assert_eq!(index.receiver_of(&Name("dup".to_owned())), None);
}

#[test]
fn a_guest_that_rebooted_is_found_under_its_new_domid() {
    let host = host();
    let gone = |domid, uuid, name: Option<&str>| {
        let name = name.map(|name| Name(name.to_owned()));
        let gone = Domain { identity: info(domid, uuid, false).identity, name };
        successor(&host, &host, &gone).unwrap().map(DomId::get)
    };
    assert_eq!(gone(2, 20, Some("web")), Some(4));
    assert_eq!(gone(3, 30, None), Some(4));
    assert_eq!(gone(2, 20, Some("gone")), None);
    assert_eq!(gone(2, 20, Some("dead")), None);
    assert_eq!(gone(2, 0, None), None);
}
