//! Does nothing: what starting and ending a static program costs, which no command can be below.

fn main() {}
