//! The interface versions of domctl and sysctl: which one the running Xen accepts.
//!
//! Each domctl and sysctl carries a version, and Xen answers EACCES to any but its own without naming it. So the search
//! repeats the caller's own call with each known version, that of the running release first. Builds between releases
//! and vendors' builds need not follow the table, so the table only orders the search. Versions newer than the table
//! are never tried: their structures are not known, and a limit written at a wrong offset would be worse than no
//! answer.

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

/// The known releases. The versions are constant within a release line.
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

/// A version that no interface has.
const UNKNOWN: u32 = 0;

/// One of the two interfaces, and its version once a call has succeeded.
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

    /// The version with which a call has succeeded.
    pub(super) fn version(&self) -> Option<u32> {
        Some(self.known.load(Ordering::Relaxed)).filter(|version| *version != UNKNOWN)
    }

    /// Makes the call `attempt` with the right version. `running` returns the hypervisor's release; it is called only
    /// for a search.
    ///
    /// # Errors
    /// The call's own, or [`HypervisorError::UnknownInterface`] if Xen answers EACCES to every version. Once the
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
                // Proves nothing: Xen answers EFAULT, for one, before it checks the version.
                Err(error) => return Err(error),
            }
        }
        let (from, to) = self.range();
        Err(HypervisorError::UnknownInterface { interface: self.name, from, to })
    }

    /// Every version once: the running release's first, the others from the newest to the oldest.
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

/// Whether Xen answered EACCES. The kernel's EACCES for a device is another error.
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

    /// A hypervisor that accepts `version`, and the versions tried.
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
    fn the_running_releases_version_is_tried_first() {
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
    fn the_version_of_an_unusual_build_is_searched_from_newest_to_oldest() {
        let asked = Cell::default();
        let interface = Interface::domctl();
        let found = interface.call(|| Some((4, 17)), xen(0x16, &asked));
        assert_eq!((found.unwrap(), asked.take()), (0x16, vec![0x15, 0x18, 0x17, 0x16]));
        // From then on there is no search and no request for the release.
        let found = interface.call(|| unreachable!(), xen(0x16, &asked));
        assert_eq!((found.unwrap(), asked.take()), (0x16, vec![0x16]));
    }

    #[test]
    fn the_search_on_an_unknown_release_starts_at_the_newest() {
        for running in [None, Some((4, 23)), Some((5, 0))] {
            let asked = Cell::default();
            let found = Interface::sysctl().call(|| running, xen(0x14, &asked));
            assert_eq!((found.unwrap(), asked.take()), (0x14, vec![0x16, 0x15, 0x14]));
        }
    }

    #[test]
    fn no_version_outside_the_table_is_tried() {
        let asked = Cell::default();
        let interface = Interface::domctl();
        let error = interface.call(|| Some((4, 23)), xen(0x19, &asked)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Xen accepts none of the known domctl interface versions 0x10 to 0x18"
        );
        assert_eq!(asked.take(), (0x10..=0x18).rev().collect::<Vec<u32>>());
        assert_eq!(interface.version(), None);

        let error = Interface::sysctl().call(|| None, xen(0x10, &asked)).unwrap_err();
        assert!(matches!(error, HypervisorError::UnknownInterface { from: 0x11, to: 0x16, .. }));
    }

    #[test]
    fn another_error_ends_the_search_without_a_version() {
        let interface = Interface::domctl();
        let error = interface.call::<()>(|| None, |_| Err(refused(Errno::PERM))).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::PERM));
        assert_eq!(interface.version(), None);
    }

    #[test]
    fn a_device_that_cannot_be_opened_ends_the_search() {
        let device = || HypervisorError::Device {
            path: "/dev/xen/hypercall".into(),
            source: Errno::ACCESS.into(),
        };
        let error = Interface::domctl().call::<()>(|| None, |_| Err(device())).unwrap_err();
        assert!(matches!(error, HypervisorError::Device { .. }));
    }

    #[test]
    fn eacces_after_a_success_is_an_error_of_the_call() {
        let interface = Interface::domctl();
        interface.call(|| None, |_| Ok(())).unwrap();
        let error = interface.call::<()>(|| None, |_| Err(refused(Errno::ACCESS))).unwrap_err();
        assert!(matches!(error, HypervisorError::Refused { .. }));
    }
}
