//! Which version of Xen's unstable interfaces the running hypervisor speaks.
//!
//! Owns the table of releases and the search. Never makes a call: it is handed one to try.
//!
//! domctl and sysctl carry a version word, and a Xen that wants another one answers EACCES without
//! saying which. So the wanted call itself is tried with each version in turn, the one of the running
//! release first. Builds between releases and vendors' builds need not follow the table, which is why
//! it only orders the search. Versions newer than the table are never tried: nobody knows yet what
//! their structures look like, and a limit written at a wrong offset would be worse than no answer.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;

use super::HypervisorError;

/// A Xen release and the versions of its two unstable interfaces.
struct Release {
    /// Major and minor number.
    xen: (u32, u32),
    /// `XEN_DOMCTL_INTERFACE_VERSION` (domctl.h).
    domctl: u32,
    /// `XEN_SYSCTL_INTERFACE_VERSION` (sysctl.h).
    sysctl: u32,
}

const fn release(minor: u32, domctl: u32, sysctl: u32) -> Release {
    Release { xen: (4, minor), domctl, sysctl }
}

/// Constant within a release line.
const RELEASES: [Release; 12] = [
    release(11, 0x10, 0x11),
    release(12, 0x11, 0x12),
    release(13, 0x12, 0x12),
    release(14, 0x12, 0x13),
    release(15, 0x13, 0x13),
    release(16, 0x14, 0x14),
    release(17, 0x15, 0x15),
    release(18, 0x16, 0x15),
    release(19, 0x17, 0x15),
    release(20, 0x17, 0x15),
    release(21, 0x17, 0x16),
    release(22, 0x18, 0x16),
];

/// No interface has this version.
const UNKNOWN: u32 = 0;

/// One of the two, and its version once it is known.
#[derive(Debug)]
pub(super) struct Interface {
    name: &'static str,
    of: fn(&Release) -> u32,
    known: AtomicU32,
}

impl Interface {
    /// `XEN_DOMCTL_*`.
    pub(super) const fn domctl() -> Self {
        Self { name: "domctl", of: |release| release.domctl, known: AtomicU32::new(UNKNOWN) }
    }

    /// `XEN_SYSCTL_*`.
    pub(super) const fn sysctl() -> Self {
        Self { name: "sysctl", of: |release| release.sysctl, known: AtomicU32::new(UNKNOWN) }
    }

    /// Whether a call has gone through already.
    pub(super) fn is_known(&self) -> bool {
        self.version().is_some()
    }

    fn version(&self) -> Option<u32> {
        Some(self.known.load(Ordering::Relaxed)).filter(|version| *version != UNKNOWN)
    }

    /// Makes a call with the right version: the known one, or the first that is not refused for it.
    /// `running` is the hypervisor's release, where it can be had; it is asked for only when needed.
    ///
    /// # Errors
    /// The call's own, or `UnknownInterface` when every version was answered with EACCES. Once the
    /// version is known, EACCES is the call's own.
    pub(super) fn call<T>(
        &self,
        running: impl FnOnce() -> Option<(u32, u32)>,
        mut attempt: impl FnMut(u32) -> Result<T, HypervisorError>,
    ) -> Result<T, HypervisorError> {
        if let Some(version) = self.version() {
            return attempt(version);
        }
        for version in self.candidates(running()) {
            match attempt(version) {
                Err(error) if is_another_version(&error) => {}
                Ok(reply) => {
                    tracing::debug!(interface = self.name, version, "found the interface version");
                    self.known.store(version, Ordering::Relaxed);
                    return Ok(reply);
                }
                // Not kept as known: EFAULT, say, comes before Xen has looked at the version.
                Err(error) => return Err(error),
            }
        }
        let (from, to) = self.range();
        Err(HypervisorError::UnknownInterface { interface: self.name, from, to })
    }

    /// All versions: the running release's first, then from the newest to the oldest.
    fn candidates(&self, running: Option<(u32, u32)>) -> impl Iterator<Item = u32> + use<> {
        let (oldest, newest) = self.range();
        let first = RELEASES
            .iter()
            .find(|release| Some(release.xen) == running)
            .map_or(newest, |release| (self.of)(release));
        std::iter::once(first)
            .chain((oldest..=newest).rev().filter(move |version| *version != first))
    }

    fn range(&self) -> (u32, u32) {
        RELEASES.iter().map(self.of).fold((u32::MAX, 0), |(oldest, newest), version| {
            (oldest.min(version), newest.max(version))
        })
    }
}

/// Whether Xen itself said EACCES; a device that may not be opened says so, too.
fn is_another_version(error: &HypervisorError) -> bool {
    matches!(error, HypervisorError::Refused { source, .. }
        if Errno::from_io_error(source) == Some(Errno::ACCESS))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn refused(errno: Errno) -> HypervisorError {
        HypervisorError::Refused { call: "XEN_DOMCTL_getdomaininfo", source: errno.into() }
    }

    /// A hypervisor that speaks `version`, and what it was asked with.
    fn xen(
        version: u32,
        asked: &Cell<Vec<u32>>,
    ) -> impl FnMut(u32) -> Result<u32, HypervisorError> {
        move |tried| {
            let mut so_far = asked.take();
            so_far.push(tried);
            asked.set(so_far);
            if tried == version { Ok(tried) } else { Err(refused(Errno::ACCESS)) }
        }
    }

    #[test]
    fn the_running_release_is_right_at_once() {
        for release in &RELEASES {
            for (interface, version) in
                [(Interface::domctl(), release.domctl), (Interface::sysctl(), release.sysctl)]
            {
                let asked = Cell::default();
                let found = interface.call(|| Some(release.xen), xen(version, &asked));
                assert_eq!((found.unwrap(), asked.take()), (version, vec![version]));
            }
        }
    }

    #[test]
    fn another_build_is_found_from_newest_to_oldest() {
        let asked = Cell::default();
        let interface = Interface::domctl();
        let found = interface.call(|| Some((4, 17)), xen(0x16, &asked));
        assert_eq!((found.unwrap(), asked.take()), (0x16, vec![0x15, 0x18, 0x17, 0x16]));
        // From now on without a search, and without asking for the release.
        let found = interface.call(|| unreachable!(), xen(0x16, &asked));
        assert_eq!((found.unwrap(), asked.take()), (0x16, vec![0x16]));
    }

    #[test]
    fn an_unknown_release_starts_at_the_newest() {
        for running in [None, Some((4, 23)), Some((5, 0))] {
            let asked = Cell::default();
            let found = Interface::sysctl().call(|| running, xen(0x14, &asked));
            assert_eq!((found.unwrap(), asked.take()), (0x14, vec![0x16, 0x15, 0x14]));
        }
    }

    #[test]
    fn no_version_outside_of_the_table_is_tried() {
        let asked = Cell::default();
        let interface = Interface::domctl();
        let error = interface.call(|| Some((4, 23)), xen(0x19, &asked)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the hypervisor takes none of the domctl interface versions 0x10 to 0x18"
        );
        assert_eq!(asked.take(), (0x10..=0x18).rev().collect::<Vec<u32>>());
        assert!(!interface.is_known());

        let error = Interface::sysctl().call(|| None, xen(0x10, &asked)).unwrap_err();
        assert!(matches!(error, HypervisorError::UnknownInterface { from: 0x11, to: 0x16, .. }));
    }

    #[test]
    fn another_error_ends_the_search_and_proves_nothing() {
        let interface = Interface::domctl();
        let error = interface.call::<()>(|| None, |_| Err(refused(Errno::PERM))).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::PERM));
        assert!(!interface.is_known());
    }

    #[test]
    fn a_device_that_may_not_be_opened_is_no_other_version() {
        let device = || HypervisorError::Device {
            path: "/dev/xen/hypercall".into(),
            source: Errno::ACCESS.into(),
        };
        let error = Interface::domctl().call::<()>(|| None, |_| Err(device())).unwrap_err();
        assert!(matches!(error, HypervisorError::Device { .. }));
    }

    #[test]
    fn a_later_eacces_is_a_refusal() {
        let interface = Interface::domctl();
        interface.call(|| None, |_| Ok(())).unwrap();
        let error = interface.call::<()>(|| None, |_| Err(refused(Errno::ACCESS))).unwrap_err();
        assert!(matches!(error, HypervisorError::Refused { .. }));
    }
}
