//! The client against a scripted xenstored, over a real pair of sockets.

mod device;
mod failures;
mod noise;
mod peer;
mod requests;

use super::*;
