//! Fuzz target, see `bitsim_fuzz::decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: bitsim_fuzz::seeds::write("decode"),
    |data: &[u8]| bitsim_fuzz::decode::check(data)
);
