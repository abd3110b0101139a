//! What one action has changed of the world.
//!
//! Owns the format of a record: one line of JSON, with what was touched as it is from then on. Never knows
//! where it is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tree::Node;
use super::world::{Number, SimDomain};
use crate::size::Kib;

/// A change. Made to the world that it was taken from, it makes the world that there was then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Record {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory_kib: Option<Kib>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) domains: BTreeMap<Number, SimDomain>,
    /// Nodes by path; none at a path from which one was removed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) xenstore: BTreeMap<String, Option<Node>>,
}

impl Record {
    /// Whether nothing has changed.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
