//! The nodes of many domains, read together.
//!
//! Owns how many are asked for at a time. Never reads anything else than [`Nodes::read`] does, and tells
//! of each domain what that would tell.

use super::{Nodes, NodesError, Stored};
use crate::domain::Identity;
use crate::xenstore::Batch;

/// So many domains at a time: what is kept of the requests and their answers does not grow with the host.
const AT_A_TIME: usize = 1024;

/// Reads those of each of `identities`.
///
/// # Errors
/// Each has its own: one that cannot be read keeps no other from being read.
pub fn read_many(store: &impl Batch, identities: &[Identity]) -> Vec<Result<Stored, NodesError>> {
    identities.chunks(AT_A_TIME).flat_map(|identities| read(store, identities)).collect()
}

fn read(store: &impl Batch, identities: &[Identity]) -> Vec<Result<Stored, NodesError>> {
    let nodes: Vec<Nodes> = identities.iter().map(|identity| Nodes::of(*identity)).collect();
    let paths: Vec<&str> = nodes.iter().flat_map(Nodes::paths).collect();
    match store.read_each(&paths) {
        Ok(values) => {
            let mut values = values.into_iter();
            nodes.iter().map(|nodes| nodes.stored(&mut values)).collect()
        }
        // Something is wrong with one of them, or with all.
        Err(_) => nodes.iter().map(|nodes| nodes.read(store)).collect(),
    }
}
