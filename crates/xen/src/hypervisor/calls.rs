//! [`Hypervisor`] by hypercalls: which call, with which interface version, and how its reply is read.

use std::fmt;
use std::io;
use std::sync::OnceLock;

use rustix::io::Errno;

use super::abi::{self, Call, Page};
use super::interface::Interface;
use super::privcmd::Device;
use super::{DomainInfo, HostMemory, Hypervisor, HypervisorError, Pod};
use crate::domain::DomId;
use crate::size::Kib;

/// Whether the machine has populate on demand: x86 only; Xen for Arm answers ENOSYS.
const HAS_POD: bool = cfg!(any(target_arch = "x86_64", target_arch = "x86"));

/// A way to make hypercalls.
pub(super) trait Port: fmt::Debug + Send + Sync {
    /// Makes `call` with the request that `fill` writes. `fill` sees the page at the address that Xen gets, and may run
    /// more than once.
    fn call(&self, call: &Call, fill: &dyn Fn(&mut Page)) -> Result<Reply, HypervisorError>;
}

/// What a successful hypercall leaves.
pub(super) struct Reply {
    pub(super) result: i32,
    pub(super) page: Box<Page>,
}

/// The hypervisor of this host, through Linux's privcmd device.
///
/// The domctl and sysctl interface versions are found at the first call that needs one and kept. The search makes only
/// calls that change nothing. On a Xen that is newer than the newest known interface version (Xen 4.22's), these calls
/// fail with [`HypervisorError::UnknownInterface`]: no layout is guessed.
///
/// ```no_run
/// use xen::hypervisor::{Hypervisor, Privcmd};
///
/// let xen = Privcmd::open()?;
/// for domain in xen.domains()? {
///     println!("{} holds {}", domain.identity.domid, domain.current);
/// }
/// # Ok::<(), xen::hypervisor::HypervisorError>(())
/// ```
#[derive(Debug)]
pub struct Privcmd {
    port: Box<dyn Port>,
    running: OnceLock<Option<(u32, u32)>>,
    domctl: Interface,
    sysctl: Interface,
}

impl Privcmd {
    /// Opens `/dev/xen/privcmd`, or `/proc/xen/privcmd` if it does not exist. Makes no hypercall.
    ///
    /// # Errors
    /// [`HypervisorError::NoXen`] if neither exists, [`HypervisorError::Device`] if it cannot be opened (only root
    /// may).
    pub fn open() -> Result<Self, HypervisorError> {
        Ok(Self::over(Device::open()?))
    }

    fn over(port: impl Port + 'static) -> Self {
        Self {
            port: Box::new(port),
            running: OnceLock::new(),
            domctl: Interface::domctl(),
            sysctl: Interface::sysctl(),
        }
    }

    fn call(&self, call: &Call, fill: impl Fn(&mut Page)) -> Result<Reply, HypervisorError> {
        let outcome = self.port.call(call, &fill);
        let result = outcome.as_ref().map(|reply| reply.result);
        tracing::trace!(call = call.name, ?result, "hypercall");
        outcome
    }

    /// The running Xen's release, or `None` if it is not known, which costs some guesses.
    fn running(&self) -> Option<(u32, u32)> {
        *self.running.get_or_init(|| {
            let reply = self.call(&abi::VERSION, |page| page.fill(0)).ok()?;
            abi::release(reply.result)
        })
    }

    /// Makes a domctl or a sysctl; `fill` and `read` get the interface version.
    fn versioned<T>(
        &self,
        interface: &Interface,
        call: &Call,
        fill: impl Fn(&mut Page, u32),
        read: impl Fn(&Page, u32) -> T,
    ) -> Result<T, HypervisorError> {
        interface.call(
            || self.running(),
            |version| {
                let reply = self.call(call, |page| fill(page, version))?;
                Ok(read(&reply.page, version))
            },
        )
    }
}

impl Hypervisor for Privcmd {
    fn domain(&self, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError> {
        let outcome = self.versioned(
            &self.domctl,
            &abi::GETDOMAININFO,
            |page, version| abi::getdomaininfo(page, version, domid),
            |page, version| abi::domain_info(page, version, domid),
        );
        match outcome {
            Err(error) if error.errno() == Some(Errno::SRCH) => Ok(None),
            outcome => outcome,
        }
    }

    fn domains(&self) -> Result<Vec<DomainInfo>, HypervisorError> {
        let mut all: Vec<DomainInfo> = Vec::new();
        let mut first = DomId::DOM0;
        loop {
            let (infos, more) = self.versioned(
                &self.sysctl,
                &abi::GETDOMAININFOLIST,
                |page, version| abi::getdomaininfolist(page, version, first),
                abi::domain_infos,
            )?;
            if !abi::are_in_order(first, &infos) {
                let source = io::Error::new(io::ErrorKind::InvalidData, "it is not in order");
                return Err(HypervisorError::BadReply {
                    call: abi::GETDOMAININFOLIST.name,
                    source,
                });
            }
            all.extend(infos);
            let next = all.last().and_then(|last| {
                DomId::new(u32::from(last.identity.domid.get()).saturating_add(1))
            });
            match next {
                Some(next) if more && next > first => first = next,
                _ => return Ok(all),
            }
        }
    }

    fn set_limit(&self, domid: DomId, limit: Kib) -> Result<(), HypervisorError> {
        // The interface version is found by a call that changes nothing.
        if self.domctl.version().is_none() {
            self.domain(DomId::DOM0)?;
        }
        let Some(version) = self.domctl.version() else {
            let source = io::Error::other("the domctl interface version is not known");
            return Err(HypervisorError::BadReply { call: abi::GETDOMAININFO.name, source });
        };
        self.call(&abi::MAX_MEM, |page| abi::max_mem(page, version, domid, limit)).map(drop)
    }

    /// On other machines than x86, zeros without a call.
    fn pod(&self, domid: DomId) -> Result<Pod, HypervisorError> {
        if !HAS_POD {
            return Ok(Pod { cache: Kib(0), entries: Kib(0) });
        }
        let fill = |page: &mut Page| abi::pod_target(page, domid, Kib(0));
        self.call(&abi::GET_POD_TARGET, fill).map(|reply| abi::pod(&reply.page))
    }

    /// On other machines than x86, success without a call, as in libxc.
    fn set_pod_target(&self, domid: DomId, target: Kib) -> Result<(), HypervisorError> {
        if !HAS_POD {
            return Ok(());
        }
        let fill = |page: &mut Page| abi::pod_target(page, domid, target);
        self.call(&abi::SET_POD_TARGET, fill).map(drop)
    }

    fn host_memory(&self) -> Result<HostMemory, HypervisorError> {
        self.versioned(&self.sysctl, &abi::PHYSINFO, abi::physinfo, abi::host_memory)
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::hypervisor::abi::PAGE_BYTES;

    /// A Xen with its numbers from the headers, not from `abi`'s structures.
    #[derive(Debug, Default)]
    struct Xen {
        release: i32,
        domctl: u32,
        sysctl: u32,
        /// Pages of each domain.
        domains: BTreeMap<u16, u64>,
        /// The errno of every sysctl, if it has one.
        no_sysctl: Option<Errno>,
        /// Up to 4.17, the answer for a domid that does not exist is the next higher domain.
        answers_next: bool,
        /// The calls made: hypercall number, command, interface version.
        log: Vec<(u64, u32, u32)>,
        limits: Vec<(u16, u64)>,
    }

    #[derive(Clone, Debug)]
    struct Fake(Arc<Mutex<Xen>>);

    fn word(page: &Page, at: usize) -> u32 {
        u32::from_ne_bytes(page[at..][..4].try_into().unwrap())
    }

    fn put(page: &mut Page, at: usize, bytes: &[u8]) {
        page[at..][..bytes.len()].copy_from_slice(bytes);
    }

    impl Port for Fake {
        fn call(&self, call: &Call, fill: &dyn Fn(&mut Page)) -> Result<Reply, HypervisorError> {
            let mut page = Box::new([0; PAGE_BYTES]);
            fill(&mut page);
            let mut xen = self.0.lock().unwrap();
            let (cmd, version) = (word(&page, 0), word(&page, 4));
            xen.log.push((call.number, cmd, version));
            let refused = |errno: Errno| {
                Err(HypervisorError::Refused { call: call.name, source: errno.into() })
            };
            match call.number {
                17 => return Ok(Reply { result: xen.release, page }),
                36 if version != xen.domctl => return refused(Errno::ACCESS),
                35 if xen.no_sysctl.is_some() => return refused(xen.no_sysctl.unwrap()),
                35 if version != xen.sysctl => return refused(Errno::ACCESS),
                _ => {}
            }
            let domid = u16::from_ne_bytes([page[8], page[9]]);
            let stride = 112 + if cfg!(target_arch = "aarch64") { 8 } else { 0 };
            match (call.number, cmd) {
                (36, 5) => {
                    let found = xen.domains.range(domid..).next().map(|(id, pages)| (*id, *pages));
                    match found.filter(|(found, _)| xen.answers_next || *found == domid) {
                        Some((found, pages)) => {
                            put(&mut page, 16, &found.to_ne_bytes());
                            put(&mut page, 24, &pages.to_ne_bytes());
                        }
                        None => return refused(Errno::SRCH),
                    }
                }
                (36, 11) => {
                    let kib = u64::from_ne_bytes(page[16..24].try_into().unwrap());
                    xen.limits.push((domid, kib));
                }
                (35, 6) => {
                    let room = usize::try_from(word(&page, 12)).unwrap();
                    let buffer = u64::from_ne_bytes(page[16..24].try_into().unwrap());
                    let at = usize::try_from(buffer).unwrap() - page.as_ptr().addr();
                    let listed: Vec<_> = xen.domains.range(domid..).take(room).collect();
                    for (place, (id, pages)) in listed.iter().enumerate() {
                        put(&mut page, at + place * stride, &id.to_ne_bytes());
                        put(&mut page, at + place * stride + 8, &pages.to_ne_bytes());
                    }
                    let count = u32::try_from(listed.len()).unwrap();
                    put(&mut page, 24, &count.to_ne_bytes());
                }
                _ => {}
            }
            Ok(Reply { result: 0, page })
        }
    }

    /// A Xen of this version and a client of it.
    fn xen(domctl: u32, sysctl: u32, domids: impl IntoIterator<Item = u16>) -> (Fake, Privcmd) {
        let domains = domids.into_iter().map(|id| (id, u64::from(id) + 1)).collect();
        let xen = Xen { release: 0x0004_0014, domctl, sysctl, domains, ..Xen::default() };
        let fake = Fake(Arc::new(Mutex::new(xen)));
        (fake.clone(), Privcmd::over(fake))
    }

    fn domid(number: u16) -> DomId {
        DomId::new(number.into()).unwrap()
    }

    #[test]
    fn a_limit_is_set_once_with_the_version_proved_by_a_read() {
        let (fake, client) = xen(0x15, 0x15, [0, 7]); // reports release 4.20, which has 0x17
        client.set_limit(domid(7), Kib(525_312)).unwrap();
        client.set_limit(domid(7), Kib(4)).unwrap();
        let xen = fake.0.lock().unwrap();
        assert_eq!(xen.limits, [(7, 525_312), (7, 4)]);
        let writes: Vec<_> = xen.log.iter().filter(|(_, cmd, _)| *cmd == 11).collect();
        assert_eq!(writes, [&(36, 11, 0x15), &(36, 11, 0x15)]);
    }

    /// Xen 4.23 or later, whose structures are not known: the limit could be written at a wrong offset.
    #[test]
    fn an_unknown_interface_version_is_never_used_to_write() {
        for version in [0x19, 0x1A, 0x0F, u32::MAX] {
            let (fake, client) = xen(version, version, [0, 7]);
            let error = client.set_limit(domid(7), Kib(525_312)).unwrap_err();
            assert!(matches!(error, HypervisorError::UnknownInterface { .. }), "{error:?}");
            assert!(client.domain(domid(7)).is_err() && client.domains().is_err());
            let xen = fake.0.lock().unwrap();
            assert_eq!(xen.limits, []);
            assert!(xen.log.iter().all(|(number, cmd, _)| *number != 36 || *cmd == 5));
            assert!(xen.log.iter().all(|(_, _, tried)| *tried <= 0x18), "{:x?}", xen.log);
        }
    }

    /// EACCES for `XEN_DOMCTL_max_mem` may also come from FLASK.
    #[test]
    fn a_limit_is_not_set_before_a_read_has_succeeded() {
        let (fake, client) = xen(0x17, 0x15, []);
        assert!(client.set_limit(domid(7), Kib(4)).is_err());
        assert_eq!(fake.0.lock().unwrap().limits, []);
    }

    #[test]
    fn an_unknown_domain_is_none() {
        for answers_next in [false, true] {
            let (fake, client) = xen(0x17, 0x15, [0, 9]);
            fake.0.lock().unwrap().answers_next = answers_next;
            assert_eq!(client.domain(domid(9)).unwrap().unwrap().current, Kib(40));
            for missing in [7, 10] {
                assert_eq!(client.domain(domid(missing)).unwrap(), None, "{missing}");
            }
        }
    }

    #[test]
    fn all_domains_are_listed_page_after_page() {
        let (fake, client) = xen(0x17, 0x15, (0..100).map(|number| number * 3));
        let listed: Vec<u16> =
            client.domains().unwrap().iter().map(|info| info.identity.domid.get()).collect();
        assert!(listed.iter().copied().eq((0..100).map(|number| number * 3)));
        let xen = fake.0.lock().unwrap();
        assert!(xen.log.iter().filter(|(number, ..)| *number == 35).count() <= 4);
    }

    #[test]
    fn a_list_ends_at_the_last_domid() {
        let (_, client) = xen(0x17, 0x15, (0..33).chain([32_751]));
        assert_eq!(client.domains().unwrap().len(), 34);
    }

    #[test]
    fn a_refused_sysctl_does_not_affect_domctls() {
        for errno in [Errno::PERM, Errno::ACCESS, Errno::NOSYS] {
            let (fake, client) = xen(0x17, 0x15, [0, 7]);
            fake.0.lock().unwrap().no_sysctl = Some(errno);
            assert!(client.domains().is_err() && client.host_memory().is_err());
            assert!(client.domain(domid(7)).unwrap().is_some());
        }
    }

    #[test]
    fn the_release_is_asked_for_once() {
        let (fake, client) = xen(0x18, 0x16, [0]);
        client.domain(DomId::DOM0).unwrap();
        client.host_memory().unwrap();
        let xen = fake.0.lock().unwrap();
        assert_eq!(xen.log.iter().filter(|(number, ..)| *number == 17).count(), 1);
    }

    #[test]
    fn a_file_that_is_not_privcmd_refuses_every_call() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("privcmd");
        std::fs::File::create(&path).unwrap();
        let client = Privcmd::over(Device::open_first(&[&path]).unwrap());
        let refusal = |error: HypervisorError| (error.to_string(), error.errno());
        assert_eq!(
            refusal(client.set_limit(DomId::DOM0, Kib(4)).unwrap_err()),
            ("the hypervisor refused XEN_DOMCTL_getdomaininfo".to_owned(), Some(Errno::NOTTY))
        );
        assert_eq!(
            refusal(client.host_memory().unwrap_err()),
            ("the hypervisor refused XEN_SYSCTL_physinfo".to_owned(), Some(Errno::NOTTY))
        );
    }
}
