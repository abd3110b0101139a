//! The client against a scripted xenstored, over a real pair of sockets.

mod peer;
mod requests;

use super::*;
