//! `apply` on the simulated host: plans and their execution.

#[cfg(test)]
mod listed;
#[cfg(test)]
mod planning;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod running;
#[cfg(test)]
#[path = "../testbed/mod.rs"]
mod testbed;
