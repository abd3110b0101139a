//! The reasons for which a change is refused.

use xen::hypervisor::UNLIMITED;
use xen::{DomId, Kib, Mib};

use super::note::not_counting;
use super::{DOM0_MINIMUM, guest_minimum};
use crate::memory::BadNode;

/// The reason for a refusal: a limit, a safety rule, or a node that is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Refusal {
    /// The target would be above static-max.
    #[error(
        "a target of {target} is above the domain's maximum of {static_max} (memory/static-max)"
    )]
    AboveMax { target: Kib, static_max: Kib, most: Kib },
    /// The maximum would be below the target.
    #[error("a maximum of {max} is below the domain's target of {target} (memory/target)")]
    BelowTarget { max: Kib, target: Kib },
    /// The size does not even hold the domain's video memory.
    #[error("a size of {size} leaves nothing beside the domain's video memory of {video}")]
    BelowVideo { size: Kib, video: Kib },
    /// dom0 would get less than [`DOM0_MINIMUM`].
    #[error("{size} is below the {DOM0_MINIMUM} minimum for dom0")]
    Dom0Minimum { size: Kib },
    /// A domU would be shrunk below its [`guest_minimum`].
    #[error("{size} is below the {} minimum for a guest{}", guest_minimum(*video), with_video(*video))]
    GuestMinimum { size: Kib, video: Kib },
    /// A relative size subtracts more than there is.
    #[error("taking {less} from {from} leaves nothing")]
    BelowZero { less: Kib, from: Kib },
    /// The hypervisor cannot represent the limit: 2^32 - 1 pages means no limit.
    #[error("the hypervisor cannot take a limit above {} GiB", UNLIMITED.mib() / 1024)]
    BeyondXen,
    /// The limit would rise above the request because of nodes that the guest itself may write.
    #[error(
        "the limit would become {limit} because of xenstore nodes that the guest itself may write (memory/*)"
    )]
    GuestWritable { limit: Kib, is_absolute: bool },
    /// A share of a maximum that the domain does not have, or a size relative to it.
    #[error("the domain has no maximum (memory/static-max)")]
    NoMaximum,
    /// A domU without memory nodes.
    #[error("xenstore has no {key} for the domain")]
    NoKey { key: &'static str },
    /// The size is above all of the host's memory.
    #[error("{size} is more than all of the host's memory ({} MiB)", Mib(*total))]
    AboveHost { size: Kib, total: Kib },
    /// Growing would take memory that must stay free.
    #[error(
        "growing by {} MiB would leave the host less than the {} MiB to keep free: it has {} MiB free{}",
        Mib(*needs), Mib(*keep_free), Mib(*available), not_counting(Kib(0), *granted)
    )]
    KeepFree { needs: Kib, available: Kib, keep_free: Kib, granted: Kib },
    /// A stub domain would be shrunk.
    #[error(
        "the domain runs the device model of domain {of} and has no memory to spare; if it dies, that guest dies"
    )]
    DeviceModel { of: DomId },
    /// A guest would be shrunk while it is still giving back its boot memory.
    #[error(
        "the guest has not yet given back its boot memory (populate on demand: {} MiB outstanding); shrinking it now can crash it",
        Mib(*outstanding)
    )]
    Populating { outstanding: Kib },
    /// A direct-mapped dom0 would be shrunk.
    #[error("dom0 is mapped 1:1 and cannot give memory back to the host")]
    DirectMapped,
    /// A PVH dom0 would get its first target under a kernel that misreads it.
    #[error(
        "dom0 is PVH with {}: before Linux 6.15, the first target in xenstore makes it give away far too much memory",
        kernel.map_or("an unknown kernel".to_owned(), |(major, minor)| format!("Linux {major}.{minor}"))
    )]
    Dom0Kernel { kernel: Option<(u32, u32)> },
    /// A node with a value that is not a size.
    #[error(transparent)]
    BadNode(#[from] BadNode),
    /// Several rules.
    #[error("{}", joined(.0))]
    Several(Vec<Self>),
}

fn joined(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Refusal {
    /// Whether `force` overrides it.
    pub fn can_be_forced(&self) -> bool {
        if let Self::Several(refusals) = self {
            return refusals.iter().all(Self::can_be_forced);
        }
        matches!(
            self,
            Self::GuestMinimum { .. }
                | Self::AboveHost { .. }
                | Self::DeviceModel { .. }
                | Self::Populating { .. }
                | Self::DirectMapped
                | Self::Dom0Kernel { .. }
        )
    }
}

fn with_video(video: Kib) -> String {
    match video {
        Kib(0) => String::new(),
        video => format!(" with {video} of video memory"),
    }
}
