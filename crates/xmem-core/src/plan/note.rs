//! What is true about a plan that a user might not expect.

use std::fmt;

use xen::{Kib, Mib};

/// Something true about a plan that a user might not expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The size was cut to whole pages.
    Cut {
        /// How many bytes fell off.
        bytes: u64,
    },
    /// dom0 had no `memory/target` or no `memory/static-max`; they are filled in as libxl does.
    FilledIn {
        /// `target`.
        target: bool,
        /// `static-max`.
        static_max: bool,
    },
    /// dom0 had no limit and gets one.
    Capped {
        /// The new limit.
        limit: Kib,
    },
    /// The limit stays above the asked maximum, since target and video memory need it.
    LimitAboveMax {
        /// The limit.
        limit: Kib,
        /// The maximum.
        max: Kib,
    },
    /// static-max is raised with the target.
    RaisedMax {
        /// From.
        from: Kib,
        /// To.
        to: Kib,
    },
    /// The host has less free memory than the domain is to grow by.
    HostShort {
        /// What the domain is to get.
        missing: Kib,
        /// What the host can give.
        available: Kib,
    },
    /// The domain is paused, and holds more than its target: it cannot give anything back.
    Paused {
        /// What it holds.
        current: Kib,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { bytes } => {
                let s = if *bytes == 1 { "" } else { "s" };
                write!(f, "the size was rounded down by {bytes} byte{s} to whole 4 KiB pages")
            }
            Self::FilledIn { target, static_max } => {
                let keys = match (target, static_max) {
                    (true, true) => "memory/target and memory/static-max were",
                    (true, false) => "memory/target was",
                    (false, _) => "memory/static-max was",
                };
                write!(f, "{keys} missing in xenstore; filled in")
            }
            Self::Capped { limit } => {
                write!(f, "dom0 had no limit in the hypervisor; now it is {limit}")
            }
            Self::LimitAboveMax { limit, max } => {
                write!(f, "the limit is {limit}: target and video memory need more than {max}")
            }
            Self::RaisedMax { from, to } => write!(f, "static-max is raised from {from} to {to}"),
            Self::HostShort { missing, available } => write!(
                f,
                "the domain is to get {} MiB more, and the host has only {} MiB free",
                Mib(*missing),
                Mib(*available)
            ),
            Self::Paused { current } => {
                write!(f, "the domain is paused: it keeps {current} until it runs again")
            }
        }
    }
}
