//! Fuzz target, see `bitsim_fuzz::filters`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: bitsim_fuzz::seeds::write("filters"),
    |data: &[u8]| bitsim_fuzz::filters::check(data)
);
