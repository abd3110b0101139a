use std::path::Path;
use std::sync::{Arc, Mutex};

use xen::xenstore::Store;
use xen::{Host as _, Kib};
use xmem_sim::{Faults, GuestType, SimHost, World};

use super::*;

fn identity(domid: u32, uuid: u128) -> Identity {
    Identity { domid: DomId::new(domid).unwrap(), uuid: Uuid::from_u128(uuid) }
}

fn host() -> (SimHost, Box<dyn Store>) {
    let mut world = World::empty(Kib::from_mib(1024));
    for (domid, uuid, dying, name) in [
        (0, 0, false, "Domain-0"),
        (3, 30, true, ""),
        (4, 30, false, "web"),
        (5, 50, false, "dup"),
        (6, 60, false, "dup"),
        (8, 80, true, "dead"),
        (9, 90, false, "web--incoming"),
    ] {
        let domain = world.create(domid, name, GuestType::Pv, Kib(4), Kib(4), 0);
        (domain.uuid, domain.dying) = (Uuid::from_u128(uuid), dying);
    }
    world.remove("/local/domain/3");
    let host = SimHost::in_memory(
        &Arc::new(Mutex::new(world)),
        Path::new("/nonexistent"),
        Faults::default(),
    );
    let store = host.connect().unwrap();
    (host, store)
}

fn found(text: &str) -> Result<u16, ResolveError> {
    let (host, store) = host();
    let domain = resolve(&host, &*store, &text.parse().unwrap());
    domain.map(|domain| domain.identity.domid.get())
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
fn a_living_domain_comes_before_a_dead_one_of_the_same_uuid() {
    assert_eq!(found(&Uuid::from_u128(30).to_string()).unwrap(), 4);
    assert_eq!(found(&Uuid::from_u128(80).to_string()).unwrap(), 8);
}

#[test]
fn an_ambiguous_name_is_reported_with_its_domids() {
    let error = found("dup").unwrap_err();
    assert_eq!(error.to_string(), "`dup` names several domains: 5, 6");
    assert!(matches!(error, ResolveError::Ambiguous { domids, .. } if domids.len() == 2));
}

#[test]
fn an_unknown_name_is_reported_with_a_similar_one() {
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
fn only_the_same_domain_is_found_again() {
    let (host, store) = host();
    let same = |domid, uuid| DomainRef::Same(identity(domid, uuid).into());
    assert!(resolve(&host, &*store, &same(4, 30)).is_ok());
    assert!(resolve(&host, &*store, &same(4, 31)).is_err());
    let index = DomainIndex::read(&host, &*store, []).unwrap();
    assert!(index.find(&same(4, 30)).is_ok() && index.find(&same(4, 31)).is_err());
}

#[test]
fn the_receiver_of_a_migration_is_found_by_its_name() {
    let (host, store) = host();
    let web = Name("web".to_owned());
    let index = DomainIndex::read(&host, &*store, [&DomainRef::Name(web.clone())]);
    let index = index.unwrap();
    assert_eq!(index.receiver_of(&web), DomId::new(9));
    assert_eq!(index.receiver_of(&Name("dup".to_owned())), None);
}

#[test]
fn a_guest_that_rebooted_is_found_under_its_new_domid() {
    let (host, store) = host();
    let gone = |domid, uuid, name: Option<&str>| {
        let name = name.map(|name| Name(name.to_owned()));
        let gone = Domain { identity: identity(domid, uuid), name };
        successor(&host, &*store, &gone).unwrap().map(DomId::get)
    };
    assert_eq!(gone(2, 20, Some("web")), Some(4));
    assert_eq!(gone(3, 30, None), Some(4));
    assert_eq!(gone(2, 20, Some("gone")), None);
    assert_eq!(gone(2, 20, Some("dead")), None);
    assert_eq!(gone(2, 0, None), None);
}
