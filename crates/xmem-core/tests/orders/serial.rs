//! Serial orders: the results of the same changes, one after the other.

use std::path::Path;
use std::sync::Arc;

use xmem_core::plan::MemoryRequest;
use xmem_sim::World;

use crate::injection::Injection;
use crate::process::{Ended, Report, run};
use crate::shared::{Legal, Locking, Numbers, SharedHost, Switch, numbers, world};

/// Some of the changes in some order: the result of each, and the numbers at the end.
struct Order {
    ended: Vec<Option<Ended>>,
    numbers: Numbers,
}

/// All orders of all subsets of some changes, each carried out by the real code.
pub(crate) struct Serial(Vec<Order>);

impl Serial {
    /// Of `requests`, from the start numbers.
    pub(crate) fn of(requests: &[MemoryRequest], dir: &Path) -> Self {
        let none = Order { ended: vec![None; requests.len()], numbers: numbers(&world()) };
        let mut orders = Vec::new();
        let mut open = vec![(none, world())];
        while let Some((order, world)) = open.pop() {
            for (who, request) in requests.iter().enumerate() {
                if order.ended[who].is_none() {
                    let (report, world) = alone(world.clone(), *request, &[], dir);
                    let mut ended = order.ended.clone();
                    ended[who] = Some(report.ended);
                    open.push((Order { ended, numbers: numbers(&world) }, world));
                }
            }
            orders.push(order);
        }
        Self(orders)
    }

    /// The numbers at the end of each order.
    pub(crate) fn legal(&self) -> Legal {
        Arc::new(self.0.iter().map(|order| order.numbers).collect())
    }

    /// Whether some order ends with these `numbers` and agrees with the changes' results. A change that reported
    /// success is part of it; one that reported a failure is not. One that was killed, or does not know its outcome, may be either.
    pub(crate) fn explains(&self, ended: &[Ended], numbers: Numbers) -> bool {
        let true_of = |(said, real): (&Ended, &Option<Ended>)| match said {
            Ended::Done | Ended::Refused => *real == Some(*said),
            Ended::Undone => real.is_none(),
            Ended::Unknown | Ended::Killed => matches!(real, None | Some(Ended::Done)),
        };
        let explains =
            |order: &Order| order.numbers == numbers && ended.iter().zip(&order.ended).all(true_of);
        self.0.iter().any(explains)
    }
}

/// One change without others.
pub(crate) fn alone(
    world: World,
    request: MemoryRequest,
    injections: &[Injection],
    dir: &Path,
) -> (Report, World) {
    let shared = Arc::new(SharedHost::new(world, dir, Locking::Shared, Switch::Never, None));
    let report = run(&shared, 0, request, injections);
    (report, shared.snapshot())
}
