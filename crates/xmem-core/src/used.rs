//! What guests report about their own memory use: the nodes, and their meaning. Pure.
//!
//! | agent | nodes below `/local/domain/<domid>` |
//! | --- | --- |
//! | `XenServer`, XCP-ng and Windows PV drivers | `data/meminfo_total`, `data/meminfo_free`: KiB |
//! | Qubes OS meminfo-writer | `memory/meminfo`: KiB in use, or before R4.0 lines of `/proc/meminfo` |
//!
//! A guest can write anything there. A report is shown and can only spare the guest a reduction; it never makes
//! anything larger, and never counts for more than the domain holds.

use xen::Kib;

/// The longest report that is parsed: six lines of `/proc/meminfo` are 200 bytes.
const LONGEST: usize = 4096;

/// What a guest reports. `None` is a node that does not exist or makes no sense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// `data/meminfo_total`.
    pub total: Option<Kib>,
    /// `data/meminfo_free`.
    pub free: Option<Kib>,
    /// The memory in use according to `memory/meminfo`.
    pub in_use: Option<Kib>,
}

impl Report {
    /// The memory in use. `None` if there is no report, or one that is not plausible.
    pub fn used(&self) -> Option<Kib> {
        self.in_use.or_else(|| self.total?.minus(self.free?))
    }
}

/// The memory in use according to `memory/meminfo`; swap counts as in use. `None` if it is not plausible.
pub(crate) fn from_meminfo(report: &[u8]) -> Option<Kib> {
    if let Some(used) = number(report) {
        return Some(used);
    }
    let report = str::from_utf8(report.get(..LONGEST).unwrap_or(report)).ok()?;
    let field = |name: &str| {
        let value = report.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        number(value.trim().strip_suffix("kB")?.trim_end().as_bytes()).map(|kib| kib.0)
    };
    let free = ["MemFree", "Buffers", "Cached"]
        .into_iter()
        .try_fold(0_u64, |sum, name| sum.checked_add(field(name)?))?;
    let swapped = field("SwapTotal")?.checked_sub(field("SwapFree")?)?;
    field("MemTotal")?.checked_sub(free)?.checked_add(swapped).map(Kib)
}

/// KiB: digits only, except for white space around them.
pub(crate) fn number(text: &[u8]) -> Option<Kib> {
    let text = text.trim_ascii();
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok().map(Kib)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINES: &str = "MemTotal: 400000 kB\nMemFree: 100000 kB\nBuffers: 20000 kB\nCached: 80000 kB\n\
                         SwapTotal: 50000 kB\nSwapFree: 40000 kB\n";

    fn used(total: &str, free: &str) -> Option<Kib> {
        let [total, free] = [total, free].map(|text| number(text.as_bytes()));
        Report { total, free, in_use: None }.used()
    }

    #[test]
    fn the_report_of_a_xenserver_agent_is_total_minus_free() {
        assert_eq!(used("1000000", "400000"), Some(Kib(600_000)));
        assert_eq!(used("1000000\n", " 0"), Some(Kib(1_000_000)));
    }

    #[test]
    fn the_report_of_a_qubes_guest_is_one_number_or_lines_of_proc_meminfo() {
        assert_eq!(from_meminfo(b"350000"), Some(Kib(350_000)));
        assert_eq!(from_meminfo(LINES.as_bytes()), Some(Kib(210_000)));
    }

    #[test]
    fn an_implausible_report_is_none() {
        for (total, free) in [
            ("", "1"),
            ("1", ""),
            ("1", "2"),
            ("-1", "0"),
            ("+1", "0"),
            ("1 2", "0"),
            ("0x10", "1"),
            ("18446744073709551616", "0"),
        ] {
            assert_eq!(used(total, free), None, "{total}");
        }
        let without = |name: &str| LINES.replace(name, "Other");
        let cases = ["", "a4096", "4096a", "4096 1024", "4096\n1024", "MemTotal: kB", "\u{fffd}"];
        for report in cases
            .into_iter()
            .map(str::to_owned)
            .chain(["MemTotal", "MemFree", "SwapFree"].map(without))
        {
            assert_eq!(from_meminfo(report.as_bytes()), None, "{report}");
        }
        assert_eq!(from_meminfo(LINES.replace("100000", "900000").as_bytes()), None);
        assert_eq!(from_meminfo(&[0xff; 5000]), None);
    }

    proptest! {
        #[test]
        fn no_report_causes_a_panic(report: Vec<u8>) {
            number(&report);
            from_meminfo(&report);
        }
    }
}
