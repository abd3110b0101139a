//! The serial orders: what the same changes come to, one after the other.
//!
//! Owns the verdict whether an end can be explained by one of them.

use std::path::Path;
use std::sync::Arc;

use xmem::plan::Wish;

use crate::mishap::Mishap;
use crate::process::{Ended, Process, Report};
use crate::stage::{Legal, Locking, Stage, Switch};
use crate::world::{Numbers, World};

/// Some of the changes in some order: how each of those ended, and the numbers then.
struct Order {
    ended: Vec<Option<Ended>>,
    numbers: Numbers,
}

/// Every order of every choice of some changes, each carried out by the real code.
pub(crate) struct Serial(Vec<Order>);

impl Serial {
    /// That of `wishes`, from the start on.
    pub(crate) fn of(wishes: &[Wish], folder: &Path) -> Self {
        let none = Order { ended: vec![None; wishes.len()], numbers: World::new().numbers() };
        let mut orders = Vec::new();
        let mut open = vec![(none, World::new())];
        while let Some((order, world)) = open.pop() {
            for (who, wish) in wishes.iter().enumerate() {
                if order.ended[who].is_none() {
                    let (report, world) = alone(world.clone(), wish, &[], folder);
                    let mut ended = order.ended.clone();
                    ended[who] = Some(report.ended);
                    open.push((Order { ended, numbers: world.numbers() }, world));
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

    /// Whether one of them has these `numbers`, and what each change has `ended` with is true in it:
    /// who said that it is done is part of it, who said that it is not is no part of it, and of who could
    /// not know, or died, nothing is asked.
    pub(crate) fn explains(&self, ended: &[Ended], numbers: Numbers) -> bool {
        let true_of = |(told, real): (&Ended, &Option<Ended>)| match told {
            Ended::Done | Ended::Refused => *real == Some(*told),
            Ended::Undone => real.is_none(),
            Ended::Doubt | Ended::Died => matches!(real, None | Some(Ended::Done)),
        };
        self.0
            .iter()
            .any(|order| order.numbers == numbers && ended.iter().zip(&order.ended).all(true_of))
    }
}

/// One change, and nobody else.
pub(crate) fn alone(
    world: World,
    wish: &Wish,
    mishaps: &[Mishap],
    folder: &Path,
) -> (Report, World) {
    let stage = Arc::new(Stage::new(world, folder, Locking::Shared, Switch::Never, None));
    let report = Process::run(&stage, 0, wish, mishaps);
    (report, stage.snapshot())
}
