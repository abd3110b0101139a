//! Prints what the hypervisor says about its domains, one line each, without xmem's code:
//!
//!     domaininfo [DOMID]              all domains, or one (exit code 1 if it does not exist)
//!     domaininfo --claim DOMID KIB    claim that much memory for the domain, on top of what it holds (0: no claim)
//!
//! `domid 3 type hvm flags 0xa state paused reason - held 65536 limit 132096 outstanding 0 cpu_ns 0 vcpus 1 pod 0/0 uuid ...`
//! Sizes in KiB; `vcpus` are those online; `pod` is populate on demand: pages in the cache / entries not yet populated.
//! `state` lists the flags by name, `reason` is the shutdown code (0 poweroff, 1 reboot, 2 suspend, 3 crash).
//!
//! A single file for rustc, without crates. Offsets: `xen_domctl_getdomaininfo` in xen/include/public/domctl.h.

use std::env;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

#[repr(C)]
struct Hypercall {
    op: u64,
    arguments: [u64; 5],
}

const PRIVCMD_HYPERCALL: u64 = 0x30_5000;
const MEMORY_OP: u64 = 12;
const DOMCTL: u64 = 36;
const GET_DOMAIN_INFO: u32 = 5;
const GET_POD_TARGET: u64 = 17;
const CLAIM_PAGES: u64 = 24;
/// From 4.11 (0x11) to what comes after 4.22.
const VERSIONS: std::ops::Range<u32> = 0x11..0x1c;

unsafe extern "C" {
    fn ioctl(fd: i32, request: u64, ...) -> i32;
    fn mmap(address: *mut u8, length: usize, protection: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
}

struct Xen {
    privcmd: File,
    _buffer: File,
    page: *mut u8,
    version: u32,
}

impl Xen {
    fn open() -> Result<Self, String> {
        let device = |path: &str| {
            File::options()
                .read(true)
                .write(true)
                .open(path)
                .map_err(|error| format!("{path}: {error}"))
        };
        let privcmd = device("/dev/xen/privcmd")?;
        let buffer = device("/dev/xen/hypercall")?;
        // SAFETY: a fresh mapping of one page, read and write (3), shared (1).
        let page = unsafe { mmap(std::ptr::null_mut(), 4096, 3, 1, buffer.as_raw_fd(), 0) };
        if page as isize == -1 {
            return Err("/dev/xen/hypercall gives no page".into());
        }
        let mut xen = Self {
            privcmd,
            _buffer: buffer,
            page,
            version: 0,
        };
        xen.version = VERSIONS
            .into_iter()
            .find(|&version| {
                xen.version = version;
                xen.domain(0).is_some()
            })
            .ok_or("no version of the interface is accepted: run it as root in dom0")?;
        Ok(xen)
    }

    fn clear(&self) {
        // SAFETY: the page is ours and mapped.
        unsafe { self.page.write_bytes(0, 4096) };
    }

    fn put<T>(&self, offset: usize, value: T) {
        // SAFETY: every offset used here is inside the page.
        unsafe { self.page.add(offset).cast::<T>().write_unaligned(value) };
    }

    fn get<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: as above.
        unsafe { self.page.add(offset).cast::<T>().read_unaligned() }
    }

    fn call(&self, op: u64, arguments: [u64; 5]) -> i32 {
        let call = Hypercall { op, arguments };
        // SAFETY: the structure that this ioctl takes.
        unsafe { ioctl(self.privcmd.as_raw_fd(), PRIVCMD_HYPERCALL, &call) }
    }

    /// Fills the page; `None` if there is no such domain.
    fn domain(&self, domid: u16) -> Option<()> {
        self.clear();
        self.put(0, GET_DOMAIN_INFO);
        self.put(4, self.version);
        self.put(8, domid);
        let done = self.call(DOMCTL, [self.page as u64, 0, 0, 0, 0]) == 0;
        // Up to 4.17 the answer may be about the next domain.
        (done && self.get::<u16>(16) == domid).then_some(())
    }

    fn describe(&self, domid: u16) -> Option<String> {
        self.domain(domid)?;
        let flags: u32 = self.get(20);
        let names = ["dying", "hvm", "shutdown", "paused", "blocked", "running", "debugged", "xenstore", "hap"];
        let state: Vec<&str> = names
            .iter()
            .enumerate()
            .filter(|&(bit, _)| bit != 1 && flags & (1 << bit) != 0)
            .map(|(_, name)| *name)
            .collect();
        let reason = if flags & 4 != 0 {
            (flags >> 16 & 0xff).to_string()
        } else {
            "-".into()
        };
        let uuid: String = (92..108).map(|at| format!("{:02x}", self.get::<u8>(at))).collect();
        let mut line = format!(
            "domid {domid} type {} flags {flags:#x} state {} reason {reason} held {} limit {} outstanding {} cpu_ns {} vcpus {}",
            if flags & 2 != 0 { "hvm" } else { "pv" },
            if state.is_empty() { "-".into() } else { state.join(",") },
            self.get::<u64>(24) * 4,
            self.get::<u64>(32) * 4,
            self.get::<u64>(40) * 4,
            self.get::<u64>(72),
            self.get::<u32>(80),
        );
        self.clear();
        self.put(32, domid);
        let pod = match self.call(MEMORY_OP, [GET_POD_TARGET, self.page as u64, 0, 0, 0]) {
            0 => format!("{}/{}", self.get::<u64>(16), self.get::<u64>(24)),
            _ => "-".into(),
        };
        line += &format!(" pod {pod} uuid {uuid}");
        Some(line)
    }

    fn claim(&self, domid: u16, kib: u64) -> Result<(), String> {
        self.domain(domid).ok_or("no such domain")?;
        let held: u64 = self.get(24);
        self.clear();
        self.put(8, if kib == 0 { 0 } else { held + kib / 4 });
        self.put(24, domid);
        match self.call(MEMORY_OP, [CLAIM_PAGES, self.page as u64, 0, 0, 0]) {
            0 => Ok(()),
            _ => Err(format!("not claimed: {}", std::io::Error::last_os_error())),
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse::<u16>().map_err(|_| format!("not a domid: {word}"));
    let xen = Xen::open()?;
    match words[..] {
        [] => {
            // Domids that a test machine uses.
            for line in (0..200).filter_map(|domid| xen.describe(domid)) {
                println!("{line}");
            }
        }
        ["--claim", domid, kib] => xen.claim(number(domid)?, kib.parse().map_err(|_| "not a size")?)?,
        [domid] => match xen.describe(number(domid)?) {
            Some(line) => println!("{line}"),
            None => return Ok(ExitCode::FAILURE),
        },
        _ => return Err("domaininfo [DOMID] | domaininfo --claim DOMID KIB".into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("domaininfo: {error}");
        ExitCode::from(2)
    })
}
