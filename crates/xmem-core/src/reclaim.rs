//! Freeing memory of a host: shrinking named guests until the host has enough memory available.
//!
//! A guest gives at most what it has above its floor. The floor is the largest of
//!
//! * the size that the user gives (`--floor`);
//! * what the guest itself reports as used, a margin ([`margin`]), and its video memory, which it cannot use;
//! * half of its size, if it reports nothing and the user gives no floor;
//! * its [`guest_minimum`](crate::plan::guest_minimum).
//!
//! Only running domUs that no daemon manages and that are not a device model give memory. Every size is absolute and
//! a guest is never grown, and a run waits while another one shrinks the same guests. So two concurrent runs that need
//! the same memory usually take it once; a pause of more than 100 ms between two changes looks like the end of a run.

mod donor;
mod planning;
mod run;
mod shares;

use std::time::Duration;

use xen::Kib;

pub use self::donor::{Donor, Exclusion, Floor, FloorReason, margin};
pub use self::planning::plan_reclaim;
pub use self::run::reclaim;
pub use self::shares::Priority;
use crate::change::Outcome;
use crate::domain::DomainRef;
use crate::failure::{Cause, Failure};
use crate::size::Size;
use crate::wait::WaitEvent;

/// The memory that is needed, and the guests to take it from.
#[derive(Clone, Debug)]
pub struct ReclaimRequest {
    /// Memory that must become available to a new domain.
    pub size: Kib,
    /// Memory that must stay free in addition.
    pub keep_free: Option<Kib>,
    /// The guests to take it from.
    pub from: DonorSelection,
    /// Floors for each guest that has none in `floors`: the largest counts. Never relative.
    pub floor: Vec<Size>,
    /// Floors for single guests: of several for one guest, the largest counts.
    pub floors: Vec<(DomainRef, Size)>,
    /// How the memory is divided among them.
    pub priority: Priority,
    /// Give up on a guest after this long without progress.
    pub patience: Duration,
    /// How long to wait for each lock.
    pub lock_timeout: Duration,
    /// Restore the old targets if the host cannot have enough.
    pub or_restore: bool,
}

/// The guests that memory may be taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DonorSelection {
    /// Every running guest that no daemon manages.
    All,
    /// These, in this order.
    Named(Vec<DomainRef>),
}

/// The share of each guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReclaimPlan {
    /// Memory to make available on the host: the requested size and what must stay free.
    pub goal: Kib,
    /// Memory that the host has available now.
    pub available: Kib,
    /// The guests that may give some, in order of priority.
    pub donors: Vec<Donor>,
    /// The share of each donor, with the same index. Everything they can give, if that is not enough.
    pub shares: Vec<Kib>,
}

/// What happens during a reclaim. The index is a donor's, in [`ReclaimPlan::donors`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ReclaimEvent {
    /// The plan for the next changes: the first one, or a new one because guests gave less than planned or another
    /// program took some memory.
    Planned(ReclaimPlan),
    /// A guest's target was lowered, or was as low already.
    Changed(usize, Outcome),
    /// A guest's target could not be lowered.
    NotChanged(usize, Failure),
    /// A guest was polled.
    Wait(usize, WaitEvent),
    /// A guest's old target was restored. `Unchanged` if another program has set the target since.
    Restored(usize, Result<Outcome, Failure>),
}

/// The end of a reclaim.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReclaimEnd {
    /// The host has enough available.
    Reached,
    /// The guests cannot give enough; nothing was changed.
    NotEnough {
        /// The most that the host could have available.
        possible: Kib,
    },
    /// Guests gave less than planned, or another program took some memory, and the others have no more to give.
    FellShort,
    /// The caller interrupted it.
    Interrupted,
    /// xenstore or the hypervisor no longer answers.
    Unreachable(Cause),
}

/// The result of a reclaim.
#[derive(Debug)]
pub struct ReclaimReport {
    /// Its end.
    pub end: ReclaimEnd,
    /// Memory to make available on the host.
    pub goal: Kib,
    /// Memory available at the last poll.
    pub available: Kib,
    /// The outcome for each donor, in the order of [`ReclaimPlan::donors`].
    pub donors: Vec<DonorReport>,
}

/// The outcome for a donor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DonorReport {
    /// As it was before.
    pub donor: Donor,
    /// Its last new size, which it may have had before; `None` if it gave nothing.
    pub asked: Option<Kib>,
    /// Whether this run changed it.
    pub changed: bool,
    /// Its memory at the last poll; zero if it went away.
    pub held: Kib,
    /// The reason why it gave no more.
    pub exclusion: Option<Exclusion>,
    /// Whether its old target was restored.
    pub restored: bool,
}

impl DonorReport {
    /// The memory that it gave.
    pub fn gave(&self) -> Kib {
        self.donor.held.minus(self.held).unwrap_or_default()
    }
}

/// The reason why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReclaimError {
    /// The host does not answer, or domains do not exist: one failure for each.
    #[error("cannot plan")]
    Failures(Vec<Failure>),
    /// A floor for a domain that is not to give memory.
    #[error("a floor for {0}, which is not among the domains to take memory from")]
    StrayFloor(DomainRef),
    /// A floor relative to the present size.
    #[error("a floor cannot be relative")]
    RelativeFloor,
}

impl ReclaimPlan {
    /// The plan for a host that has `available` memory. The donors before `from` give no share.
    fn new(goal: Kib, available: Kib, donors: Vec<Donor>, priority: Priority, from: usize) -> Self {
        let expected = Kib(available.0.saturating_add(coming(&donors).0));
        let spare = |(index, donor): (usize, &Donor)| {
            if index < from { Kib(0) } else { donor.spare() }
        };
        let spare: Vec<Kib> = donors.iter().enumerate().map(spare).collect();
        let shares = shares::shares(goal.minus(expected).unwrap_or_default(), &spare, priority);
        Self { goal, available, donors, shares }
    }

    /// Memory that guests are giving back already, since their targets are below what they hold.
    pub fn coming(&self) -> Kib {
        coming(&self.donors)
    }

    /// The most that the host would have available.
    pub fn possible(&self) -> Kib {
        let expected = self.available.0.saturating_add(self.coming().0);
        Kib(self.donors.iter().fold(expected, |sum, it| sum.saturating_add(it.spare().0)))
    }

    /// Whether that is enough.
    pub fn is_enough(&self) -> bool {
        self.possible() >= self.goal
    }
}

fn coming(donors: &[Donor]) -> Kib {
    Kib(donors.iter().fold(0, |sum, donor| sum.saturating_add(donor.coming().0)))
}
