//! The real hypervisor, through Linux's privcmd device.
//!
//! Owns the device, the page that Xen reads and writes, and all of the library's unsafe code. Never knows a
//! layout: that is `abi`'s work, as finding the interface version is `interface`'s.

#![expect(unsafe_code, reason = "an ioctl and a mapping that no crate wraps")]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode};
use rustix::mm::{self, Advice, MapFlags, ProtFlags};

use super::abi::{self, Call, PAGE_BYTES, Page};
use super::interface::Interface;
use super::{DomainInfo, HostMemory, Hypervisor, HypervisorError, Pod};
use crate::domain::DomId;
use crate::size::Kib;

/// Where privcmd is; the second is xenfs, for old kernels.
const PRIVCMD: [&str; 2] = ["/dev/xen/privcmd", "/proc/xen/privcmd"];

/// Gives out pages that Xen can always reach. Newer than privcmd, so that it may be missing.
const HYPERCALL: &str = "/dev/xen/hypercall";

/// How often a call is made again when Xen could not reach the page.
const FAULTS_FORGIVEN: u32 = 2;

/// Populate-on-demand exists on x86 alone; an Arm hypervisor answers ENOSYS.
const HAS_POD: bool = cfg!(any(target_arch = "x86_64", target_arch = "x86"));

/// The hypervisor of this host.
///
/// Interface versions are found out at the first call that needs one, and kept. What xmem does not
/// know it does not try: on a Xen newer than the newest known interface version (that of Xen 4.22),
/// calls fail with [`HypervisorError::UnknownInterface`].
#[derive(Debug)]
pub struct Privcmd {
    device: OwnedFd,
    buffer: Mutex<Option<Buffer>>,
    running: OnceLock<Option<(u32, u32)>>,
    domctl: Interface,
    sysctl: Interface,
}

impl Privcmd {
    /// Opens the device. Makes no hypercall yet.
    ///
    /// # Errors
    /// [`HypervisorError::NoXen`] when there is no such device, [`HypervisorError::Device`] when there
    /// is one but not for us (only root may use it).
    pub fn open() -> Result<Self, HypervisorError> {
        Self::open_first(&PRIVCMD.map(Path::new))
    }

    fn open_first(paths: &[&Path]) -> Result<Self, HypervisorError> {
        for path in paths {
            match open(path) {
                Ok(device) => {
                    return Ok(Self {
                        device,
                        buffer: Mutex::new(None),
                        running: OnceLock::new(),
                        domctl: Interface::domctl(),
                        sysctl: Interface::sysctl(),
                    });
                }
                Err(Errno::NOENT | Errno::NXIO | Errno::NODEV) => {}
                Err(errno) => return Err(cannot_use(path)(errno)),
            }
        }
        Err(HypervisorError::NoXen {
            path: paths.first().map(|path| path.to_path_buf()).unwrap_or_default(),
        })
    }

    /// Makes one hypercall: `fill` writes the request, `read` takes the result and the reply.
    fn call<T>(
        &self,
        call: &Call,
        fill: impl Fn(&mut Page),
        read: impl FnOnce(i32, &Page) -> T,
    ) -> Result<T, HypervisorError> {
        let mut slot = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = match &mut *slot {
            Some(buffer) => buffer,
            empty => empty.insert(Buffer::map(Path::new(HYPERCALL))?),
        };
        let forgiven = if buffer.can_fault { FAULTS_FORGIVEN } else { 0 };
        let outcome = persist(forgiven, || {
            // Anew each time: a call that failed halfway may have written into its request.
            fill(buffer.page());
            hypercall(self.device.as_fd(), call, buffer.page())
        });
        tracing::trace!(call = call.name, result = ?outcome, "hypercall");
        match outcome {
            Ok(result) => Ok(read(result, buffer.page())),
            Err(errno) => {
                Err(HypervisorError::Refused { call: call.name, source: io::Error::from(errno) })
            }
        }
    }

    /// The running Xen's release; `None` when it does not tell, which costs only some guesses.
    fn running(&self) -> Option<(u32, u32)> {
        *self.running.get_or_init(|| {
            let release = |result, _: &Page| abi::release(result);
            self.call(&abi::VERSION, |page| page.fill(0), release).ok().flatten()
        })
    }
}

impl Hypervisor for Privcmd {
    fn domain(&self, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError> {
        self.domctl.call(
            || self.running(),
            |version| {
                let fill = |page: &mut Page| abi::getdomaininfo(page, version, domid);
                match self.call(&abi::GETDOMAININFO, fill, |_, page| abi::domain_info(page, domid))
                {
                    Err(HypervisorError::Refused { source, .. })
                        if Errno::from_io_error(&source) == Some(Errno::SRCH) =>
                    {
                        Ok(None)
                    }
                    outcome => outcome,
                }
            },
        )
    }

    fn domains(&self) -> Result<Vec<DomainInfo>, HypervisorError> {
        let mut all: Vec<DomainInfo> = Vec::new();
        let mut first = DomId::DOM0;
        loop {
            let (infos, more) = self.sysctl.call(
                || self.running(),
                |version| {
                    let fill = |page: &mut Page| abi::getdomaininfolist(page, version, first);
                    let read = |_, page: &Page| abi::domain_infos(page, version);
                    self.call(&abi::GETDOMAININFOLIST, fill, read)
                },
            )?;
            if !abi::are_in_order(first, &infos) {
                let why = "its list of domains is not one that this xmem can read";
                let source = io::Error::new(io::ErrorKind::InvalidData, why);
                return Err(HypervisorError::Refused { call: abi::GETDOMAININFOLIST.name, source });
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
        // The search for the version is left to a call that changes nothing.
        if !self.domctl.is_known() {
            self.domain(DomId::DOM0)?;
        }
        self.domctl.call(
            || self.running(),
            |version| {
                let fill = |page: &mut Page| abi::max_mem(page, version, domid, limit);
                self.call(&abi::MAX_MEM, fill, |_, _| ())
            },
        )
    }

    /// On other machines than x86 there is no populate-on-demand, and nothing is asked.
    fn pod(&self, domid: DomId) -> Result<Pod, HypervisorError> {
        if !HAS_POD {
            return Ok(Pod { cache: Kib(0), entries: Kib(0) });
        }
        let fill = |page: &mut Page| abi::pod_target(page, domid, Kib(0));
        self.call(&abi::GET_POD_TARGET, fill, |_, page| abi::pod(page))
    }

    /// On other machines than x86 there is no populate-on-demand, and nothing is done, as in libxc.
    fn set_pod_target(&self, domid: DomId, target: Kib) -> Result<(), HypervisorError> {
        if !HAS_POD {
            return Ok(());
        }
        let fill = |page: &mut Page| abi::pod_target(page, domid, target);
        self.call(&abi::SET_POD_TARGET, fill, |_, _| ())
    }

    fn host_memory(&self) -> Result<HostMemory, HypervisorError> {
        self.sysctl.call(
            || self.running(),
            |version| {
                let fill = |page: &mut Page| abi::physinfo(page, version);
                self.call(&abi::PHYSINFO, fill, |_, page| abi::host_memory(page, version))
            },
        )
    }
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

fn cannot_use(path: &Path) -> impl Fn(Errno) -> HypervisorError {
    move |errno| HypervisorError::Device { path: path.to_owned(), source: io::Error::from(errno) }
}

/// Makes an attempt again after a signal, and up to `faults` times after EFAULT.
fn persist<T>(mut faults: u32, mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match attempt() {
            Err(Errno::INTR) => {}
            Err(Errno::FAULT) if faults > 0 => faults = faults.saturating_sub(1),
            outcome => return outcome,
        }
    }
}

/// The page that Xen reads and writes, by its address in this process.
///
/// Xen cannot wait for a page to be brought in, so it has to be there: the kernel's own page where
/// it gives one out, a locked one otherwise. Even a locked page can be away for a moment, while the
/// kernel moves it.
#[derive(Debug)]
struct Buffer {
    page: NonNull<Page>,
    /// What it was mapped from. A mapping needs it no more, and the end of the process closes it.
    _device: Option<OwnedFd>,
    /// Whether EFAULT can come and go.
    can_fault: bool,
}

impl Buffer {
    /// Maps a page of `device`, or a locked one when there is no such device.
    fn map(device: &Path) -> Result<Self, HypervisorError> {
        let address = ptr::null_mut();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let (mapped, fd) = match open(device) {
            Ok(fd) => {
                // SAFETY: the address is left to the kernel, so no memory in use is touched.
                let mapped =
                    unsafe { mm::mmap(address, PAGE_BYTES, access, MapFlags::SHARED, &fd, 0) };
                (mapped.map_err(cannot_use(device))?, Some(fd))
            }
            Err(Errno::NOENT) => {
                let flags = MapFlags::PRIVATE | MapFlags::LOCKED;
                // SAFETY: the address is left to the kernel, so no memory in use is touched.
                let mapped = unsafe { mm::mmap_anonymous(address, PAGE_BYTES, access, flags) };
                let path = device.to_owned();
                let no_page =
                    |errno| HypervisorError::NoPage { path, source: io::Error::from(errno) };
                (mapped.map_err(no_page)?, None)
            }
            Err(errno) => return Err(cannot_use(device)(errno)),
        };
        let page = NonNull::new(mapped.cast()).ok_or(Errno::NOMEM).map_err(cannot_use(device))?;
        let can_fault = fd.is_none();
        let mut buffer = Self { page, _device: fd, can_fault };
        if can_fault {
            // SAFETY: the range is exactly the mapping just made, and a child process is the only one
            // to lose it. Without this a fork makes the page copy-on-write under Xen's hands.
            unsafe { mm::madvise(mapped, PAGE_BYTES, Advice::LinuxDontFork) }
                .map_err(cannot_use(device))?;
            buffer.page().fill(0);
        }
        Ok(buffer)
    }

    /// The page. Xen does not touch it unless a call is being made.
    fn page(&mut self) -> &mut Page {
        // SAFETY: `page` points to PAGE_BYTES mapped, readable, writable bytes, aligned to a page, from
        // `map` until `drop`; any byte is a valid u8; and `&mut self` makes this the only reference.
        unsafe { self.page.as_mut() }
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and `page` is reached through `&mut self` alone.
unsafe impl Send for Buffer {}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the range is exactly what `map` has mapped; nobody else unmaps it, and no reference
        // outlives `self`. Xen keeps none of it after a call.
        let unmapped = unsafe { mm::munmap(self.page.as_ptr().cast(), PAGE_BYTES) };
        if let Err(errno) = unmapped {
            tracing::warn!(%errno, "cannot unmap the hypercall page");
        }
    }
}

/// `struct privcmd_hypercall` (Linux, include/uapi/xen/privcmd.h). Its arguments are u64 there: a
/// usize in a 64-bit dom0, the only one that xmem is made for.
#[repr(C)]
#[derive(Debug)]
struct PrivcmdHypercall {
    op: u64,
    arguments: [usize; 5],
}

const _: () = assert!(size_of::<PrivcmdHypercall>() == 48, "xmem is made for a 64-bit dom0");

/// Makes the call with `page`, and returns its result.
fn hypercall(device: BorrowedFd<'_>, call: &Call, page: &mut Page) -> rustix::io::Result<i32> {
    let address = ptr::from_mut(page).expose_provenance();
    let request = PrivcmdHypercall { op: call.number, arguments: call.arguments(address) };
    // SAFETY: the opcode and the operand are privcmd's. A `Call` makes Xen read and write `page` alone
    // and at most PAGE_BYTES of it, this function borrows it exclusively until Xen is done, and any
    // bytes that Xen leaves there are valid u8s. A device other than privcmd knows no such opcode.
    unsafe { ioctl::ioctl(device, request) }
}

// SAFETY: `IOCTL_PRIVCMD_HYPERCALL` takes a pointer to a `struct privcmd_hypercall`, which `Self` is,
// and only reads it; the outcome is the ioctl's own return value, no memory is read for it. What the
// hypercall itself reads and writes is answered for by `hypercall`, the only one to make this.
unsafe impl Ioctl for PrivcmdHypercall {
    type Output = i32;

    /// Xen writes to the page whose address is among the arguments.
    const IS_MUTATING: bool = true;

    /// `IOCTL_PRIVCMD_HYPERCALL`, that is `_IOC(_IOC_NONE, 'P', 0, 48)`.
    fn opcode(&self) -> Opcode {
        ioctl::opcode::from_components(ioctl::Direction::None, b'P', 0, size_of::<Self>())
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::from_mut(self).cast()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_opcode_is_the_kernels() {
        let request = PrivcmdHypercall { op: 0, arguments: [0; 5] };
        assert_eq!(request.opcode(), 0x0030_5000);
    }

    #[test]
    fn the_first_device_that_is_there_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (missing, dead, there) =
            (dir.path().join("missing"), dir.path().join("dead"), dir.path().join("there"));
        let _listener = UnixListener::bind(&dead).unwrap(); // open says ENXIO
        File::create(&there).unwrap();

        assert!(Privcmd::open_first(&[&missing, &there]).is_ok());
        assert!(Privcmd::open_first(&[&dead, &there]).is_ok());
        let error = Privcmd::open_first(&[&missing, &dead]).unwrap_err();
        assert!(matches!(&error, HypervisorError::NoXen { path } if *path == missing), "{error:?}");
    }

    #[test]
    fn a_device_that_cannot_be_opened_is_named() {
        let dir = tempfile::tempdir().unwrap(); // opened for writing: EISDIR, also for root
        let missing = dir.path().join("missing");
        let error = Privcmd::open_first(&[dir.path(), &missing]).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot use {}", dir.path().display()));
        assert_eq!(error.errno(), Some(Errno::ISDIR));
        let error = Buffer::map(dir.path()).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ISDIR));
    }

    #[test]
    fn a_page_of_the_device_is_shared_and_does_not_fault() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hypercall");
        std::fs::write(&path, [0; PAGE_BYTES]).unwrap();
        let mut buffer = Buffer::map(&path).unwrap();
        assert!(!buffer.can_fault);
        buffer.page()[PAGE_BYTES - 1] = 7;
        drop(buffer);
        assert_eq!(std::fs::read(&path).unwrap()[PAGE_BYTES - 1], 7);
    }

    #[test]
    fn without_the_device_there_is_still_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let mut buffer = Buffer::map(&dir.path().join("missing")).unwrap();
        assert!(buffer.can_fault);
        assert_eq!(*buffer.page(), [0; PAGE_BYTES]);
        buffer.page().fill(7);
        assert_eq!(*buffer.page(), [7; PAGE_BYTES]);
    }

    #[test]
    fn signals_and_some_faults_are_forgiven() {
        let run = |faults, script: &[Errno]| {
            let mut script = script.iter();
            persist(faults, || script.next().map_or(Ok(()), |errno| Err(*errno)))
        };
        assert_eq!(run(0, &[Errno::INTR; 5]), Ok(()));
        assert_eq!(run(2, &[Errno::FAULT, Errno::INTR, Errno::FAULT]), Ok(()));
        assert_eq!(run(2, &[Errno::FAULT; 3]), Err(Errno::FAULT));
        assert_eq!(run(0, &[Errno::FAULT]), Err(Errno::FAULT));
        assert_eq!(run(2, &[Errno::AGAIN]), Err(Errno::AGAIN));
    }

    #[test]
    fn what_is_not_privcmd_refuses_every_call() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("privcmd");
        File::create(&path).unwrap();
        let privcmd = Privcmd::open_first(&[&path]).unwrap();
        let refusal = |error: HypervisorError| (error.to_string(), error.errno());
        assert_eq!(
            refusal(privcmd.set_limit(DomId::DOM0, Kib(4)).unwrap_err()),
            ("the hypervisor refused XEN_DOMCTL_getdomaininfo".to_owned(), Some(Errno::NOTTY))
        );
        assert_eq!(
            refusal(privcmd.host_memory().unwrap_err()),
            ("the hypervisor refused XEN_SYSCTL_physinfo".to_owned(), Some(Errno::NOTTY))
        );
    }
}
