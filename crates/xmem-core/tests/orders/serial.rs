//! The serial orders: what the same changes come to, one after the other.

use std::path::Path;
use std::sync::Arc;

use xmem_core::plan::MemoryRequest;
use xmem_sim::World;

use crate::mishap::Mishap;
use crate::process::{Ended, Report, run};
use crate::stage::{Legal, Locking, Numbers, Stage, Switch, numbers, world};

/// Some of the changes in some order: how each of those ended, and the numbers then.
struct Order {
    ended: Vec<Option<Ended>>,
    numbers: Numbers,
}

/// Every order of every choice of some changes, each carried out by the real code.
pub(crate) struct Serial(Vec<Order>);

impl Serial {
    /// That of `requests`, from the start on.
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

    /// The numbers at the end of each.
    pub(crate) fn legal(&self) -> Legal {
        Arc::new(self.0.iter().map(|order| order.numbers).collect())
    }

    /// Whether one of them has these `numbers`, and what each change has `ended` with is true in it: one that said that it is
    /// done is part of it, one that said that it is not is no part of it, and of one that could not know, or died, nothing is
    /// asked.
    pub(crate) fn explains(&self, ended: &[Ended], numbers: Numbers) -> bool {
        let true_of = |(said, real): (&Ended, &Option<Ended>)| match said {
            Ended::Done | Ended::Refused => *real == Some(*said),
            Ended::Undone => real.is_none(),
            Ended::Doubt | Ended::Died => matches!(real, None | Some(Ended::Done)),
        };
        let explains =
            |order: &Order| order.numbers == numbers && ended.iter().zip(&order.ended).all(true_of);
        self.0.iter().any(explains)
    }
}

/// One change, and nobody else.
pub(crate) fn alone(
    world: World,
    request: MemoryRequest,
    mishaps: &[Mishap],
    dir: &Path,
) -> (Report, World) {
    let stage = Arc::new(Stage::new(world, dir, Locking::Shared, Switch::Never, None));
    let report = run(&stage, 0, request, mishaps);
    (report, stage.snapshot())
}
