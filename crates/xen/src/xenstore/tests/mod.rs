//! The client against a scripted xenstored, over a real pair of sockets.

mod batches;
mod bounds;
mod device;
mod failures;
mod listings;
mod peer;
mod requests;
mod watches;

use super::*;
