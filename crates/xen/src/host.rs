//! A Xen host: its hypervisor, its xenstore, libxl's state directory.

use std::collections::BTreeSet;
use std::path::Path;

use crate::domain::DomId;
use crate::hypervisor::{DomainInfo, Hypervisor, HypervisorError, Privcmd};
use crate::size::Kib;
use crate::xenstore::{Client, Nodes, Store, StoreError};

/// libxl's `XEN_LIB_DIR` on Linux: fixed at build time, and the same in every distribution.
const STATE_DIR: &str = "/var/lib/xen";

/// A host whose domains can be read and changed.
///
/// ```no_run
/// use xen::{Host, XenHost};
///
/// let host = XenHost::open()?;
/// let store = host.connect()?;
/// for domain in host.list_domains(&*store)?.domains {
///     let path = format!("/local/domain/{}/memory/target", domain.identity.domid);
///     println!("{path}: {:?}", store.read_each(&[&path])?);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Host: Send + Sync {
    /// Opens a new connection to xenstore.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`].
    fn connect(&self) -> Result<Box<dyn Store>, StoreError>;

    /// The hypervisor.
    fn hypervisor(&self) -> &dyn Hypervisor;

    /// The directory of libxl's lock and data files: `/var/lib/xen` on a real host.
    fn state_dir(&self) -> &Path;

    /// The state of the control domain's own kernel.
    fn dom0(&self) -> Dom0 {
        Dom0::default()
    }

    /// Every domain, also where the hypervisor refuses to list them (`XEN_SYSCTL_getdomaininfolist`).
    ///
    /// Each domid below `/local/domain` in `store` is then asked for by itself (`XEN_DOMCTL_getdomaininfo`), which needs
    /// no sysctl. Such a list lacks any domain that has no directory in xenstore, and its `refused` is the reason.
    ///
    /// # Errors
    /// The hypervisor's refusal to list, if `store` cannot list the domids either; or its refusal of a domctl.
    fn list_domains(&self, store: &dyn Nodes) -> Result<DomainList, HypervisorError> {
        let refused = match self.hypervisor().domains() {
            Ok(domains) => return Ok(DomainList { domains, refused: None }),
            Err(error) => error,
        };
        let names = match store.list("/local/domain") {
            Ok(names) => names.unwrap_or_default(),
            Err(error) => {
                tracing::debug!(%error, "cannot list the domains in xenstore either");
                return Err(refused);
            }
        };
        let domids = names.iter().filter_map(|name| DomId::new(name.parse().ok()?));
        let domids: BTreeSet<DomId> = domids.chain([DomId::DOM0]).collect();
        let mut domains = Vec::with_capacity(domids.len());
        for domid in domids {
            domains.extend(self.hypervisor().domain(domid)?);
        }
        Ok(DomainList { domains, refused: Some(refused) })
    }
}

/// The domains of a host.
#[derive(Debug)]
pub struct DomainList {
    /// Their states, by domid.
    pub domains: Vec<DomainInfo>,
    /// Why the hypervisor did not list them. If it is set, domains without a directory in xenstore are missing.
    pub refused: Option<HypervisorError>,
}

/// The state of the control domain's kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dom0 {
    /// Its balloon driver's target, which an admin can set in `/sys/devices/system/xen_memory/xen_memory0/target_kb`.
    /// `None` if there is no driver.
    pub balloon_target: Option<Kib>,
    /// The major and minor version of the kernel.
    pub kernel: Option<(u32, u32)>,
    /// Whether Xen maps it 1:1 (Arm), so that the pages it balloons out stay allocated to it.
    pub direct_mapped: bool,
}

/// The host of this control domain.
#[derive(Debug)]
pub struct XenHost {
    hypervisor: Privcmd,
}

impl XenHost {
    /// Opens the hypervisor's device. Makes no hypercall, and connects to no xenstored yet.
    ///
    /// # Errors
    /// [`HypervisorError::NoXen`] and [`HypervisorError::Device`].
    pub fn open() -> Result<Self, HypervisorError> {
        Ok(Self { hypervisor: Privcmd::open()? })
    }
}

impl Host for XenHost {
    fn connect(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(Client::connect()?))
    }

    fn hypervisor(&self) -> &dyn Hypervisor {
        &self.hypervisor
    }

    fn state_dir(&self) -> &Path {
        Path::new(STATE_DIR)
    }

    fn dom0(&self) -> Dom0 {
        let target =
            std::fs::read_to_string("/sys/devices/system/xen_memory/xen_memory0/target_kb");
        let system = rustix::system::uname();
        Dom0 {
            balloon_target: target.ok().and_then(|kib| kib.trim().parse().ok()).map(Kib),
            kernel: system.release().to_str().ok().and_then(version),
            direct_mapped: cfg!(target_arch = "aarch64"),
        }
    }
}

/// The major and minor version in a kernel's release: `6.12-rc7` is 6.12.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_with_a_suffix_has_a_version() {
        for (release, expected) in [
            ("6.12.48+deb13-amd64", Some((6, 12))),
            ("6.12-rc7", Some((6, 12))),
            ("6.1-custom", Some((6, 1))),
            ("14.3-RELEASE", Some((14, 3))),
            ("6", None),
            ("next", None),
            ("", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    #[test]
    fn hosts_and_stores_can_be_used_from_any_thread() {
        fn send_sync<T: Send + Sync + ?Sized>() {}
        fn send<T: Send + ?Sized>() {}
        send_sync::<XenHost>();
        send_sync::<dyn Host>();
        send_sync::<dyn Hypervisor>();
        send_sync::<Client>();
        send_sync::<crate::xenstore::Span>();
        send_sync::<crate::lock::Lock>();
        send::<dyn Store>();
    }
}
