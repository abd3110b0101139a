#![no_main]

#[path = "../../crates/xmem-core/tests/properties/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::run("size", bytes));
