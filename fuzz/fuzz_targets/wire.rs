#![no_main]

#[path = "../../crates/xen/tests/wire/target.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::exercise(bytes));
