//! Why a change is not made, and what can be done about it.

use super::{DOM0_MINIMUM, GUEST_MINIMUM};
use xen::Kib;
use xen::hypervisor::UNLIMITED;

/// Why a change is not made: a limit, or a safety rule. Sizes are what it would have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The target would be above static-max.
    #[error(
        "a target of {target} is above the domain's maximum of {static_max} (memory/static-max)"
    )]
    AboveMax {
        /// The target it would come to.
        target: Kib,
        /// `memory/static-max`.
        static_max: Kib,
        /// The size that may be asked for at most.
        most: Kib,
    },
    /// The maximum would be below the target.
    #[error("a maximum of {max} is below the domain's target of {target} (memory/target)")]
    BelowTarget {
        /// The maximum asked for.
        max: Kib,
        /// `memory/target`.
        target: Kib,
    },
    /// The size does not even hold the domain's video memory.
    #[error("{size} is not more than the domain's video memory of {video}, which is part of it")]
    BelowVideo {
        /// The size asked for.
        size: Kib,
        /// `memory/videoram`.
        video: Kib,
    },
    /// dom0 would get less than [`DOM0_MINIMUM`].
    #[error("{target} is less than dom0 can live with: {DOM0_MINIMUM}")]
    Dom0Floor {
        /// The target it would come to.
        target: Kib,
    },
    /// A domU would be shrunk below [`GUEST_MINIMUM`].
    #[error("{target} is less than nearly every guest can live with: {GUEST_MINIMUM}")]
    Floor {
        /// The target it would come to.
        target: Kib,
    },
    /// A relative size takes away all there is.
    #[error("taking {less} from {from} leaves nothing")]
    BelowZero {
        /// The step down.
        less: Kib,
        /// What it is taken from.
        from: Kib,
    },
    /// The hypervisor cannot count so far: 2^32 - 1 pages is its word for `no limit`.
    #[error("a limit beyond {} GiB cannot be told to the hypervisor", UNLIMITED.mib() / 1024)]
    BeyondXen,
    /// The limit would rise by more than was asked for, on the word of the guest itself.
    #[error(
        "the limit would become {limit}, by numbers in xenstore that the guest itself may write (memory/*)"
    )]
    GuestsWord {
        /// The limit it would come to.
        limit: Kib,
    },
    /// A domU without memory keys: not made by a toolstack that publishes them, or not yet.
    #[error("xenstore has no {key} for it, so there is nothing to keep in step")]
    NoKey {
        /// `memory/target` or `memory/static-max`.
        key: &'static str,
    },
}

impl Refusal {
    /// What can be done about it.
    pub fn hint(&self) -> String {
        match self {
            Self::AboveMax { most, .. } => format!(
                "ask for at most {most}, or raise the maximum with the target: set --raise-max"
            ),
            Self::BelowTarget { target, .. } => {
                format!("lower the target first, or ask for at least {target}")
            }
            Self::BelowVideo { .. } => "ask for more than that".to_owned(),
            Self::Dom0Floor { .. } => "dom0 is never set below that, --force or not".to_owned(),
            Self::Floor { .. } => "--force does it all the same".to_owned(),
            Self::BelowZero { .. } => "without a sign, the size is what it becomes".to_owned(),
            Self::BeyondXen => "is the unit right? a bare number is MiB".to_owned(),
            Self::GuestsWord { .. } => {
                "set a whole size, not a step; and see who let the guest write there: xenstore-ls -p".to_owned()
            }
            Self::NoKey { .. } => {
                "if the domain is being built, try again when it is; if not, its toolstack does not support ballooning".to_owned()
            }
        }
    }
}
